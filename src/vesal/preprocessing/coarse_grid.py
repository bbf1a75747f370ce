"""Onto a much coarser grid: each of its voxels takes in all the voxels that it covers, and leaves none out.

Interpolation (`vesal.volume.resample`) looks at the nearest voxels alone: it keeps the noise, and an organ may fall
between the places where it looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.data.labels import IGNORE


def block_means(image: NDArray[np.float32], shape: Sequence[int]) -> NDArray[np.float32]:
    """(C, *S) -> (C, *shape): the mean of each block, over the same field of view.

    Blocks end between voxels; where the new grid is finer than the old along an axis, voxels are repeated there.

    >>> block_means(np.array([[1, 3, 5, 5, 9]], np.float32), (2,))
    array([[2.       , 6.3333335]], dtype=float32)
    """
    whole = RowsOfBlocks(tuple(image.shape[1:]), tuple(shape), 0)
    return whole.resized(image, slice(0, shape[0]))


@dataclass(frozen=True)
class RowsOfBlocks:
    """`block_means` of an image of which a few rows along one axis are in memory at a time; the result is the same.

    Attributes:
        old, new: spatial shapes.
        axis: along which rows come.
    """

    old: tuple[int, ...]
    new: tuple[int, ...]
    axis: int

    def needed(self, rows: slice) -> slice:
        """The rows of the old image that some rows of the new one are made of."""
        old, new = self.old[self.axis], self.new[self.axis]
        if new == old:
            return rows
        if new > old:
            index = _nearest(old, new)[rows]
            return slice(int(index[0]), int(index[-1]) + 1)
        edges = _edges(old, new)
        return slice(int(edges[rows.start]), int(edges[rows.stop]))

    def resized(self, image: NDArray[np.float32], rows: slice) -> NDArray[np.float32]:
        """(C, *S), the old image's rows that are `needed` -> (C, *shape), the new one's `rows`."""
        for axis, (old, new) in enumerate(zip(self.old, self.new, strict=True)):
            if new == old:
                continue
            part, first = (rows, self.needed(rows).start) if axis == self.axis else (slice(0, new), 0)
            if new > old:
                image = np.take(image, _nearest(old, new)[part] - first, axis=axis + 1)
                continue
            edges = _edges(old, new)[part.start : part.stop + 1] - first
            sizes = np.diff(edges).astype(np.float32).reshape(-1, *(1,) * (image.ndim - 2 - axis))
            image = np.add.reduceat(image, edges[:-1], axis=axis + 1)
            image /= sizes
        return np.ascontiguousarray(image, dtype=np.float32)


def block_labels(label: NDArray[np.uint8], shape: Sequence[int]) -> NDArray[np.uint8]:
    """(*S) -> (*shape) contiguous: the highest label of each block; IGNORE where nothing else is in it.

    Background only where a block holds nothing else: small organs stay.

    >>> block_labels(np.array([0, 0, 1, 0, 255, 0, 255, 2], np.uint8), (4,)).tolist()
    [0, 1, 255, 2]
    """
    ignored = _maxima((label == IGNORE).view(np.uint8), shape)
    found = _maxima(np.where(label == IGNORE, np.uint8(0), label), shape)
    return np.where((found == 0) & (ignored > 0), np.uint8(IGNORE), found)


def _maxima(array: NDArray[np.uint8], shape: Sequence[int]) -> NDArray[Any]:
    for axis, new in enumerate(shape):
        old = array.shape[axis]
        if new > old:
            array = np.take(array, _nearest(old, new), axis=axis)
        elif new < old:
            array = np.maximum.reduceat(array, _edges(old, new)[:-1], axis=axis)
    return array


def _edges(old: int, new: int) -> NDArray[np.int64]:
    """First voxel of each of `new` blocks of an axis, and its end."""
    return np.rint(np.arange(new + 1) * (old / new)).astype(np.int64)


def _nearest(old: int, new: int) -> NDArray[np.int64]:
    return ((np.arange(new) + 0.5) * (old / new)).astype(np.int64)
