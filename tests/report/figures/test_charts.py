"""Charts of numbers: they show what there is, also when that is little or odd."""

from __future__ import annotations

import io
from functools import partial

import numpy as np
import pytest
from PIL import Image

from vesal.report.figures import charts
from vesal.report.figures.colours import THEMES

COLOURS = ("#e6550d", "#3182bd")

EVERY = {
    "distribution": partial(
        charts.dice_distribution, {"$a_{": [0.8, 0.9, 0.1], "_b": [0.5], "empty": []}, (*COLOURS, "#000000")
    ),
    "agreement": partial(
        charts.volume_agreement, {"_$x$": ([1.0, 200.0], [1.1, 150.0]), "b": ([2.0], [3.0])}, COLOURS, "ml"
    ),
    "agreement of nothing": partial(charts.volume_agreement, {"a": ([], [])}, COLOURS[:1], "ml"),
    "agreement with zero": partial(
        charts.volume_agreement, {"a": ([0.0, 5.0], [0.0, 500.0])}, COLOURS[:1], "ml"
    ),
    "volumes": partial(charts.volume_histogram, [1.0, 2.0, 2.5], COLOURS[0], "ml", title="$a"),
    "one volume": partial(charts.volume_histogram, [1.0], COLOURS[0], "ml"),
    "intensities": partial(charts.intensity_histogram, [1.0, 1.0, 1.0], "T1", COLOURS[0]),
    "ranges": partial(charts.intensity_ranges, [(0.0, 1.0, 2.0)], "T1", COLOURS[0]),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", EVERY)
def test_every_chart_is_a_picture_on_light_and_on_dark_paper_and_the_same_each_time(name):
    for theme in THEMES.values():
        png = EVERY[name](theme=theme)
        picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        assert picture[0, 0].tolist() == [int(theme.paper[start : start + 2], 16) for start in (1, 3, 5)]
        assert picture.std() > 1
        assert png == EVERY[name](theme=theme)
