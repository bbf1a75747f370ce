"""The values of label maps: counted, and replaced by others, in slabs that bound what is in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.memory_limit import array_like, breathe, limit
from vesal.volume.label_boxes import label_boxes


def value_counts(array: NDArray[Any]) -> dict[int, int]:
    """Value -> number of voxels of an integer array, in ascending order.

    >>> value_counts(np.array([[3, 0], [3, -1]]))
    {-1: 1, 0: 1, 3: 2}
    """
    slabs = slabs_of(array, slow_axis(array))
    lowest, highest = slabs[0].flat[0], slabs[0].flat[0]
    for slab in slabs:
        lowest, highest = min(lowest, slab.min()), max(highest, slab.max())
        breathe()
    lowest, highest = int(lowest), int(highest)
    if highest - lowest >= 1 << 16:
        return dict(zip(*(part.tolist() for part in np.unique(array, return_counts=True)), strict=True))
    counts = np.zeros(highest - lowest + 1, dtype=np.int64)
    for slab in slabs:
        flat = slab.ravel(order="K")
        filled = flat[flat != 0].astype(
            np.int64
        )  # bincount makes 8 bytes of each voxel, and most are background
        counts += np.bincount(filled - lowest, minlength=len(counts))
        breathe()
    if lowest <= 0 <= highest:
        counts[-lowest] = array.size - counts.sum()
    return {int(value) + lowest: int(counts[value]) for value in np.flatnonzero(counts)}


def look_up(table: NDArray[Any], array: NDArray[Any], base: int = 0) -> NDArray[Any]:
    """table[array - base], slab by slab: numpy widens indices to 8 bytes a voxel."""
    out = array_like(array, table.dtype)
    axis = slow_axis(array)
    for slab, target in zip(slabs_of(array, axis), slabs_of(out, axis), strict=True):
        target[...] = table[slab if base == 0 else slab.astype(np.int64) - base]
        breathe()
    return out


def cast(array: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
    """A copy of another type, of which every value has its place there."""
    out = array_like(array, dtype)
    axis = slow_axis(array)
    for slab, target in zip(slabs_of(array, axis), slabs_of(out, axis), strict=True):
        target[...] = slab
        breathe()
    return out


def value_boxes(contiguous: NDArray[np.uint8]) -> dict[int, tuple[slice, ...]]:
    """`vesal.volume.label_boxes.label_boxes`, slab by slab where memory is limited.

    >>> value_boxes(np.array([[0, 2], [2, 0]], dtype=np.uint8))
    {2: (slice(0, 2, None), slice(0, 2, None))}
    """
    if limit() is None:
        return label_boxes(contiguous)
    axis = slow_axis(contiguous)
    boxes: dict[int, tuple[slice, ...]] = {}
    first = 0
    for slab in slabs_of(contiguous, axis):
        for value, found in label_boxes(slab).items():
            along = slice(found[0].start + first, found[0].stop + first)
            box = (*found[1 : axis + 1], along, *found[axis + 1 :])
            boxes[value] = joint_box([boxes.get(value), box]) or box
        first += len(slab)
        breathe()
    return dict(sorted(boxes.items()))


def joint_box(boxes: Sequence[tuple[slice, ...] | None]) -> tuple[slice, ...] | None:
    """The smallest box around all of them; None where all are None.

    >>> joint_box([(slice(1, 3),), None, (slice(2, 7),)])
    (slice(1, 7, None),)
    """
    there = [box for box in boxes if box is not None]
    if not there:
        return None
    return tuple(
        slice(min(side.start for side in sides), max(side.stop for side in sides))
        for sides in zip(*there, strict=True)
    )


def slabs_of(array: NDArray[Any], axis: int) -> list[NDArray[Any]]:
    """Views along `axis` of about a million voxels each."""
    along = np.moveaxis(array, axis, 0)
    step = max(1, (1 << 20) * len(along) // max(1, along.size))
    return [along[start : start + step] for start in range(0, len(along), step)]


def slow_axis(array: NDArray[Any]) -> int:
    """The axis along which slabs are whole stretches of memory; files often come in Fortran's order."""
    return int(np.argmax(np.abs(array.strides)))
