"""Values of label maps, in memory and on the disk."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
from scipy.ndimage import find_objects

from vesal.data.value_tables import cast, joint_box, look_up, value_boxes, value_counts

VALUES = np.random.default_rng(0).choice(np.array([0, 0, 0, 1, 3], np.uint8), (120, 130, 140))


@pytest.mark.parametrize(
    "turned", [VALUES, np.asfortranarray(VALUES), VALUES[::-1, :, ::-1], VALUES.transpose(2, 0, 1)]
)
def test_boxes_of_many_slabs_are_those_of_the_whole(
    turned: np.ndarray, all_on_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    part = np.where(np.indices(turned.shape).sum(axis=0) % 97 < 60, turned, 0).astype(np.uint8)
    part[:7], part[..., 100:] = 0, 0
    expected = {value: box for value, box in enumerate(find_objects(part), start=1) if box is not None}
    assert value_boxes(part) == expected
    with all_on_disk():
        assert value_boxes(part) == expected
        assert value_boxes(np.asfortranarray(part)) == expected


def test_a_box_around_nothing_is_none(all_on_disk: Callable[[], AbstractContextManager[None]]) -> None:
    assert joint_box([None, None]) is None
    assert value_boxes(np.zeros((3, 4), np.uint8)) == {}
    with all_on_disk():
        assert value_boxes(np.zeros((3, 4), np.uint8)) == {}


def test_on_the_disk_values_are_the_same(all_on_disk: Callable[[], AbstractContextManager[None]]) -> None:
    table = np.array([5, 6, 7, 800], dtype=np.int16)
    with all_on_disk():
        found, counts = look_up(table, VALUES), value_counts(VALUES)
        narrow = cast(VALUES.astype(np.int64), np.uint8)
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, table[VALUES])
    np.testing.assert_array_equal(narrow, VALUES)
    assert counts == {value: int((value == VALUES).sum()) for value in (0, 1, 3)}
    assert value_counts(np.array([-3, 100_000])) == {-3: 1, 100_000: 1}
