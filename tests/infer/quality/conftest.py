"""Held-out scans with features that are known to tell their Dice, and the quality model that is fitted to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vesal.data.labels import LabelSet
from vesal.infer.quality.calibrate import HeldOutScan, calibrate
from vesal.infer.quality.network_features import Features
from vesal.infer.quality.quality_model import Calibration, CalibrationRecord

Calibrated = tuple[dict[int, Calibration], CalibrationRecord]


def _held_out(cases: int = 60, seed: int = 0) -> list[HeldOutScan]:
    generator, volumes = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    found = []
    for number in range(cases):
        for artifact in (None, "noise"):
            consistency = generator.uniform(0.7, 0.95) - 0.2 * (artifact is not None)
            dice = float(np.clip(consistency + generator.normal(0, 0.01), 0, 1))
            texture = generator.normal(0, 1, 5) + 8 * (artifact is not None)
            encoder = generator.normal(0, 1, 12)
            groups = {
                "texture": {f"t{i}": float(value) for i, value in enumerate(texture)},
                "shape": {"organ volume": float(generator.normal()), "organ surface": 0.0},
            }
            network = {
                "organ perturbation_consistency": consistency,
                "organ expected_dice": consistency + 0.02,
                "entropy": 0.3,
            }
            features = Features(groups, [network], [encoder])
            true_ml = float(volumes.uniform(8, 12))
            predicted_ml = true_ml * (1 + (1 - dice) * float(volumes.normal(0, 0.3)))
            scan = HeldOutScan(f"case_{number}", number % 2, artifact, features, {"organ": dice})
            found.append(replace(scan, volumes_ml={"organ": (predicted_ml, true_ml)}))
    return found


@pytest.fixture(scope="session")
def labels() -> LabelSet:
    return LabelSet.from_values({"organ": 1})


@pytest.fixture(scope="session")
def held_out() -> Callable[..., list[HeldOutScan]]:
    """(cases, seed) -> scans whose Dice follows their consistency, each clean and then corrupted: these lie far off in
    their texture, and the error of their volume is one of the Dice."""
    return _held_out


@pytest.fixture(scope="session")
def calibrated(labels: LabelSet) -> Calibrated:
    return calibrate(_held_out(), labels.classes, 1.3)


@pytest.fixture(scope="session")
def stored(calibrated: Calibrated) -> dict[str, Any]:
    """As it comes from a model file."""
    return json.loads(json.dumps(calibrated[0][0].model_dump(mode="json")))
