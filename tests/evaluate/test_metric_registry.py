"""What every metric of the registry does, whatever it measures; one that is added is covered by this."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vesal.data.labels import LabelSet
from vesal.evaluate.case_scores import (
    ALL_METRICS,
    LESION_METRICS,
    OF_AREAS,
    OF_VOLUMES,
    ClassScore,
    score_case,
)
from vesal.volume.geometry import Geometry

LABELS = LabelSet.from_values({"background": 0, "tumour": 1})
SHAPE = (12, 11, 10)
SPACING_MM = (1.0, 1.5, 2.0)


def axes(metric: str) -> int:
    """Areas are measured in 2D, all else in 3D."""
    return 2 if metric in OF_AREAS else 3


def score(prediction: np.ndarray, truth: np.ndarray, **options: Any) -> ClassScore:
    grid = Geometry.from_spacing(truth.shape, SPACING_MM[: truth.ndim])
    (row,) = score_case("a", prediction, truth, grid, LABELS, **options)
    return row


def balls(seed: int, metric: str) -> np.ndarray:
    """Two to four boxes at random places."""
    generator = np.random.default_rng(seed)
    mask = np.zeros(SHAPE[: axes(metric)], np.uint8)
    for corner in generator.integers(0, 7, (int(generator.integers(2, 5)), mask.ndim)):
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
        value = getattr(score(balls(seed, metric), balls(100 + seed, metric)), metric)
        assert value is not None
        assert low <= value <= high


@pytest.mark.parametrize("metric", ALL_METRICS)
def test_a_perfect_prediction_has_the_best_value(metric: str) -> None:
    kind = ALL_METRICS[metric]
    best = kind.bounds[1] if kind.best == "high" else 0.0
    assert getattr(score(balls(1, metric), balls(1, metric)), metric) == pytest.approx(best)


@pytest.mark.parametrize("metric", ALL_METRICS)
def test_a_wrong_prediction_is_no_better_than_a_nearly_right_one(metric: str) -> None:
    truth = balls(1, metric)
    near, far = truth.copy(), np.roll(truth, 4, axis=(0, 1))
    near[tuple(np.argwhere(truth)[0])] = 0
    values = [getattr(score(mask, truth), metric) for mask in (near, far)]
    if ALL_METRICS[metric].best == "high":
        assert values[0] >= values[1]
    elif ALL_METRICS[metric].best == "low":
        assert values[0] <= values[1]


@pytest.mark.parametrize("metric", [name for name in ALL_METRICS if not name.startswith("false_positive")])
def test_where_neither_mask_holds_a_voxel_nothing_is_measured(metric: str) -> None:
    empty = np.zeros(SHAPE[: axes(metric)], np.uint8)
    assert getattr(score(empty, empty), metric) is None


@pytest.mark.parametrize("metric", ALL_METRICS)
def test_a_metric_of_lesions_is_left_out_where_none_are_counted(metric: str) -> None:
    row = score(balls(1, metric), balls(2, metric), lesions=())
    assert (getattr(row, metric) is None) == (metric in LESION_METRICS)


@pytest.mark.parametrize("metric", [*OF_AREAS, *OF_VOLUMES])
def test_areas_are_of_images_and_volumes_of_volumes(metric: str) -> None:
    solid, flat = (score(balls(1, of), balls(2, of)) for of in ("volume_ml", "area_mm2"))
    assert (getattr(solid, metric) is None) == (metric in OF_AREAS)
    assert (getattr(flat, metric) is None) == (metric in OF_VOLUMES)
