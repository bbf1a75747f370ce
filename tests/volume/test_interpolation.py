"""Rows of a resized image are those of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.volume.interpolation import RowsOfResize
from vesal.volume.resample import resize


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("new", [(13, 31, 60), (40, 9, 47), (1, 31, 47)])
def test_rows_made_a_few_at_a_time_are_those_of_the_whole_image(
    order: int, axis: int, new: tuple[int, ...]
) -> None:
    image = np.random.default_rng(order).normal(0, 1, (26, 31, 47)).astype(np.float32)
    whole = resize(image[None], new, order)[0]
    rows = RowsOfResize(image.shape, new, order, axis)
    for count in (1, 4, 100):
        made = []
        for first in range(0, new[axis], count):
            part = slice(first, min(first + count, new[axis]))
            needed = rows.needed(part)
            assert needed.stop - needed.start <= 2 + count * 60 // new[axis] * 3 + rows.reach(order)
            made.append(rows.resized(np.take(image, range(needed.start, needed.stop), axis), part))
        found = np.concatenate(made, axis)
        if order < 3:
            np.testing.assert_array_equal(found, whole)
        else:
            np.testing.assert_allclose(found, whole, atol=2e-6)


def test_an_axis_that_keeps_its_size_is_copied_row_by_row() -> None:
    rows = RowsOfResize((5, 6), (5, 3), 1, 0)
    assert rows.needed(slice(2, 4)) == slice(2, 4)
