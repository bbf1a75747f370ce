"""A model with scores and a quality model, and its card's source."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vesal.evaluate.case_scores import score_case
from vesal.evaluate.scores import Scores, summarise
from vesal.infer.quality.calibrate import HeldOutScan, calibrate
from vesal.infer.quality.network_features import Features
from vesal.nn.model_file import Package
from vesal.nn.zoo import build_network
from vesal.report.card.card_source import CardSource, Stated
from vesal.volume.geometry import Geometry

sys.path.insert(0, str(Path(__file__).parents[1]))
from example_run import LABELS, make_plan, volume


def _scores() -> Scores:
    rows = []
    for number in range(4):
        label = volume(number)[1]
        grid = Geometry.from_spacing(label.shape, (1.0, 1.0, 2.0))
        rows += score_case(
            f"secret_{number}", np.roll(label, number, 0), label, grid, LABELS, tolerance_mm=1.0
        )
    return summarise(rows, LABELS, tolerance_mm=1.0)


def _held_out(patients: int) -> list[HeldOutScan]:
    generator = np.random.default_rng(0)
    found = []
    for number in range(patients):
        consistency = float(generator.uniform(0.7, 0.9))
        network = {f"{name} perturbation_consistency": consistency for name in LABELS.classes}
        features = Features({"texture": {"t0": float(generator.normal())}}, [network], [np.empty(0)])
        dice = dict.fromkeys(LABELS.classes, consistency)
        volumes = {name: (10 + float(generator.normal()), 10.0) for name in LABELS.classes}
        found.append(HeldOutScan(f"secret_{number}", 0, None, features, dice, volumes_ml=volumes))
    return found


@pytest.fixture(scope="session")
def package() -> Package:
    """Of a two-stage network with weights that nobody trained, scored on four cases, calibrated on twelve."""
    torch.manual_seed(0)
    plan = make_plan(3)
    quality = calibrate(_held_out(12), LABELS.classes, 1.25)[0][0]
    return Package(
        plan=plan,
        network="unet",
        recipe={
            "recipe": "auto",
            "loss": "dice_ce",
            "optimizer": "muon",
            "budget_s": 1200.0,
            "augment": {"enabled": True},
        },
        provenance={
            "versions": {"vesal": "0.1.0", "torch": "2.13"},
            "dataset": "Hearts *of* <b>ours</b>",
            "cases": 16,
            "data_digest": "0a1b",
            "seed": 0,
            "date": "2026-01-02T03:04:05+00:00",
            "step": 120,
        },
        weights=build_network("unet", plan).state_dict(),
        scores=_scores().to_dict(),
        quality=quality.model_dump(mode="json"),
    )


@pytest.fixture(scope="session")
def bare(package: Package) -> Package:
    """The same of which nothing was measured."""
    return replace(package, scores=None, quality=None, recipe={}, provenance={})


@pytest.fixture
def source_of() -> Callable[..., CardSource]:
    """(package, fields of `CardSource`) -> what a card is made of."""
    from vesal.infer.quality.quality_model import read_calibration

    def make(package: Package, **changes: object) -> CardSource:
        return CardSource(
            path=Path("heart.vesal"),
            packages=(package,),
            scores=None if package.scores is None else Scores.model_validate(package.scores),
            calibration=read_calibration(package.quality, package.plan.labels, "heart.vesal"),
            **{"robustness": None, "run": None, "stated": Stated()} | changes,  # type: ignore[arg-type]
        )

    return make
