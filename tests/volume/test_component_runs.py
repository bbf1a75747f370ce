"""Components by numpy alone, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from vesal.volume.component_runs import components_of_runs


@pytest.mark.parametrize("shape", [(37,), (40, 30), (20, 15, 12), (1, 9, 4), (6, 1, 1)])
@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.15, 0.4, 0.7, 1.0])
def test_components_and_their_numbers_are_those_of_scipy(
    shape: tuple[int, ...], corners: bool, share: float
) -> None:
    mask = np.random.default_rng(0).random(shape) < share
    structure = ndimage.generate_binary_structure(len(shape), len(shape) if corners else 1)
    expected, count = ndimage.label(mask, structure)
    found, found_count = components_of_runs(mask, corners=corners)
    assert found_count == count
    np.testing.assert_array_equal(found, expected)


def test_a_long_snake_is_one_component() -> None:
    mask = np.zeros((81, 60), dtype=bool)
    mask[::2] = True
    mask[1::4, -1] = mask[3::4, 0] = True
    found, count = components_of_runs(mask, corners=False)
    assert count == 1
    np.testing.assert_array_equal(found, mask)


def test_masks_lie_in_memory_as_they_came() -> None:
    mask = np.asfortranarray(np.random.default_rng(1).random((14, 9, 11)) < 0.3)
    found, count = components_of_runs(mask, corners=True)
    expected, expected_count = ndimage.label(mask, np.ones((3, 3, 3)))
    assert found.flags.f_contiguous
    assert count == expected_count
    # The same bodies, numbered in another order.
    pairs = np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == count + 1


def test_more_components_than_16_bits_hold_are_numbered() -> None:
    mask = np.zeros((520, 520), dtype=bool)
    mask[::2, ::2] = True
    found, count = components_of_runs(mask, corners=True)
    assert count == found.max() == 67_600
