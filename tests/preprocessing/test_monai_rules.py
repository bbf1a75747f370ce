"""MONAI's way of resampling, beside its own Spacing."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.preprocessing.monai_rules import label_from_first, monai_grid, resize_from_first


@pytest.mark.parametrize("current", [(0.7, 1.0, 3.3), (1.5, 1.9, 0.51), (2.0005, 2.0, 2.0)])
@pytest.mark.parametrize("shape", [(11, 8, 5), (20, 1, 9)])
def test_a_grid_and_its_image_are_those_of_spacing(
    current: tuple[float, ...], shape: tuple[int, ...]
) -> None:
    transforms = pytest.importorskip("monai.transforms", reason="MONAI is not installed (extra monai)")
    data = pytest.importorskip("monai.data")
    image = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    spacing = transforms.Spacing((1.0, 1.25, 2.0), mode="bilinear")
    expected = np.asarray(spacing(data.MetaTensor(image, affine=np.diag([*current, 1.0]))))
    grid, steps = monai_grid(shape, current, (1.0, 1.25, 2.0))
    assert grid == expected.shape[1:]
    np.testing.assert_allclose(resize_from_first(image, grid, steps), expected, atol=2e-6)


def test_spacings_that_are_as_good_as_equal_change_nothing() -> None:
    assert monai_grid((7, 9), (1.0004, 2.0), (1.0, 2.0)) == ((7, 9), (1.0, 1.0))
    assert monai_grid((7,), (1.0,), (2.0,)) == ((4,), (0.5,))


def test_a_label_takes_its_nearest_voxel() -> None:
    label = np.array([[0, 1, 2, 3, 4]], dtype=np.uint8)
    assert label_from_first(label, (1, 3), (1.0, 0.5)).tolist() == [[0, 2, 4]]
