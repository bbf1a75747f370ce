"""A first stage's label map as channels, resampled as nnU-Net resamples a segmentation."""

from __future__ import annotations

import numpy as np
import pytest
from their_prediction import largest_share

from vesal.preprocessing.mask_channels import mask_channels, resize_values

Array = np.ndarray


def blobs(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Values -1 to 3 in cubes of two voxels."""
    coarse = np.random.default_rng(seed).integers(-1, 4, [-(-size // 2) for size in shape])
    for axis in range(3):
        coarse = coarse.repeat(2, axis)
    return coarse[tuple(map(slice, shape))].astype(np.int16)


@pytest.mark.parametrize("shape", [(14, 18, 16), (11, 6, 13), (7, 27, 4), (7, 9, 8)])
@pytest.mark.parametrize("apart", [None, 0, 1, 2])
def test_the_largest_share_wins_and_of_equal_ones_the_nearest_as_by_scipy(
    shape: tuple[int, ...], apart: int | None
) -> None:
    values = blobs((7, 9, 8))
    found = resize_values(values, shape, apart)
    if apart is None:
        expected = largest_share(values.astype(float), shape)
    else:
        across = [size for axis, size in enumerate(shape) if axis != apart]
        slices = [largest_share(part.astype(float), across) for part in np.moveaxis(values, apart, 0)]
        places = ((np.arange(shape[apart]) + 0.5) * len(slices) / shape[apart]).astype(int)
        expected = np.moveaxis(np.stack([slices[place] for place in places]), 0, apart)
    np.testing.assert_array_equal(found, expected)


def test_slabs_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    values = blobs((7, 9, 8))
    whole = resize_values(values, (11, 20, 13), 0)
    monkeypatch.setattr("vesal.preprocessing.mask_channels._SLAB_VOXELS", 300)
    np.testing.assert_array_equal(resize_values(values, (11, 20, 13), 0), whole)


def test_each_label_is_a_channel_in_the_order_of_values_and_background_outside_takes_no_part() -> None:
    contiguous = np.array([[[2, 2, 0, 0, 1, 1]]], dtype=np.uint8)
    everywhere = np.ones(contiguous.shape, dtype=bool)
    channels = mask_channels(contiguous, everywhere, 3, contiguous.shape, None)
    assert (channels.shape, channels.dtype) == ((3, 1, 1, 6), np.float32)
    assert channels[:, 0, 0].tolist() == [[0, 0, 0, 0, 1, 1], [1, 1, 0, 0, 0, 0], [0] * 6]
    # In the middle of four voxels each has a quarter, and the last is the nearest.
    contiguous = np.array([[[1, 1], [0, 0]]], dtype=np.uint8)
    inside = np.array([[[True, True], [False, True]]])
    assert mask_channels(contiguous, inside, 1, (1, 3, 3), None)[0, 0, 1, 1] == 1
    assert mask_channels(contiguous, np.ones_like(inside), 1, (1, 3, 3), None)[0, 0, 1, 1] == 0
