"""Scores by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vesal.evaluate.robustness.degradation import CLEAN, ArtifactScore
from vesal.evaluate.robustness.result import Cost, Robustness, conclude

TWO = {
    CLEAN: {"x": 0.8, "y": 0.6},
    "noise 1": {"x": 0.8, "y": 0.6},
    "noise 3": {"x": 0.4, "y": 0.6},
    "blur 3": {"x": 0.8, "y": 0.3},
}


def _rows(values: dict[str, dict[str, float | None]], class_name: str = "a") -> list[ArtifactScore]:
    """Condition -> case -> Dice, of one class; the clean Dice is that of the condition 'clean'."""
    made = []
    for condition, by_case in values.items():
        artifact, _, severity = condition.partition(" ")
        for case, dice in by_case.items():
            made.append(
                ArtifactScore(
                    case=case, artifact=artifact, severity=int(severity) if severity else None, condition=condition,
                    class_name=class_name, dice=dice, hd95_mm=2.0, boundary_dice=0.5, clean_dice=values[CLEAN][case],
                )
            )  # fmt: skip
    return made


@pytest.fixture
def rows() -> Callable[..., list[ArtifactScore]]:
    """Condition -> case -> Dice becomes rows."""
    return _rows


@pytest.fixture
def two() -> dict[str, dict[str, float]]:
    """Of two cases."""
    return TWO


@pytest.fixture
def result() -> Callable[..., Robustness]:
    """What follows from these rows (those of TWO where none are given), with limits and a baseline."""

    def concluded(rows: list[ArtifactScore] | None = None, **wanted) -> Robustness:
        about = {
            "model": "m.vesal",
            "data": "data",
            "settings": {"seed": 0},
            "cost": Cost(seconds=8.0, predictions=4),
        }
        about |= wanted.pop("about", {})
        return conclude(rows or _rows(TWO), ["a"], about=about, **wanted)

    return concluded
