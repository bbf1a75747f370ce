"""Where windows lie and what they weigh."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from vesal.infer.window_grid import Windows, covering, window_starts, window_weights


@pytest.mark.parametrize(("size", "window"), [(100, 32), (33, 32), (32, 32), (7, 32), (64, 5)])
def test_windows_cover_every_voxel_and_overlap_at_least_as_asked(size: int, window: int) -> None:
    starts = window_starts(size, window, 0.5)
    covered = {voxel for start in starts for voxel in range(start, start + window)}
    assert covered >= set(range(size))
    assert all(later - earlier <= -(-window // 2) for earlier, later in pairwise(starts))


def test_the_weights_of_all_windows_sum_to_one_and_fall_from_each_centre() -> None:
    starts = window_starts(50, 17, 0.5)
    total = torch.zeros(50)
    for start, weight in zip(starts, window_weights(50, 17, starts), strict=True):
        assert weight.min() > 0
        total[start : start + 17] += weight
    torch.testing.assert_close(total, torch.ones(50))
    middle = window_weights(50, 17, starts)[1]
    assert middle[8] == middle.max() > 10 * middle[0]


@pytest.mark.parametrize(("size", "window"), [(100, 32), (33, 32), (32, 32), (64, 5), (61, 40)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.7])
def test_few_windows_cover_an_axis_without_gaps(size: int, window: int, overlap: float) -> None:
    starts = window_starts(size, window, overlap)
    chosen = [starts[number] for number in covering(starts, window)]
    assert {chosen[0], chosen[-1]} == {starts[0], starts[-1]}
    assert all(later - earlier <= window for earlier, later in pairwise(chosen))
    # Without every second one there would be a gap.
    assert all(later - earlier > window for earlier, later in zip(chosen, chosen[2:], strict=False))


def test_an_overlap_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        Windows((8, 8), overlap=1.0)
