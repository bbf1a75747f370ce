"""A MinHash of a scan's local patterns, by which two scans cut from one are recognised wherever they were cut.

Around each local maximum, which of two neighbours is brighter is asked for fixed pairs of neighbours; the answers
are the pattern. Neither a crop, a shift, another file type nor a monotonous change of intensities changes it. Of
all patterns of a scan those with the smallest hash values are kept (Broder, On the resemblance and containment of
documents, 1997), so two sketches share marks as far as the scans share patterns. Noise makes the patterns of two
different scans, even of one patient, different.
"""

from __future__ import annotations

import base64
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Marks of a scan.
MARKS = 64

_PAIRS = 48  # comparisons of a pattern
_FIRST = 16  # of them decide which patterns are looked at further
_KEPT = 500  # patterns that are
_REACH = 2  # voxels, of the neighbours
_FEW = 5  # patterns with fewer answers of one kind after the first are slopes that all scans have
_VOXELS = 1_000_000  # of a larger scan the middle is looked at


def minhash(image: NDArray[Any]) -> str:
    """Marks of one channel, (X, Y, Z) or (X, Y), as text; '' for a scan without patterns."""
    return base64.b64encode(np.sort(_patterns(_middle(image)))[:MARKS].tobytes()).decode()


def marks(text: str) -> NDArray[np.uint64]:
    """The marks in such a text."""
    return np.frombuffer(base64.b64decode(text), np.uint64)


def _middle(image: NDArray[Any]) -> NDArray[Any]:
    share = min(1.0, (_VOXELS / image.size) ** (1 / image.ndim))
    keep = [max(2 * _REACH + 3, round(size * share)) for size in image.shape]
    starts = [max(0, (size - kept) // 2) for size, kept in zip(image.shape, keep, strict=True)]
    box = tuple(slice(start, start + kept) for start, kept in zip(starts, keep, strict=True))
    # One stretch of memory with the last axis fastest, for neighbours as steps along it.
    return np.ascontiguousarray(image[box])


def _patterns(image: NDArray[Any]) -> NDArray[np.uint64]:
    if min(image.shape) <= 2 * _REACH:
        return np.empty(0, np.uint64)
    core = tuple(slice(_REACH, size - _REACH) for size in image.shape)
    peak = np.ones(image[core].shape, dtype=bool)
    for axis in range(image.ndim):
        for step in (-1, 1):
            moved = list(core)
            moved[axis] = slice(_REACH + step, image.shape[axis] - _REACH + step)
            peak &= image[core] > image[tuple(moved)]
    found = np.nonzero(peak)
    steps = np.array([stride // image.itemsize for stride in image.strides])
    centres = sum((where + _REACH) * step for where, step in zip(found, steps, strict=True))
    first, second = (offsets @ steps for offsets in _offsets(image.ndim))
    flat = image.reshape(-1)
    begun, _ = _answers(flat, centres, first[:_FIRST], second[:_FIRST])
    order = _mixed(begun)
    if order.size > _KEPT:
        kept = order <= np.partition(order, _KEPT)[_KEPT]
        centres, begun, order = centres[kept], begun[kept], order[kept]
    rest, ones = _answers(flat, centres, first[_FIRST:], second[_FIRST:])
    pattern = begun << np.uint64(_PAIRS - _FIRST) | rest
    good = (ones >= _FEW) & (ones <= _PAIRS - _FIRST - _FEW)
    top = np.uint64(0xFFFFFFFF00000000)
    return np.unique(order[good] & top | _mixed(pattern[good]) >> np.uint64(32))


def _answers(
    flat: NDArray[Any], centres: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """For each centre, the bits that say at which pairs the first neighbour is brighter, and how many there are."""
    bits, ones = np.zeros(len(centres), np.uint64), np.zeros(len(centres), np.uint8)
    for bit, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        brighter = flat[centres + a] > flat[centres + b]
        bits |= brighter.astype(np.uint64) << np.uint64(bit)
        ones += brighter
    return bits, ones


@cache
def _offsets(ndim: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of neighbours, (pairs, ndim) each: drawn once and for all."""
    generator = np.random.default_rng(20)
    cube = np.stack(np.meshgrid(*[np.arange(-_REACH, _REACH + 1)] * ndim, indexing="ij"), -1).reshape(
        -1, ndim
    )
    cube = cube[np.abs(cube).sum(axis=1) > 1]
    drawn = np.array([generator.choice(len(cube), 2, replace=False) for _ in range(_PAIRS)])
    return cube[drawn[:, 0]], cube[drawn[:, 1]]


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread evenly over all 64-bit numbers (the finaliser of splitmix64)."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed
