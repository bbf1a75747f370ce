"""The benchmark of intervals around volumes counts what it says."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

# benchmarks/ is no part of the package: it is imported from the root of the repository.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.volume_intervals import counted, splits_of, table

from vesal.infer.quality.calibrate import HeldOutScan
from vesal.infer.quality.network_features import Features


def scan(number: int, artifact: str | None, error_ml: float, odd: float) -> HeldOutScan:
    network = {"organ perturbation_consistency": 0.9}
    features = Features({"texture": {"t0": odd, "t1": -odd}}, [network], [np.empty(0)])
    return HeldOutScan(
        f"c{number}", 0, artifact, features, {"organ": 0.9}, volumes_ml={"organ": (50 + error_ml, 50.0)}
    )


def test_few_patients_are_left_out_one_by_one_and_more_by_the_quarter() -> None:
    assert splits_of([f"p{n}" for n in range(10)] * 2, 0.9, 50) == [{f"p{n}"} for n in range(10)]
    many = splits_of([f"p{n}" for n in range(40)], 0.9, 7)
    assert [len(of) for of in many] == [10] * 7
    with pytest.raises(SystemExit, match="needs 10 patients"):
        splits_of([f"p{n}" for n in range(9)], 0.9, 7)


def test_scans_that_look_odd_and_err_are_held_by_scaled_intervals_alone() -> None:
    generator = np.random.default_rng(0)
    clean = [scan(n, None, generator.normal(), generator.normal()) for n in range(30)]
    severe = [scan(n, "noise", 8 * generator.normal(), 12 + generator.normal()) for n in range(30)]
    milder = [scan(n, "noise", 4 * generator.normal(), 9 + generator.normal()) for n in range(30)]
    rows = list(counted(clean + severe, clean + milder, ["organ"], 0.9, 4))
    kept = [row for row in rows if row.clean]
    odd = [row for row in rows if not row.clean]
    assert len(kept) == len(odd) == 4 * 8
    assert np.mean([row.held for row in kept]) > 0.7
    assert np.mean([row.held for row in odd]) > np.mean([row.held_unscaled for row in odd]) + 0.2
    text = table(rows, ["organ"], 0.9, 3)
    assert "| artefact of severity 3 | organ |" in text
