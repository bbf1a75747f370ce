"""Overlays: a prediction lies on its scan to the pixel."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from vesal.data.labels import LabelSet
from vesal.errors import DataError
from vesal.report.figures.overlay import overlay_png
from vesal.volume.geometry import Geometry
from vesal.volume.volume import LabelMap, Volume

LABELS = LabelSet.from_values({"background": 0, "atrium": 1, "wall": 7})


def flat(channels: int = 1, shape=(60, 40)) -> tuple[Volume, LabelMap]:
    geometry = Geometry.from_spacing(shape, (0.5, 0.8))
    array = np.random.default_rng(0).integers(40, 200, (channels, *shape)).astype(np.uint8)
    label = np.zeros(shape, dtype=np.uint8)
    label[10:30, 5:20] = 1
    label[40:60, 30:40] = 7
    return Volume(array, geometry), LabelMap(label, geometry)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_the_overlay_of_an_image_is_as_large_as_the_image():
    volume, label = flat()
    assert pixels(overlay_png(volume, label, LABELS)).shape == (40, 60, 3)


def test_contours_lie_on_the_border_of_the_class_and_nothing_outside_is_touched():
    volume, label = flat()
    bare = pixels(overlay_png(volume, LabelMap(np.zeros_like(label.array), label.geometry), LABELS))
    drawn = pixels(overlay_png(volume, label, LABELS))
    changed = (bare != drawn).any(axis=-1).T
    assert not changed[label.array == 0].any()
    assert changed[label.array == 1].all()
    # Orange at the border, still nearly grey within.
    saturation = drawn.max(axis=-1).T - drawn.min(axis=-1).T
    assert saturation[10, 5:20].min() > 100
    assert saturation[15:25, 10:15].max() < 60
    # Closed at the edge of the image.
    assert saturation[59, 31:39].min() > 90


def test_a_single_pixel_is_seen():
    volume, label = flat()
    label.array[:] = 0
    label.array[33, 22] = 7
    assert np.ptp(pixels(overlay_png(volume, label, LABELS))[22, 33]) > 90


def test_a_colour_image_stays_in_colour():
    volume, label = flat(channels=3)
    volume.array[1:] = 0
    red, green, blue = pixels(overlay_png(volume, label, LABELS))[0, 0]
    assert red > 30 > green == blue


def test_the_contours_of_a_region_and_of_the_one_inside_it_are_both_drawn():
    labels = LabelSet.from_values(
        {"oedema": 1, "core": 7}, regions={"whole": ["oedema", "core"], "core": ["core"]}
    )
    volume, label = flat()
    label.array[:] = 0
    label.array[10:40, 5:35] = 1
    label.array[20:30, 15:25] = 7
    drawn = pixels(overlay_png(volume, label, labels)).transpose(1, 0, 2)
    outer, inner = drawn[10, 10], drawn[20, 20]
    assert outer[0] > outer[2] + 80
    assert inner[2] > inner[0] + 80


def test_a_volume_becomes_three_planes():
    geometry = Geometry.from_spacing((20, 24, 12), (1, 1, 2))
    array = np.random.default_rng(0).normal(100, 10, (2, 20, 24, 12)).astype(np.float32)
    label = np.zeros((20, 24, 12), dtype=np.int16)
    label[5:12, 8:15, 3:9] = 7
    drawn = pixels(overlay_png(Volume(array, geometry), LabelMap(label, geometry), LABELS))
    assert drawn.shape[1] > 900
    assert ((drawn[..., 2] - drawn[..., 0]) > 90).sum() > 200  # blue


def test_grids_that_differ_and_values_that_are_not_declared_are_told():
    volume, label = flat()
    other = Geometry.from_spacing((40, 60), (1, 1))
    with pytest.raises(DataError, match="both on one grid"):
        overlay_png(volume, LabelMap(label.array.T, other), LABELS)
    label.array[0, 0] = 9
    with pytest.raises(DataError, match=r"\[9\] are not declared"):
        overlay_png(volume, label, LABELS)
