"""The largest class, or regions above a threshold, between the voxels of a coarse grid, by few interpolations.

Linear interpolation takes means of a cell's corners with weights from 0 to 1. So

- a class that is the largest at all corners of a cell is the largest everywhere in it (and a region that holds at all
  corners holds everywhere): only the cells along borders are interpolated;
- a class whose largest corner lies under the smallest corner of another is nowhere the largest in that cell: only a
  few classes are interpolated, each within the box of the cells in which it can be the largest.

All of it is numpy on blocks that fit into a cache, so that threads can share the blocks of a volume.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.preprocessing.nnunet_rules import nearest_voxels

Floats = NDArray[np.float32]
Box = tuple[slice, ...]


class Scratch:
    """Arrays of one thread that are used again and again.

    New ones of a megabyte each would come from the system page by page: several times the time of the arithmetic.
    """

    def __init__(self) -> None:
        self._kept: dict[str, NDArray[Any]] = {}

    def array(self, name: str, shape: Sequence[int], dtype: Any = np.float32) -> NDArray[Any]:
        """Uninitialised; the memory of the array that was last requested by this name."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        kept = self._kept.get(name)
        if kept is None or kept.size < size:
            kept = self._kept[name] = np.empty(size, dtype=np.uint8)
        return kept[:size].view(dtype).reshape(shape)


@dataclass(frozen=True, eq=False)
class Axis:
    """Linear interpolation along one axis onto another number of voxels over the same field of view.

    A cell lies between two neighbouring coarse voxels; where nothing changes (or there is one voxel only), it is a
    voxel.

    Attributes:
        size: coarse voxels.
        moves: whether the fine voxels lie elsewhere than the coarse ones.
        cell: in which each fine voxel lies, ascending; its lower corner has the same number.
        share: what the upper corner weighs there, 0 to 1.
        nearest: each fine voxel takes its cell's one voxel: nothing is interpolated.
    """

    size: int
    moves: bool
    cell: NDArray[np.intp]
    share: Floats
    nearest: bool = False

    @classmethod
    def between(cls, size: int, wanted: int, *, nearest: bool = False, step: float | None = None) -> Axis:
        """The axis that brings `size` voxels to `wanted`; beyond the outermost voxels' centres they continue.

        With a step the fine voxels lie that far apart (in coarse ones), and the first ones' centres on each other.
        """
        if nearest and size != wanted:
            return cls(
                size, True, nearest_voxels(size, wanted), np.zeros(wanted, dtype=np.float32), nearest=True
            )
        position = (
            (np.arange(wanted) + 0.5) * (size / wanted) - 0.5 if step is None else np.arange(wanted) * step
        )
        position = np.clip(position, 0, size - 1)
        moves = size != wanted if step is None else size != wanted or step != 1
        cell = np.minimum(position.astype(np.intp), max(size - 2, 0)) if moves else np.arange(size)
        return cls(size, moves, cell, (position - cell).astype(np.float32))

    @property
    def corners(self) -> int:
        """Of a cell along this axis."""
        return 2 if self.moves and self.size > 1 and not self.nearest else 1

    @property
    def cells(self) -> int:
        return self.size - self.corners + 1

    @cached_property
    def _first(self) -> list[int]:
        """Of the fine voxels in each cell, and their number."""
        found: list[int] = np.searchsorted(self.cell, np.arange(self.cells + 1)).tolist()
        return found

    def fine(self, cells: slice) -> slice:
        """The fine voxels that lie in a range of cells."""
        return slice(self._first[cells.start], self._first[cells.stop])

    def coarse(self, cells: slice) -> slice:
        """The voxels that are the corners of a range of cells."""
        return slice(cells.start, cells.stop + self.corners - 1)

    def repeated(self, array: NDArray[Any], axis: int, cells: slice) -> NDArray[Any]:
        """One value a cell (its first along `axis`) -> one a fine voxel."""
        return array.take(self.cell[self.fine(cells)] - cells.start, axis) if self.moves else array

    def linear(self, array: Floats, axis: int, cells: slice, scratch: Scratch) -> Floats:
        """Values at the corners of `cells` -> at the fine voxels in them; the same array where nothing changes."""
        if not self.moves:
            return array
        fine = self.fine(cells)
        index = self.cell[fine] - cells.start
        shape = (*array.shape[:axis], len(index), *array.shape[axis + 1 :])
        low = scratch.array(f"low {axis}", shape)
        # With a mode numpy writes into `out` itself; all indices are good.
        array.take(index, axis, out=low, mode="clip")
        if self.corners == 2:
            step = scratch.array("step", shape)
            array.take(index + 1, axis, out=step, mode="clip")
            step -= low
            step *= self.share[fine].reshape(-1, *(1,) * (array.ndim - 1 - axis))
            low += step
        return low

    def pooled(self, function: np.ufunc, array: NDArray[Any], axis: int, scratch: Scratch) -> NDArray[Any]:
        """Values at corners -> `function` of the two of each cell."""
        if self.corners == 1:
            return array
        front = (slice(None),) * axis
        low, high = array[(*front, slice(None, -1))], array[(*front, slice(1, None))]
        return function(low, high, out=scratch.array(f"pooled {axis}", low.shape, array.dtype))


def largest_classes(
    logits: Floats,
    axes: Sequence[Axis],
    cells: Box,
    bias: float,
    scratch: Scratch,
    *,
    in_16_bits: bool = False,
) -> NDArray[np.uint8]:
    """The class with the largest logit at the fine voxels of a block of cells.

    Args:
        logits: (K, a, b, c) at the block's corners.
        axes: three.
        cells: of the block, along each axis.
        bias: is added to the logits of class 0.
        scratch: of this thread.
        in_16_bits: what is interpolated is rounded to float16 before it is compared, as nnU-Net does.

    Returns:
        uint8, of the block's fine voxels; of equal logits the lowest class.
    """
    coarse = _argmax(logits, bias, scratch)

    def between(corners: Box, here: Box) -> NDArray[np.uint8]:
        return _argmax_between(
            logits[:, *corners], coarse[corners], axes, here, bias, scratch, in_16_bits=in_16_bits
        )

    return _refined(coarse, axes, cells, between)


def above(
    values: Floats, axes: Sequence[Axis], cells: Box, threshold: float, scratch: Scratch
) -> NDArray[np.bool_]:
    """Where a region's logits (a, b, c) at a block's corners, interpolated, lie above a threshold."""
    coarse = values > np.float32(threshold)

    def between(corners: Box, here: Box) -> NDArray[np.bool_]:
        return _linear(values[corners], axes, here, scratch) > np.float32(threshold)

    return _refined(coarse, axes, cells, between)


def _refined(
    coarse: NDArray[Any], axes: Sequence[Axis], cells: Box, between: Callable[[Box, Box], NDArray[Any]]
) -> NDArray[Any]:
    """What all corners of a cell agree on at its fine voxels, `between` (corners, cells) where they do not."""
    sizes = zip(axes, coarse.shape, strict=True)
    lower = coarse[tuple(slice(0, size - axis.corners + 1) for axis, size in sizes)]
    result = _nearest(lower, axes, cells)
    if all(axis.corners == 1 for axis in axes) or coarse.min() == coarse.max():
        return result
    box = _box_of(_disagree(coarse, axes))
    if box is not None:
        corners, here = _corners(box, axes), _shifted(box, cells)
        fine = between(corners, here)
        undecided = _nearest(_disagree(coarse[corners], axes), axes, here)
        np.copyto(result[_fine(axes, here, cells)], fine, where=undecided)
    return result


# --- classes ---------------------------------------------------------------------------------------------


def _argmax(logits: Floats, bias: float, scratch: Scratch) -> NDArray[np.uint8]:
    """Over the first axis. A running maximum is several times faster than numpy's or torch's argmax."""
    best = scratch.array("best", logits.shape[1:])
    np.add(logits[0], np.float32(bias), out=best)
    index = np.zeros(best.shape, dtype=np.uint8)
    for number in range(1, len(logits)):
        _keep_larger(best, index, logits[number], number, scratch)
    return index


def _argmax_between(
    logits: Floats,
    winners: NDArray[np.uint8],
    axes: Sequence[Axis],
    cells: Box,
    bias: float,
    scratch: Scratch,
    *,
    in_16_bits: bool,
) -> NDArray[np.uint8]:
    """As `largest_classes`, of the cells whose corners have several winners; anything in the other cells."""
    undecided = _disagree(winners, axes)
    floor = _floor(logits, winners, axes, bias, scratch)
    if in_16_bits:  # what is as good as equal may become so
        floor -= np.abs(floor) * np.float32(2**-10)
    lowest = float(floor[undecided].min())
    fine = tuple(axis.fine(part) for axis, part in zip(axes, cells, strict=True))
    shape = tuple(part.stop - part.start for part in fine)
    best, index = scratch.array("best", shape), scratch.array("index", shape, np.uint8)
    best.fill(-np.inf)
    index.fill(0)
    for number, values in enumerate(logits):
        added = np.float32(bias if number == 0 else 0.0)
        if values.max() + added < lowest:
            continue
        possible = _pooled(np.maximum, values, axes, scratch) >= (floor - added if added else floor)
        possible &= undecided
        box = _box_of(possible)
        if box is not None:
            part = _shifted(box, cells)
            there = _fine(axes, part, cells)
            found = _linear(values[_corners(box, axes)], axes, part, scratch)
            if in_16_bits:
                found = found.astype(np.float16).astype(np.float32)
            _keep_larger(best[there], index[there], found + added if added else found, number, scratch)
    return index


def _keep_larger(
    best: Floats, index: NDArray[np.uint8], values: Floats, number: int, scratch: Scratch
) -> None:
    """Set `number` where `values` are larger than `best`; the numbers must come in ascending order."""
    larger = np.greater(values, best, out=scratch.array("larger", best.shape, np.bool_)).view(np.uint8)
    np.maximum(best, values, out=best)
    larger *= np.uint8(number)
    np.maximum(index, larger, out=index)


def _floor(
    logits: Floats, winners: NDArray[np.uint8], axes: Sequence[Axis], bias: float, scratch: Scratch
) -> Floats:
    """What the largest logit is at least, everywhere in each cell: the best of the winners' smallest corners."""
    floor: Floats | None = None
    for number in np.flatnonzero(np.bincount(winners.ravel())):
        least = _pooled(np.minimum, logits[number], axes, scratch)
        if number == 0 and bias:
            least = least + np.float32(bias)
        floor = least.copy() if floor is None else np.maximum(floor, least, out=floor)
    assert floor is not None
    return floor


# --- cells and boxes -------------------------------------------------------------------------------------


def _pooled(function: np.ufunc, array: NDArray[Any], axes: Sequence[Axis], scratch: Scratch) -> NDArray[Any]:
    """One a cell; in `scratch`."""
    for number, axis in enumerate(axes):
        array = axis.pooled(function, array, number, scratch)
    return array


def _disagree(corners: NDArray[Any], axes: Sequence[Axis]) -> NDArray[np.bool_]:
    """One a cell: whether its corners have several values."""
    largest, smallest = (_pooled(function, corners, axes, Scratch()) for function in (np.maximum, np.minimum))
    return largest != smallest


def _corners(box: Box, axes: Sequence[Axis]) -> Box:
    return tuple(axis.coarse(part) for axis, part in zip(axes, box, strict=True))


def _box_of(mask: NDArray[np.bool_]) -> Box | None:
    """The smallest box around what is true."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        along = np.atleast_1d(mask.any(axis=others))
        first = int(along.argmax())
        if not along[first]:
            return None
        box.append(slice(first, len(along) - int(along[::-1].argmax())))
    return tuple(box)


def _shifted(box: Box, outer: Box) -> Box:
    """A box of cells counted from the start of `outer` -> counted as `outer` is."""
    return tuple(
        slice(part.start + big.start, part.stop + big.start) for part, big in zip(box, outer, strict=True)
    )


def _fine(axes: Sequence[Axis], cells: Box, outer: Box) -> Box:
    """Where the fine voxels of a box of cells lie among those of the cells `outer`."""
    parts = [axis.fine(part) for axis, part in zip(axes, cells, strict=True)]
    firsts = [axis.fine(part).start for axis, part in zip(axes, outer, strict=True)]
    return tuple(
        slice(part.start - first, part.stop - first) for part, first in zip(parts, firsts, strict=True)
    )


def _nearest(of_cells: NDArray[Any], axes: Sequence[Axis], cells: Box) -> NDArray[Any]:
    # The last axis first: it is the slow one, and the array is smallest then.
    for number in reversed(range(len(axes))):
        of_cells = axes[number].repeated(of_cells, number, cells[number])
    return of_cells


def _linear(corners: Floats, axes: Sequence[Axis], cells: Box, scratch: Scratch) -> Floats:
    for number in reversed(range(len(axes))):
        corners = axes[number].linear(corners, number, cells[number], scratch)
    return corners
