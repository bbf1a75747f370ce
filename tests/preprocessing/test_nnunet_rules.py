"""nnU-Net's way of resampling, beside scipy's."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import ndimage

from vesal.preprocessing.nnunet_rules import (
    axis_apart,
    fill_holes,
    nearest_voxels,
    nonzero_mask,
    resize_apart,
)


@pytest.mark.parametrize(
    ("current", "wanted", "axis"),
    [
        ((1.0, 1.0, 1.0), (1.0, 2.0, 2.0), None),
        ((3.0, 1.0, 1.0), (1.0, 1.0, 1.0), None),  # not more than three times as long
        ((3.1, 1.0, 1.0), (1.0, 1.0, 1.0), 0),
        ((1.0, 1.0, 1.0), (1.0, 5.0, 1.0), 1),
        ((4.0, 1.0, 1.0), (1.0, 1.0, 9.0), 0),  # the scan's own decides
        ((0.2, 1.0, 1.0), (1.0, 1.0, 9.0), None),  # two axes are as coarse
    ],
)
def test_a_coarse_axis_is_resampled_apart(
    current: tuple[float, ...], wanted: tuple[float, ...], axis: int | None
) -> None:
    assert axis_apart(current, wanted) == axis


@pytest.mark.parametrize("apart", [None, 0, 1, 2])
@pytest.mark.parametrize("order", [1, 3])
def test_an_image_is_resized_as_by_scipy_slice_by_slice(apart: int | None, order: int) -> None:
    image = np.random.default_rng(0).normal(size=(2, 7, 9, 8)).astype(np.float32)
    shape = (11, 6, 13)
    found = resize_apart(image, shape, order, apart)
    for one, other in zip(image, found, strict=True):
        if apart is None:
            expected = zoomed(one, shape, order)
        else:
            across = [size for axis, size in enumerate(shape) if axis != apart]
            slices = [zoomed(part, across, order) for part in np.moveaxis(one, apart, 0)]
            factor = shape[apart] / one.shape[apart]
            # Which slice is the nearest: an image of their numbers, by scipy's own order 0.
            numbers = ndimage.map_coordinates(
                np.arange(len(slices)),
                [(np.arange(shape[apart]) + 0.5) / factor - 0.5],
                order=0,
                mode="nearest",
            )
            assert nearest_voxels(len(slices), shape[apart]).tolist() == numbers.tolist()
            expected = np.moveaxis(np.stack([slices[number] for number in numbers]), 0, apart)
        np.testing.assert_allclose(other, expected, atol=2e-5)


def zoomed(one: np.ndarray, shape: tuple[int, ...] | list[int], order: int) -> np.ndarray:
    factors = [new / old for new, old in zip(shape, one.shape, strict=True)]
    out = ndimage.zoom(one.astype(float), factors, order=order, mode="nearest", grid_mode=True)
    return np.clip(out, one.min(), one.max())


def test_the_mask_is_of_all_channels_and_has_no_holes() -> None:
    image = np.zeros((2, 7, 7, 7), dtype=np.float32)
    image[0, 1:6, 1:6, 1:4] = 1
    image[1, 1:6, 1:6, 4:6] = 1
    image[:, 3, 3, 3] = 0
    expected = np.zeros((7, 7, 7), dtype=bool)
    expected[1:6, 1:6, 1:6] = True
    np.testing.assert_array_equal(nonzero_mask(image), expected)


def test_a_winding_way_to_a_hole_takes_no_longer_than_a_straight_one() -> None:
    mask = np.ones((1501, 1501), dtype=bool)
    mask[1:-1:2, 1:-1] = mask[2:-1:4, -2] = mask[4:-1:4, 1] = False
    began = time.process_time()
    assert fill_holes(mask).all()
    mask[0, 1] = False
    np.testing.assert_array_equal(fill_holes(mask), mask)
    # Some hundredths of a second; of a way that is followed turn by turn a quarter of a minute.
    assert time.process_time() - began < 3


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("shape", [(9, 8, 10), (1, 9, 9), (12, 7)])
def test_holes_are_filled_without_scipy_as_with_it(share: float, shape: tuple[int, ...]) -> None:
    mask = np.random.default_rng(4).random(shape) < share
    np.testing.assert_array_equal(fill_holes(mask), ndimage.binary_fill_holes(mask))
