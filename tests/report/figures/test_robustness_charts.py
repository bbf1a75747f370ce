"""Charts of degradation, and a scan clean beside the same scan corrupted."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from vesal.data.labels import MEAN, LabelSet
from vesal.evaluate.robustness.degradation import Estimate, WorstCase
from vesal.report.figures.colours import THEMES
from vesal.report.figures.robustness_charts import (
    CorruptedScan,
    corrupted_png,
    degradation_chart,
)
from vesal.volume.geometry import Geometry
from vesal.volume.volume import Volume


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.mark.filterwarnings("error")
def test_a_baseline_changes_the_chart_and_a_single_severity_can_be_drawn():
    mean = {0: Estimate(mean=0.9, low=0.8, high=0.95), 3: Estimate(mean=0.5, low=0.3, high=0.6)}
    light = THEMES["light"]
    colours = ("#e6550d", "#3182bd")
    lines = {MEAN: mean, "a": mean, "b": {0: mean[0]}}
    alone = degradation_chart("noise", lines, {}, colours, 0.2, light)
    beside = degradation_chart("noise", lines, {0: mean[3]}, colours, 0.2, light)
    assert (opened(alone) != opened(beside)).any()
    assert opened(degradation_chart("blur", {MEAN: {0: mean[0]}}, {}, (), 0.0, light)).size


@pytest.mark.parametrize("empty", [False, True])
def test_clean_and_corrupted_scan_stand_side_by_side(empty):
    generator = np.random.default_rng(0)
    geometry = Geometry.from_spacing((20, 16, 8), (1.0, 1.0, 2.0))
    truth = np.zeros(geometry.shape, dtype=np.uint8)
    truth[5:12, 4:10, 2:6] = not empty
    scans = tuple(
        Volume(generator.random((1, *geometry.shape), dtype=np.float32), geometry) for _ in range(2)
    )
    worst = WorstCase(
        case="x",
        artifact="noise",
        severity=3,
        condition="noise 3",
        clean_dice=0.9,
        dice=0.4,
        drop_percent=55.6,
    )
    shown = CorruptedScan(worst, scans, (truth, truth), (truth, np.roll(truth, 2)))
    picture = opened(corrupted_png(shown, LabelSet.from_values({"a": 1})))
    assert picture.shape[1] > picture.shape[0]
