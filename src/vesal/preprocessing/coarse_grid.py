"""Onto a much coarser grid: each of its voxels takes in all the voxels that it covers, and leaves none out.

Interpolation (`vesal.volume.resample`) looks at the nearest voxels alone: it keeps the noise, and an organ may fall
between the places where it looks.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    for axis, new in enumerate(shape, start=1):
        old = image.shape[axis]
        if new == old:
            continue
        if new > old:
            image = np.take(image, _nearest(old, new), axis=axis)
            continue
        edges = _edges(old, new)
        sizes = np.diff(edges).astype(np.float32).reshape(-1, *(1,) * (image.ndim - 1 - axis))
        image = np.add.reduceat(image, edges[:-1], axis=axis)
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
