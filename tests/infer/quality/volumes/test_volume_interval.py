"""The interval around a volume, as a model file keeps it."""

from __future__ import annotations

import math

import pytest

from vesal.infer.quality.ridge_regression import RidgeRegression
from vesal.infer.quality.volumes.volume_interval import (
    VolumeCoverage,
    VolumeModel,
    difficulty_features,
    no_interval,
    widening,
)

COVERAGE = VolumeCoverage(
    level=0.9, coverage=None, coverage_low=None, coverage_high=None, width=None, width_unscaled=None,
    scans=9, corrupted=0, corrupted_held=0, corrupted_held_unscaled=0,
)  # fmt: skip


@pytest.fixture
def model() -> VolumeModel:
    """Nine patients with the scores 1 to 9; the difficulty is the exponential of the feature `volume`."""
    regression = RidgeRegression(
        names=("volume",), centre=(0,), scale=(1,), weights=(1,), bias=0, lowest=(-9,), highest=(9,)
    )
    scores = tuple(float(number) for number in range(1, 10))
    return VolumeModel(regression=regression, usual=1.0, scores=scores, weights=(1.0,) * 9, coverage=COVERAGE)


def test_half_of_it_is_the_quantile_times_the_difficulty(model: VolumeModel) -> None:
    found = model.interval(50.0, {"volume": math.log(2)}, ood_score=0.0, level=0.9)
    assert (found.low_ml, found.high_ml) == (pytest.approx(32.0), pytest.approx(68.0))
    assert (found.value_ml, found.level, found.patients, found.note) == (50.0, 0.9, 9, "")


def test_it_widens_beyond_what_is_usual_and_no_volume_is_under_nothing(model: VolumeModel) -> None:
    plain, far = (model.interval(20.0, {"volume": 0.0}, score, 0.9) for score in (1.0, 3.0))
    assert (plain.low_ml, plain.high_ml) == (pytest.approx(11.0), pytest.approx(29.0))
    assert (far.low_ml, far.high_ml) == (0.0, pytest.approx(47.0))
    assert [widening(score, 1.0) for score in (-5, 1, 2.5, 1e9)] == [1.0, 1.0, 2.5, 100.0]


def test_there_is_none_for_nothing_or_for_a_level_that_takes_more_patients(model: VolumeModel) -> None:
    empty, high = model.interval(0.0, {}, 0.0, 0.9), model.interval(20.0, {}, 0.0, 0.95)
    assert (empty.low_ml, high.low_ml, high.high_ml) == (None, None, None)
    assert "nothing of it was found" in empty.note
    assert high.note == (
        "an interval of level 0.95 takes 19 held-out patients in whom the class was found, and there are 9"
    )
    assert no_interval(3.0, 0.9).to_dict()["low"] is None


def test_what_probabilities_leave_open_is_a_share_of_the_volume() -> None:
    values = {"organ volume": 2.0, "organ inside": 0.9, "organ outside": math.log1p(0.25)}
    found = difficulty_features("organ", values, None)
    assert found == {"volume": 2.0, "uncertain": pytest.approx(math.log(1e-3 + 0.1 + 0.25))}
    assert difficulty_features("organ", values, -2.0)["dice_error"] == -2.0
