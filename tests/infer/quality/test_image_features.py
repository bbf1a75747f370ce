"""Features of a scan itself: finite for any scan, and noise and blur show in them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from vesal.data.labels import LabelSet
from vesal.infer.quality.image_features import image_features
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.preprocessing.prepare import prepare
from vesal.volume.geometry import Geometry
from vesal.volume.volume import Volume

PLAN = Plan(
    dimension=3,
    spacing_mm=(1.0, 1.0, 1.5),
    patch=(16, 16, 16),
    batch=1,
    stages=(Stage(features=4, kernel=(3, 3, 3), stride=(1, 1, 1)),),
    normalisation=(Normalisation(scheme="zscore"),),
    mirror_axes=(),
    channels=("MRI",),
    labels=LabelSet.from_values({"box": 1}),
    median_shape=(20, 18, 16),
)


@pytest.fixture
def volume() -> Volume:
    """A noisy box."""
    array = np.random.default_rng(0).normal(100, 20, (1, 20, 18, 16)).astype(np.float32)
    array[:, 5:12, 5:12, 5:12] += 200
    return Volume(array, Geometry.from_spacing(array.shape[1:], (1.0, 1.0, 1.5)))


def features(array: np.ndarray) -> dict[str, dict[str, float]]:
    grid = Geometry.from_spacing(array.shape[1:], (1.0, 1.0, 1.5))
    volume = Volume(np.ascontiguousarray(array, dtype=np.float32), grid)
    return image_features(volume, prepare(volume, PLAN))


@pytest.mark.parametrize("change", ["constant", "plain", "one slice"])
def test_features_of_any_scan_are_finite_numbers_of_the_same_names(volume: Volume, change: str) -> None:
    array = {
        "constant": np.full_like(volume.array, 7),
        "plain": volume.array,
        "one slice": volume.array[..., :1],
    }[change]
    usual = features(volume.array)
    for group, values in features(array).items():
        assert np.isfinite(list(values.values())).all(), group
        assert change == "one slice" or list(values) == list(usual[group])


def test_on_the_disk_a_scan_has_the_same_features(
    volume: Volume, all_on_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    turned = Volume(np.asfortranarray(volume.array[0])[None], volume.geometry)
    plan = PLAN.model_copy(update={"image_order": 1})
    expected = image_features(turned, prepare(turned, plan))
    with all_on_disk():
        found = image_features(turned, prepare(turned, plan))
    assert list(found) == list(expected)
    for group, values in expected.items():
        # Numbers in another order of memory are added in another order.
        assert found[group] == pytest.approx(values, rel=1e-9, abs=1e-12), group
    cells = [value for name, value in found["appearance"].items() if "cell" in name]
    assert len(cells) == 64
    # Of an image of mean 0; the cells are of one size but for one voxel.
    assert abs(np.mean(cells)) < 0.1


def test_noise_and_blur_show_as_such(volume: Volume) -> None:
    def noise(array: np.ndarray) -> float:
        return features(array)["texture"]["channel 1 noise"]

    clean = noise(volume.array)
    assert noise(volume.array + np.random.default_rng(0).normal(0, 60, volume.array.shape)) > clean + 0.2
    assert noise(gaussian_filter(volume.array, (0, 1.5, 1.5, 1.5))) < clean - 1
