"""Where a prepared array lies in its source: turn, crop, order of axes; and the way back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vesal.data.labels import IGNORE
from vesal.memory_limit import array as memory_array
from vesal.memory_limit import breathe, limit, rows_at_once
from vesal.volume.geometry import Geometry, Turn

Array = NDArray[Any]
Value = TypeVar("Value")

#: (start, stop) in voxels along the axes of a scan that was turned nearest to RAS+.
Box = tuple[tuple[int, ...], tuple[int, ...]]

#: Boxes that are drawn for a place elsewhere, of which the one that shares least is taken.
_DRAWS = 4


@dataclass(frozen=True, eq=False)
class Crop:
    """The lossless part of preparation, source array -> turned, cropped, axes in order, and its inverse.

    What follows it, resampling from `crop_shape` to `shape` over the same field of view, or by `steps`, is not in it.

    Attributes:
        source: grid of the scan as it was read.
        turn: brings the source's axes nearest to RAS+; none in 2D.
        crop_start, crop_stop: of the kept box, voxels along the turned axes.
        slice_axis: which RAS axis comes first in the prepared array (2D plan of volumes), or None.
        shape: spatial shape of the prepared array: (X, Y, Z), or (S, A, B) of a 2D plan (S = 1 in 2D).
        nearest_axis: of the prepared array, along which logits go back by the nearest voxel, not linearly; or None.
        steps: from one voxel of the crop to the next, in voxels of the prepared array, where the centres of the first
            voxels of both lie on each other, as MONAI has it; None where both have the same field of view.
    """

    source: Geometry
    turn: Turn
    crop_start: tuple[int, ...]
    crop_stop: tuple[int, ...]
    slice_axis: int | None
    shape: tuple[int, ...]
    nearest_axis: int | None = None
    steps: tuple[float, ...] | None = None

    @property
    def box(self) -> Box:
        """The kept box."""
        return self.crop_start, self.crop_stop

    @property
    def crop_shape(self) -> tuple[int, ...]:
        """Spatial shape of the box before resampling, in the prepared array's order of axes."""
        sizes = [stop - start for start, stop in zip(self.crop_start, self.crop_stop, strict=True)]
        return in_order(sizes, self.slice_axis, first=1)

    def cut(self, array: Array) -> Array:
        """(..., *source.shape) -> (..., *crop_shape); a view, not a copy."""
        lead = array.ndim - self.source.ndim
        box: tuple[Any, ...] = tuple(
            slice(a, b) for a, b in zip(self.crop_start, self.crop_stop, strict=True)
        )
        cropped = self.turn.apply(array)[..., *box]
        if self.source.ndim == 2:
            return np.expand_dims(cropped, lead)
        return cropped if self.slice_axis is None else np.moveaxis(cropped, lead + self.slice_axis, lead)

    def paste(self, array: Array, fill: float = 0) -> Array:
        """(..., *crop_shape) -> (..., *source.shape): the inverse of `cut`, with `fill` outside the box.

        Raises:
            ValueError: the array does not end with `crop_shape`.
        """
        if tuple(array.shape[-3:]) != self.crop_shape:
            raise ValueError(f"array {array.shape} does not end with the cropped shape {self.crop_shape}")
        whole = memory_array((*array.shape[:-3], *self.source.shape), array.dtype, zeros=fill == 0)
        if fill != 0:
            whole[...] = fill
        inside = self.cut(whole)
        rows = rows_at_once(array.shape[-3], 2 * array.nbytes / max(1, array.shape[-3]))
        for first in range(0, array.shape[-3], rows):
            inside[..., first : first + rows, :, :] = array[..., first : first + rows, :, :]
            breathe()
        return whole

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "source": self.source.to_dict(),
            "order": list(self.turn.order),
            "flips": list(self.turn.flips),
            "crop_start": list(self.crop_start),
            "crop_stop": list(self.crop_stop),
            "slice_axis": self.slice_axis,
            "shape": list(self.shape),
            "nearest_axis": self.nearest_axis,
            "steps": None if self.steps is None else list(self.steps),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Crop:
        """The inverse of `to_dict`."""
        return cls(
            source=Geometry.from_dict(value["source"]),
            turn=Turn(tuple(value["order"]), tuple(value["flips"])),
            crop_start=tuple(value["crop_start"]),
            crop_stop=tuple(value["crop_stop"]),
            slice_axis=value["slice_axis"],
            shape=tuple(value["shape"]),
            nearest_axis=value.get("nearest_axis"),
            steps=None if value.get("steps") is None else tuple(value["steps"]),
        )


def in_order(axes: Sequence[Value], slice_axis: int | None, first: Value) -> tuple[Value, ...]:
    """Values of the turned axes in the prepared array's order; `first` stands for the axis that 2D lacks.

    >>> in_order([320, 300, 15], 2, first=1), in_order([64, 48], None, first=1)
    ((15, 320, 300), (1, 64, 48))
    """
    if len(axes) == 2:
        return (first, *axes)
    if slice_axis is None:
        return tuple(axes)
    return (axes[slice_axis], *(value for axis, value in enumerate(axes) if axis != slice_axis))


def around(label: NDArray[np.uint8], grid: Geometry, margin_mm: float) -> Box | None:
    """The box of the labelled voxels and a margin on every side, within the grid; None without any.

    Args:
        label: (*grid.shape) contiguous, as the grid's file holds it; 0 and the ignore value are not labelled.
        grid: of the label.
        margin_mm: at least so much is added.
    """
    turn = grid.turn_to_ras()
    labelled = turn.apply((label != 0) & (label != IGNORE))
    box = mask_box(labelled)
    if box is None:
        return None
    margins = [math.ceil(margin_mm / grid.spacing_mm[axis]) for axis in turn.order]
    start = (max(0, first - margin) for first, margin in zip(box[0], margins, strict=True))
    stop = map(min, labelled.shape, (last + margin for last, margin in zip(box[1], margins, strict=True)))
    return tuple(start), tuple(stop)


def at_least(box: Box, bounds: Box, least: Sequence[int]) -> Box:
    """The box, with short sides grown alike on both ends to so many voxels, and moved into the bounds where it leaves
    them.

    Args:
        box: along the turned axes.
        bounds: that it does not leave; sides are as long as these at most.
        least: voxels of its sides.

    >>> at_least(((4, 1), (8, 3)), ((0, 0), (20, 20)), (2, 6))
    ((4, 0), (8, 6))
    """
    start, stop = [], []
    for first, last, low, high, size in zip(*box, *bounds, least, strict=True):
        side = min(max(last - first, size), high - low)
        begin = first - (side - (last - first)) // 2
        begin = min(max(begin, low), high - side)
        start.append(begin)
        stop.append(begin + side)
    return tuple(start), tuple(stop)


def elsewhere(box: Box, bounds: Box, least: Sequence[int], generator: np.random.Generator) -> Box:
    """A box of about the same size at another place, as far from the given one as a few draws show.

    Args:
        box: of the organ, say.
        bounds: within which it is drawn.
        least: voxels of its sides, as far as the bounds allow.
        generator: of the draws.
    """
    sizes = [stop - start for start, stop in zip(*box, strict=True)]
    room = [stop - start for start, stop in zip(*bounds, strict=True)]
    sides = [min(max(size, of), whole) for size, of, whole in zip(sizes, least, room, strict=True)]
    best: tuple[int, Box] | None = None
    for _ in range(_DRAWS):
        free = [first + whole - side for first, whole, side in zip(bounds[0], room, sides, strict=True)]
        start = tuple(
            int(generator.integers(first, last + 1)) for first, last in zip(bounds[0], free, strict=True)
        )
        drawn = start, tuple(first + side for first, side in zip(start, sides, strict=True))
        shared = math.prod(
            max(0, min(a_stop, b_stop) - max(a, b)) for a, a_stop, b, b_stop in zip(*drawn, *box, strict=True)
        )
        if best is None or shared < best[0]:
            best = shared, drawn
    assert best is not None
    return best[1]


def mask_box(mask: NDArray[np.bool_]) -> Box | None:
    """(start, stop) of the smallest box that holds all of a mask (*spatial); None of an empty one.

    >>> mask_box(np.array([[0, 0, 0], [0, 1, 1]], dtype=bool))
    ((1, 1), (2, 3))
    """
    axes = range(mask.ndim)
    lines = [np.flatnonzero(mask.any(axis=tuple(other for other in axes if other != axis))) for axis in axes]
    if not lines[0].size:
        return None
    return tuple(int(line[0]) for line in lines), tuple(int(line[-1]) + 1 for line in lines)


def nonzero_box(image: Array) -> Box:
    """(start, stop) of the smallest box that holds every voxel at which any channel of (C, *S) is not 0.

    An image of zeros keeps all its voxels. Not finite voxels count as not zero.

    >>> image = np.zeros((1, 4, 5)); image[0, 1:3, 2] = 7
    >>> nonzero_box(image)
    ((1, 2), (3, 3))
    """
    spatial = image.shape[1:]
    if limit() is not None:
        return _nonzero_box_by_rows(image)
    start, stop = [0] * len(spatial), list(spatial)
    # Slices are looked at from the faces inwards, along the axis that is slowest in memory first: usually a
    # few slices of contiguous memory decide, and what they cut away no later axis has to read.
    for axis in np.argsort([-abs(step) for step in image.strides[1:]], kind="stable"):
        while start[axis] < stop[axis] and not _slice(image, start, stop, axis, start[axis]).any():
            start[axis] += 1
        if start[axis] == stop[axis]:
            return (0,) * len(spatial), tuple(spatial)
        while not _slice(image, start, stop, axis, stop[axis] - 1).any():
            stop[axis] -= 1
    return tuple(start), tuple(stop)


def _nonzero_box_by_rows(image: Array) -> Box:
    """`nonzero_box` in one passage along the axis that is slowest in memory, with a few rows in memory at a time."""
    spatial = image.shape[1:]
    axis = int(np.argmax([abs(step) for step in image.strides[1:]]))
    along = np.moveaxis(image, axis + 1, 0)
    lines = [np.zeros(size, dtype=bool) for size in spatial]
    others = [other for other in range(len(spatial)) if other != axis]
    rows = rows_at_once(len(along), along[0].nbytes + 2 * along[0].size)
    for first in range(0, len(along), rows):
        filled = (along[first : first + rows] != 0).any(axis=1)
        for place, own in enumerate([axis, *others]):
            found = filled.any(axis=tuple(other for other in range(filled.ndim) if other != place))
            lines[own][slice(first, first + rows) if own == axis else slice(None)] |= found
        breathe()
    places = [np.flatnonzero(line) for line in lines]
    if not places[0].size:
        return (0,) * len(spatial), tuple(spatial)
    return tuple(int(line[0]) for line in places), tuple(int(line[-1]) + 1 for line in places)


def _slice(image: Array, start: list[int], stop: list[int], axis: int, index: int) -> Array:
    box = [slice(a, b) for a, b in zip(start, stop, strict=True)]
    box[axis] = slice(index, index + 1)
    return image[(slice(None), *box)]
