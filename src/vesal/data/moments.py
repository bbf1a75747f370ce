"""Statistics of intensities in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Voxels in one step of a pass: its float64 copy stays in the processor's cache.
_BLOCK = 1 << 15


@dataclass(frozen=True)
class Moments:
    """Of the finite values: how many, extremes, mean, standard deviation; and how many were not finite."""

    count: int
    minimum: float
    maximum: float
    mean: float
    std: float
    not_finite: int


def moments(values: NDArray[Any]) -> Moments:
    """Statistics of an array of any shape, summed in float64, in one pass and without a copy of the whole.

    >>> moments(np.array([1, 2, 3, np.nan], dtype=np.float32))
    Moments(count=3, minimum=1.0, maximum=3.0, mean=2.0, std=0.816..., not_finite=1)
    """
    return moments_of([values])


def moments_of(parts: Iterable[NDArray[Any]]) -> Moments:
    """`moments` of an array that comes in parts; to the bit the same, however it is divided."""
    count, not_finite, total, squares, shift = 0, 0, 0.0, 0.0, None
    minimum, maximum = np.inf, -np.inf
    for block in _blocks(parts):
        low, high = float(block.min()), float(block.max())
        if not np.isfinite(high - low):
            kept = block[np.isfinite(block)]
            not_finite += block.size - kept.size
            if not kept.size:
                continue
            block, low, high = kept, float(kept.min()), float(kept.max())
        if shift is None:
            shift = low  # Squares are summed about a value of the data: no cancellation far from zero.
        moved = block.astype(np.float64)
        moved -= shift
        count += block.size
        total += float(moved.sum())
        # Not np.dot: BLAS would set its own threads on it, beside ours, and take up to 60 times as long.
        squares += float(np.einsum("i,i->", moved, moved))
        minimum, maximum = min(minimum, low), max(maximum, high)
    if shift is None:
        return Moments(0, 0.0, 0.0, 0.0, 0.0, not_finite)
    mean = total / count
    std = float(np.sqrt(max(0.0, squares / count - mean**2)))
    return Moments(count, minimum, maximum, mean + shift, std, not_finite)


def _blocks(parts: Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """All values in the order of memory, _BLOCK at a time; only the last block is shorter."""
    left: NDArray[Any] | None = None
    for part in parts:
        flat, first = part.ravel(order="K"), 0
        if left is not None:
            first = _BLOCK - left.size
            left = np.concatenate([left, flat[:first]])
            if left.size < _BLOCK:
                continue
            yield left
        stop = flat.size - max(0, flat.size - first) % _BLOCK
        for start in range(first, stop, _BLOCK):
            yield flat[start : start + _BLOCK]
        left = flat[stop:].copy() if stop < flat.size else None
    if left is not None:
        yield left
