"""Connected components by numpy alone: of runs along the last axis, joined where they touch in neighbouring lines."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Numbers = NDArray[np.int64]


def components_of_runs(mask: NDArray[np.bool_], *, corners: bool) -> tuple[NDArray[Any], int]:
    """(*spatial) uint16 or int32 numbers from 1 in the order of memory, 0 outside the mask; and how many there are.

    Args:
        mask: (*spatial), in one to three dimensions.
        corners: whether voxels belong together that touch at an edge or a corner.

    >>> components_of_runs(np.array([[1, 0, 1], [0, 1, 0]], dtype=bool), corners=True)[0].tolist()
    [[1, 0, 1], [0, 1, 0]]
    """
    if mask.flags.f_contiguous and not mask.flags.c_contiguous:
        found, count = components_of_runs(mask.T, corners=corners)
        return found.T, count
    mask = np.ascontiguousarray(mask, dtype=bool)
    # An empty voxel behind each line and an empty line behind each plane: runs are then stretches of one long line, and
    # a neighbour that is not there is empty.
    padded = np.zeros([size + 1 for size in mask.shape], dtype=bool)
    padded[tuple(slice(0, size) for size in mask.shape)] = mask
    starts, stops = _runs(padded.ravel())
    parents = np.arange(len(starts))
    reach = 1 if corners else 0
    for distance in _lines_before(padded.shape, corners=corners):
        _join(parents, *_touching(starts, stops, distance, reach))
    is_first = parents == np.arange(len(parents))
    count = int(np.count_nonzero(is_first))
    numbers = np.cumsum(is_first)[parents]
    result = np.zeros(mask.shape, dtype=np.uint16 if count <= np.iinfo(np.uint16).max else np.int32)
    result[mask] = np.repeat(numbers, stops - starts)
    return result, count


def _runs(line: NDArray[np.bool_]) -> tuple[_Numbers, _Numbers]:
    """First voxels of stretches of a line that ends empty, and the voxels behind them."""
    changes = np.flatnonzero(line[1:] != line[:-1]) + 1
    if line[0]:
        changes = np.concatenate([[0], changes])
    return changes[0::2], changes[1::2]


def _lines_before(shape: tuple[int, ...], *, corners: bool) -> Iterator[int]:
    """How far back in the padded mask the neighbouring lines begin that come before a line."""
    steps = [math.prod(shape[axis + 1 :]) for axis in range(len(shape) - 1)]
    for offset in itertools.product((-1, 0, 1), repeat=len(steps)):
        before = offset < (0,) * len(steps)
        if before and (corners or sum(map(abs, offset)) == 1):
            yield -sum(step * one for step, one in zip(steps, offset, strict=True))


def _touching(starts: _Numbers, stops: _Numbers, distance: int, reach: int) -> tuple[_Numbers, _Numbers]:
    """Numbers of the runs, in pairs, that touch runs of the line so far before theirs."""
    first = np.searchsorted(stops, starts - (distance + reach), side="right")
    last = np.searchsorted(starts, stops - (distance - reach), side="left")
    counts = np.maximum(last - first, 0)
    runs = np.repeat(np.arange(len(starts)), counts)
    within = np.arange(len(runs)) - np.repeat(np.cumsum(counts) - counts, counts)
    return runs, first[runs] + within


def _join(parents: _Numbers, one: _Numbers, other: _Numbers) -> None:
    """Let runs that touch have the same first run as parent, in place."""
    while True:
        a, b = parents[one], parents[other]
        apart = a != b
        if not apart.any():
            return
        one, other, a, b = one[apart], other[apart], a[apart], b[apart]
        # Of several that a run touches one is taken; the others follow in the next round.
        parents[np.maximum(a, b)] = np.minimum(a, b)
        while True:
            further = parents[parents]
            if np.array_equal(further, parents):
                break
            parents[:] = further
