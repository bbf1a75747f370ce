"""The smallest boxes around the labels of a map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesal.volume.geometry import Array

#: Values of a label map whose boxes are looked for one by one.
_FEW_VALUES = 8


def label_boxes(label: NDArray[np.uint8]) -> dict[int, tuple[slice, ...]]:
    """Value -> the smallest box around its voxels, of all values but 0 in ascending order.

    >>> label_boxes(np.array([[0, 0, 3], [0, 5, 3]], dtype=np.uint8))
    {3: (slice(0, 2, None), slice(2, 3, None)), 5: (slice(1, 2, None), slice(1, 2, None))}
    """
    whole = _box(label)
    if whole is None:
        return {}
    inside = label[whole]
    values = _values(inside)
    if len(values) > _FEW_VALUES:
        return _of_many(inside, values, whole)
    found = {}
    for value in values:
        own = _box(inside == value)
        assert own is not None
        found[value] = tuple(
            slice(part.start + outer.start, part.stop + outer.start)
            for part, outer in zip(own, whole, strict=True)
        )
    return found


def _values(inside: NDArray[np.uint8]) -> list[int]:
    """What is there beside 0, in ascending order."""
    there = np.zeros(256, dtype=bool)
    # Plane by plane: numpy counts 8 bytes a voxel.
    for plane in np.moveaxis(inside, int(np.argmax(np.abs(inside.strides))), 0):
        there |= np.bincount(plane.ravel(order="K"), minlength=256) > 0
    return [value for value in np.flatnonzero(there).tolist() if value]


def _of_many(
    inside: NDArray[np.uint8], values: list[int], whole: tuple[slice, ...]
) -> dict[int, tuple[slice, ...]]:
    """The boxes of all values at once, by counts of each plane along each axis."""
    sides = []
    for axis, outer in enumerate(whole):
        planes = np.moveaxis(inside, axis, 0)
        there = np.array([np.bincount(plane.ravel(order="K"), minlength=256) > 0 for plane in planes])
        first, last = there.argmax(axis=0), len(there) - there[::-1].argmax(axis=0)
        sides.append((first + outer.start, last + outer.start))
    return {
        value: tuple(slice(int(first[value]), int(last[value])) for first, last in sides) for value in values
    }


def _box(mask: Array) -> tuple[slice, ...] | None:
    """The smallest box around what is not 0; None where all is."""
    box = [slice(0, size) for size in mask.shape]
    # Along the axis that is slowest in memory first: what that cuts away no other has to read.
    for axis in np.argsort([-abs(step) for step in mask.strides], kind="stable").tolist():
        others = tuple(other for other in range(mask.ndim) if other != axis)
        filled = np.flatnonzero(mask[tuple(box)].any(axis=others))
        if not filled.size:
            return None
        box[axis] = slice(int(filled[0]), int(filled[-1]) + 1)
    return tuple(box)
