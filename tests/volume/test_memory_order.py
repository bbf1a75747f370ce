"""Copies in C order hold what numpy's hold, whatever the order of the axes, their directions and the type."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vesal.volume.memory_order import c_ordered


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_a_copy_holds_the_same_voxels_in_c_order(order: tuple[int, ...], channels: int | None) -> None:
    values = np.random.default_rng(0).integers(-900, 900, (131, 9, 70), dtype=np.int16)
    turned = values.transpose(order)[::-1, :, ::-1]
    if channels is not None:
        turned = np.stack([turned + number for number in range(channels)], axis=-1).transpose(3, 0, 1, 2)
    before = turned.copy()
    copy = c_ordered(turned, np.float32)
    assert copy.dtype == np.float32
    assert copy.flags.c_contiguous
    np.testing.assert_array_equal(copy, turned)
    copy[...] = 0
    np.testing.assert_array_equal(turned, before)


@pytest.mark.parametrize("shape", [(), (5,), (4, 6), (0, 3, 2), (1, 1, 1)])
def test_a_copy_may_have_any_shape(shape: tuple[int, ...]) -> None:
    values = np.asfortranarray(np.random.default_rng(0).random(shape))
    np.testing.assert_array_equal(c_ordered(values, np.float64), values)
