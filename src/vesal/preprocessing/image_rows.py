"""From a scan to the network's input, all rows at once or, under a limit of memory, a few at a time.

Rows are taken along the axis that is slowest in the scan's file, so that those of a scan that lies on the disk
(`vesal.volume.io.open_volume`) are read one after the other. What comes out is the same however many are taken, but for
cubic interpolation, whose rounding may differ in the last of the 16 bits that are kept of a voxel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal import memory_limit
from vesal.data.crop import Crop, in_order
from vesal.errors import DataError
from vesal.planning.plan import Plan
from vesal.preprocessing.coarse_grid import RowsOfBlocks
from vesal.preprocessing.normalise import ABSENT, Scale, apply_scale, find_scale
from vesal.text import plural
from vesal.volume.interpolation import RowsOfResize
from vesal.volume.memory_order import c_ordered
from vesal.volume.volume import Volume

#: Bytes that a voxel of 4 takes while it is worked on: as read, as float, and on its way through the axes.
_WORKING_BYTES = 20

Floats = NDArray[np.float32]


def stored_type(plan: Plan) -> type[np.floating[Any]]:
    """float16 for normalised intensities, whose rounding (0.05 %) is far below a scan's noise; float32 for
    intensities left as they are, which may lie beyond float16's 65504, and where another program's are followed."""
    as_they_are = any(how.scheme == "none" for how in plan.normalisation)
    return np.float32 if as_they_are or plan.rules != "vesal" else np.float16


def prepared_image(volume: Volume, whole: Crop, crop: Crop, plan: Plan) -> Floats:
    """Normalise a scan and resample a part of it. Nothing of the scan is changed.

    Args:
        volume: the scan.
        whole: the box whose intensities count for the normalisation.
        crop: the box that is wanted, within it.
        plan: the preparation.

    Returns:
        (plan.inputs, *crop.shape) float32 with as many digits as the cache keeps.

    Raises:
        DataError: voxels are not finite.
    """
    rows = _Rows.of(volume, whole, crop, plan)
    scales = rows.scales()
    image: Floats | None = None
    for part in rows.parts():
        made = _rounded(rows.made(part, scales), plan)
        if rows.count == crop.shape[rows.axis]:
            return made
        if image is None:
            shape = (plan.inputs, *crop.shape)
            image = memory_limit.array(shape, np.float32, slow_axis=rows.axis + 1)
        image[(slice(None), *(slice(None),) * rows.axis, part)] = made
        memory_limit.breathe()
    assert image is not None
    return image


def _rounded(image: NDArray[Any], plan: Plan) -> Floats:
    return c_ordered(image.astype(stored_type(plan)), np.float32)


@dataclass(frozen=True, eq=False)
class _Rows:
    """A scan whose rows are taken a few at a time.

    Attributes:
        cut: (C, *S) view of the scan, of the box whose intensities count.
        part: of S that is wanted.
        resizing: of that part.
        count: rows of the result that are made at once.
        plan: the preparation.
        kept: all of `cut`, where there is no limit; until it is taken.
        absent: places of channels that were not acquired.
    """

    cut: NDArray[Any]
    part: tuple[slice, ...]
    resizing: RowsOfResize | RowsOfBlocks
    count: int
    plan: Plan
    kept: list[Floats]
    absent: tuple[int, ...]

    @classmethod
    def of(cls, volume: Volume, whole: Crop, crop: Crop, plan: Plan) -> _Rows:
        # In the file's own order of memory: to turn all voxels takes longer than to turn those of the coarser grid.
        cut = whole.cut(volume.array)
        axis = _slow_axis(cut)
        old, new = crop.crop_shape, crop.shape
        resizing: RowsOfResize | RowsOfBlocks = RowsOfResize(old, new, plan.image_order, axis)
        if plan.blocks:
            resizing = RowsOfBlocks(old, new, axis)
        count = memory_limit.rows_at_once(new[axis], *row_bytes(old, new, axis, plan))
        kept = [_floats(cut)] if memory_limit.limit() is None else []
        return cls(cut, part_of(whole, crop), resizing, count, plan, kept, volume.absent)

    @property
    def axis(self) -> int:
        """Of S, along which rows are taken."""
        return self.resizing.axis

    def parts(self) -> list[slice]:
        """All rows of the result, a few at a time."""
        stop = self.resizing.new[self.axis]
        return [slice(first, min(first + self.count, stop)) for first in range(0, stop, self.count)]

    def scales(self) -> list[Scale | None]:
        """Of each channel, by all of its voxels.

        Raises:
            DataError: a voxel is not finite.
        """
        found = []
        for number, how in enumerate(self.plan.normalisation):
            if self.cut.dtype.kind == "f":
                refuse_not_finite(sum(map(not_finite, self._channel(number))))
            found.append(find_scale(self._channel(number), how))
        return found

    def made(self, rows: slice, scales: list[Scale | None]) -> NDArray[Any]:
        """(plan.inputs, *shape) of some rows of the result."""
        resizing = self.resizing
        needed = resizing.needed(rows)
        image = self._wanted(needed)
        foreground = np.any(image != 0, axis=0).astype(np.uint8) if self.plan.foreground_channel else None
        for channel, scale in zip(image, scales, strict=True):
            if scale is not None:
                apply_scale(channel, scale)
        image[list(self.absent)] = ABSENT
        if resizing.old != resizing.new:
            if isinstance(resizing, RowsOfBlocks):
                image = resizing.resized(c_ordered(image, np.float32), rows)
            else:
                image = _each(resizing, image, rows)
        if foreground is None:
            return image
        nearest = RowsOfResize(resizing.old, resizing.new, 0, self.axis)
        own = nearest.needed(rows)
        within = slice(own.start - needed.start, own.stop - needed.start)
        shown = nearest.resized(foreground[(*(slice(None),) * self.axis, within)], rows)
        return np.concatenate([image, shown[None].astype(np.float32)])

    def _channel(self, number: int) -> Iterator[Floats]:
        """A channel (*S) of all that counts for the normalisation, a few rows after the other."""
        if self.kept:
            yield self.kept[0][number]
            return
        cut = np.moveaxis(self.cut[number], self.axis, 0)
        rows = memory_limit.rows_at_once(len(cut), _WORKING_BYTES * cut[0].size)
        for first in range(0, len(cut), rows):
            yield _floats(np.moveaxis(cut[first : first + rows], 0, self.axis))
            memory_limit.breathe()

    def _wanted(self, rows: slice) -> Floats:
        """(C, *S) of some rows of the wanted part, which may be written to."""
        part = list(self.part)
        first = part[self.axis].start
        part[self.axis] = slice(first + rows.start, first + rows.stop)
        if not self.kept:
            return _floats(self.cut[(slice(None), *part)])
        kept = self.kept.pop()
        everything = all(side == slice(0, size) for side, size in zip(part, kept.shape[1:], strict=True))
        return kept if everything else kept[(slice(None), *part)].copy(order="K")


def row_bytes(old: Sequence[int], new: Sequence[int], axis: int, plan: Plan) -> tuple[float, float]:
    """What a row of the result along an axis takes while it is made, and what is taken however many are made at once.

    Args:
        old: spatial shape of the scan, or the box of it that is wanted, in the order of the plan's axes.
        new: of the result.
        axis: along which rows are made.
        plan: the preparation.
    """
    own, made = (math.prod(shape) / shape[axis] * plan.inputs * _WORKING_BYTES for shape in (old, new))
    return own * max(1.0, old[axis] / new[axis]) + made, own * RowsOfResize.reach(plan.image_order)


def _each(resizing: RowsOfResize, image: Floats, rows: slice) -> Floats:
    """Of each channel some rows of the result."""
    shape = list(resizing.new)
    shape[resizing.axis] = rows.stop - rows.start
    made = np.empty((len(image), *shape), dtype=np.float32)
    for channel, target in zip(image, made, strict=True):
        target[...] = resizing.resized(channel, rows)
    return made


def _slow_axis(cut: NDArray[Any]) -> int:
    """Of S, of (C, *S): the one that is slowest in memory."""
    axes = [axis for axis in range(cut.ndim - 1) if cut.shape[axis + 1] > 1] or [0]
    return max(axes, key=lambda axis: abs(cut.strides[axis + 1]))


def _floats(array: NDArray[Any]) -> Floats:
    """A copy, in the order of memory of what is copied; what is too large becomes infinity."""
    with np.errstate(over="ignore"):
        return np.array(array, dtype=np.float32)


def refuse_not_finite(count: int) -> None:
    """Raise DataError where an image has voxels that are not finite."""
    if count:
        raise DataError(
            f"the image has {plural(count, 'voxel')} that no finite 32-bit number holds (NaN, infinity or beyond "
            "3.4e38); replace them by numbers, or leave the image out."
        )


def not_finite(channel: Floats) -> int:
    """How many voxels; by one pass as a rule: a sum is finite only where all values are, and in 64 bits it is where
    they are."""
    with np.errstate(all="ignore"):
        if np.isfinite(np.sum(channel)) or np.isfinite(np.sum(channel, dtype=np.float64)):
            return 0
    return int(channel.size - np.count_nonzero(np.isfinite(channel)))


def part_of(whole: Crop, part: Crop) -> tuple[slice, ...]:
    """Where a smaller crop of the same scan lies in a larger one's array."""
    offsets = [a - b for a, b in zip(part.crop_start, whole.crop_start, strict=True)]
    starts = in_order(offsets, part.slice_axis, first=0)
    return tuple(slice(a, a + size) for a, size in zip(starts, part.crop_shape, strict=True))
