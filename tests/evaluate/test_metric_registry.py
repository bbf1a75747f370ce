"""What every metric of the registry does, whatever it measures; one that is added is covered by this."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from vesal.data.labels import LabelSet
from vesal.evaluate.case_scores import ALL_METRICS, LESION_METRICS, ClassScore, score_case
from vesal.volume.geometry import Geometry

LABELS = LabelSet.from_values({"background": 0, "tumour": 1})
SHAPE = (12, 11, 10)
GRID = Geometry.from_spacing(SHAPE, (1.0, 1.5, 2.0))


def score(prediction: np.ndarray, truth: np.ndarray) -> ClassScore:
    (row,) = score_case("a", prediction, truth, GRID, LABELS)
    return row


def balls(seed: int) -> np.ndarray:
    """Two to four boxes at random places."""
    generator = np.random.default_rng(seed)
    mask = np.zeros(SHAPE, np.uint8)
    for corner in generator.integers(0, 7, (int(generator.integers(2, 5)), 3)):
        mask[tuple(slice(start, start + 3) for start in corner)] = 1
    return mask


@pytest.mark.parametrize("metric", ALL_METRICS)
def test_a_metric_is_a_field_of_the_scores_and_is_documented(metric: str) -> None:
    assert metric in ClassScore.model_fields
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8").lower()
    assert all(word in page for word in re.findall(r"[a-z]+", ALL_METRICS[metric].title.lower()))


@pytest.mark.parametrize("metric", ALL_METRICS)
def test_values_stay_within_their_bounds(metric: str) -> None:
    low, high = ALL_METRICS[metric].bounds
    for seed in range(20):
        value = getattr(score(balls(seed), balls(100 + seed)), metric)
        assert value is not None
        assert low <= value <= high


@pytest.mark.parametrize("metric", ALL_METRICS)
def test_a_perfect_prediction_has_the_best_value(metric: str) -> None:
    kind = ALL_METRICS[metric]
    best = kind.bounds[1] if kind.best == "high" else 0.0
    assert getattr(score(balls(1), balls(1)), metric) == pytest.approx(best)


@pytest.mark.parametrize("metric", ALL_METRICS)
def test_a_wrong_prediction_is_no_better_than_a_nearly_right_one(metric: str) -> None:
    truth = balls(1)
    near, far = truth.copy(), np.roll(truth, 4, axis=(0, 1))
    near[tuple(np.argwhere(truth)[0])] = 0
    values = [getattr(score(mask, truth), metric) for mask in (near, far)]
    if ALL_METRICS[metric].best == "high":
        assert values[0] >= values[1]
    elif ALL_METRICS[metric].best == "low":
        assert values[0] <= values[1]


@pytest.mark.parametrize("metric", [name for name in ALL_METRICS if not name.startswith("false_positive")])
def test_where_neither_mask_holds_a_voxel_nothing_is_measured(metric: str) -> None:
    empty = np.zeros(SHAPE, np.uint8)
    assert getattr(score(empty, empty), metric) is None


@pytest.mark.parametrize("metric", ALL_METRICS)
def test_a_metric_of_lesions_is_left_out_where_none_are_counted(metric: str) -> None:
    (row,) = score_case("a", balls(1), balls(2), GRID, LABELS, lesions=())
    assert (getattr(row, metric) is None) == (metric in LESION_METRICS)
