"""Pictures of scans with contours."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from vesal.data.labels import LabelSet
from vesal.report.figures.scan_figures import channels_picture, planes_picture, showcase, surfaces_picture
from vesal.report.figures.surfaces import class_surfaces
from vesal.volume.geometry import Geometry
from vesal.volume.volume import LabelMap, Volume

LABELS = LabelSet.from_values({"background": 0, "left atrium": 1, "wall": 2})


def scan(shape=(24, 30, 20), spacing=(1.0, 1.0, 1.5), channels=1, seed=0):
    rng = np.random.default_rng(seed)
    array = rng.normal(100, 20, (channels, *shape)).astype(np.float32)
    label = np.zeros(shape, dtype=np.uint8)
    label[tuple(slice(n // 4, n // 2) for n in shape)] = 1
    label[tuple(slice(n // 2, n // 2 + 3) for n in shape)] = 2
    return Volume(array, Geometry.from_spacing(shape, spacing)), label


def pixels(png: bytes) -> np.ndarray:
    assert png.startswith(b"\x89PNG")
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_the_contours_of_truth_and_prediction_are_drawn_in_the_colour_of_the_class():
    volume, label = scan()
    bare, solid = (pixels(planes_picture(volume, LABELS, [truth])) for truth in (np.zeros_like(label), label))
    orange = lambda image: ((image[..., 0] - image[..., 2]) > 90).sum()  # noqa: E731
    # An empty truth leaves the swatch in the legend alone.
    assert orange(solid) > orange(bare) + 300
    both = pixels(planes_picture(volume, LABELS, [label, np.roll(label, 3, axis=0)]))
    assert np.abs(both - solid).sum() > 10_000


def test_a_single_voxel_has_a_contour():
    volume, label = scan()
    label[:] = 0
    bare = pixels(planes_picture(volume, LABELS, [label]))
    label[12, 15, 10] = 1
    assert np.abs(pixels(planes_picture(volume, LABELS, [label])) - bare).max() > 60


REGIONS = LabelSet.from_values(
    {"background": 0, "oedema": 2, "core": 4}, regions={"whole": ["oedema", "core"], "core": ["core"]}
)


@pytest.mark.parametrize(
    ("shape", "channels"), [((24, 30, 20), 1), ((24, 30, 20), 4), ((24, 30), 3), ((24, 30), 7)]
)
def test_channels_stand_side_by_side_with_truth_and_prediction_on_panels_of_their_own(shape, channels):
    volume, label = scan(shape, (1.0,) * len(shape), channels=channels)
    names = [f"C{number}" for number in range(channels)]
    shown = {"none": (), "truth": ("truth",), "both": ("truth", "prediction")}
    orange = {}
    for name, titles in shown.items():
        image = pixels(channels_picture(volume, REGIONS, names, dict.fromkeys(titles, label)))
        orange[name] = ((image[:-40, :, 0] - image[:-40, :, 1]) > 70).sum()
    assert orange["none"] == 0
    assert orange["truth"] > 200
    # One panel more, though smaller where the panels share the width.
    assert orange["both"] > 0.7 * orange["truth"]


def test_a_colour_photograph_is_one_panel_and_three_modalities_are_three():
    array = np.zeros((3, 40, 30), dtype=np.uint8)
    array[0], array[1, :20] = 200, 90
    volume = Volume(array, Geometry.from_spacing((40, 30), (1, 1)))
    label = np.zeros((40, 30), dtype=np.uint8)
    label[5:15, 5:15] = 1
    photograph = pixels(planes_picture(volume, LABELS, [label]))
    modalities = pixels(channels_picture(volume, LABELS, ("T1", "T2", "PD"), {"truth": label}))
    red = lambda image: ((image[..., 0] > 180) & (image[..., 2] < 40)).sum()  # noqa: E731
    assert red(photograph) > 20_000
    assert red(modalities) < 5_000


@pytest.mark.filterwarnings("error")
def test_names_with_dollars_and_markup_are_drawn_as_they_are():
    names = {
        "background": 0,
        "$\\frac{1}$": 1,
        "_<script>": 2,
        "a very long name of a class that would not fit": 3,
    }
    volume, label = scan()
    assert pixels(planes_picture(volume, LabelSet.from_values(names), [label, label])).size


def test_surfaces_and_showcase_are_pictures():
    volume, label = scan()
    surfaces = class_surfaces(label, volume.geometry, LABELS)
    assert pixels(surfaces_picture({"truth": surfaces, "prediction": surfaces}, LABELS)).size
    map_ = LabelMap(label, volume.geometry)
    image = pixels(showcase(volume, map_, map_, LABELS, caption="Dice 1.00"))
    assert image.shape[1] == 1300


def test_threads_draw_the_same_pictures_as_one():
    inputs = [scan(seed=seed) for seed in range(6)]

    def draw(item):
        return planes_picture(item[0], LABELS, [item[1]])

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(draw, inputs)) == [draw(item) for item in inputs]
