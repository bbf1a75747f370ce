"""Onto a much coarser grid: means of all voxels, and no organ lost."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.data.labels import IGNORE
from vesal.preprocessing.coarse_grid import block_labels, block_means


def edges(old: int, new: int) -> list[int]:
    return [round(i * old / new) for i in range(new + 1)]


@pytest.mark.parametrize("shape", [(4, 3, 5), (7, 11, 13), (2, 22, 13), (9, 11, 1)])
def test_each_voxel_is_the_mean_and_the_highest_label_of_what_it_covers(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    image = random.normal(size=(2, 9, 11, 13)).astype(np.float32)
    label = random.integers(0, 3, (9, 11, 13)).astype(np.uint8)
    label[:4, :4, :4] = IGNORE
    means, labels = block_means(image, shape), block_labels(label, shape)
    assert means.shape == (2, *shape)
    assert means.dtype == np.float32
    bounds = [edges(old, new) if new <= old else None for old, new in zip(label.shape, shape, strict=True)]
    for place in np.ndindex(*shape):
        block = tuple(
            slice(int((i + 0.5) * old / new), int((i + 0.5) * old / new) + 1)
            if of is None
            else slice(of[i], of[i + 1])
            for i, of, old, new in zip(place, bounds, label.shape, shape, strict=True)
        )
        np.testing.assert_allclose(
            means[(slice(None), *place)], image[(slice(None), *block)].mean((1, 2, 3)), atol=1e-5
        )
        held = label[block]
        known = held[held != IGNORE]
        expected = int(known.max(initial=0)) or (IGNORE if (held == IGNORE).any() else 0)
        assert labels[place] == expected


def test_a_single_voxel_is_not_lost() -> None:
    label = np.zeros((50, 50, 50), dtype=np.uint8)
    label[33, 7, 21] = 2
    assert block_labels(label, (5, 5, 5)).max() == 2
    assert np.count_nonzero(block_labels(label, (5, 5, 5))) == 1
