"""From logits on the prepared grid to labels on the cropped source grid, block by block.

Argmax and threshold are taken while the logits are brought to the finer grid, so that no more of them than a block
is ever interpolated, and that only where classes meet (`vesal.infer.interpolated_argmax`).
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vesal.data.labels import LabelSet
from vesal.infer.arrays.arrays import NUMPY
from vesal.infer.interpolated_argmax import Axis, Floats, Scratch, above, largest_classes
from vesal.memory_limit import array, breathe
from vesal.parallel import map_in_order
from vesal.volume.interpolation import separable
from vesal.volume.resample import resize

#: Bytes of float32 logits in one slab of the finer grid, for probabilities.
SLAB_BYTES = 16 << 20

#: Cells of a block, from the first axis to the last: what is done with one class of it stays in a core's cache.
BLOCK = (16, 64, 64)


class LabelWriter:
    """Takes rows of logits as they are finished, and writes the labels of the finer grid.

    Args:
        out: uint8, three axes, any strides: contiguous labels on the wanted grid, over the same field of view.
        shape: of all logits together, without their channels.
        labels: classes (argmax) or regions (sigmoid over `threshold`, painted from outer to inner).
        axis: along which the rows come.
        threshold: for regions the probability from which each of them holds. For plain classes that of the
            likeliest foreground class where it and the background are the only choice, p / (p + background),
            from which a voxel is that class: with one class its probability, and 0.5 is the plain argmax.
        nearest_axis: along which logits are taken from the nearest voxel, not interpolated; or None.
        steps: of `vesal.data.crop.Crop`. With them probabilities are interpolated in place of logits, as MONAI does.
        in_16_bits: as of `vesal.infer.interpolated_argmax.largest_classes`.
    """

    def __init__(
        self,
        out: NDArray[np.uint8],
        shape: Sequence[int],
        labels: LabelSet,
        *,
        axis: int = 0,
        threshold: float = 0.5,
        nearest_axis: int | None = None,
        steps: Sequence[float] | None = None,
        in_16_bits: bool = False,
    ) -> None:
        self._out, self._labels, self._axis = out, labels, axis
        along = zip(shape, out.shape, steps or (None,) * 3, strict=True)
        self._axes = tuple(
            Axis.between(size, wanted, nearest=number == nearest_axis, step=step)
            for number, (size, wanted, step) in enumerate(along)
        )
        # What is added to the background, or what a region lies above.
        self._limit = float(np.log(threshold) - np.log1p(-threshold))
        self._in_16_bits = in_16_bits
        self._odds: float | None = None
        if steps is not None:
            self._limit, self._odds = threshold if labels.regions else 0.0, threshold / (1.0 - threshold)
        self._here = threading.local()
        self._rows = 0
        self._last: Floats | None = None

    def add(self, rows: Floats) -> None:
        """The next rows (K, *S) of the logits along the axis; they are not kept."""
        logits = np.asarray(rows)
        if self._odds is not None:
            logits = _probabilities(logits, self._labels)
            if not self._labels.regions:
                logits[0] *= np.float32(self._odds)
        along = self._axis + 1
        front = (slice(None),) * along
        if self._last is not None:
            # The cells between the rows before and these.
            joint = np.concatenate([self._last, logits[(*front, slice(0, 1))]], along)
            self._write(joint, self._rows - 1)
        self._write(logits, self._rows)
        self._rows += logits.shape[along]
        if self._axes[self._axis].corners == 2:
            self._last = logits[(*front, slice(-1, None))].copy()

    def _write(self, logits: Floats, first: int) -> None:
        """All fine voxels in the cells between the rows of `logits`, of which the first is row `first`."""
        spans = []
        for number, axis in enumerate(self._axes):
            start = first if number == self._axis else 0
            cells = range(start, start + logits.shape[number + 1] - axis.corners + 1)
            spans.append(
                [slice(cell, min(cell + BLOCK[number], cells.stop)) for cell in cells[:: BLOCK[number]]]
            )

        def write(cells: tuple[slice, ...]) -> None:
            corners = [axis.coarse(part) for axis, part in zip(self._axes, cells, strict=True)]
            corners[self._axis] = slice(corners[self._axis].start - first, corners[self._axis].stop - first)
            fine = tuple(axis.fine(part) for axis, part in zip(self._axes, cells, strict=True))
            self._out[fine] = self._labels_of(logits[(slice(None), *corners)], cells)
            breathe()

        for _ in map_in_order(write, list(itertools.product(*spans))):
            pass

    def _labels_of(self, logits: Floats, cells: tuple[slice, ...]) -> NDArray[np.uint8]:
        scratch: Scratch = self._here.__dict__.setdefault("scratch", Scratch())
        if not self._labels.regions:
            return largest_classes(
                logits, self._axes, cells, self._limit, scratch, in_16_bits=self._in_16_bits
            )
        return self._labels.paint(
            np.stack([above(values, self._axes, cells, self._limit, scratch) for values in logits])
        )


def labels_from_logits(
    logits: Floats,
    shape: Sequence[int],
    labels: LabelSet,
    *,
    threshold: float = 0.5,
    nearest_axis: int | None = None,
    steps: Sequence[float] | None = None,
    in_16_bits: bool = False,
) -> NDArray[np.uint8]:
    """Contiguous labels, uint8 on a grid of `shape`, from logits (K, A, B, C) over the same field of view.

    A `LabelWriter` for whole logits; see there.
    """
    result = array(tuple(shape), np.uint8)
    writer = LabelWriter(
        result,
        logits.shape[1:],
        labels,
        threshold=threshold,
        nearest_axis=nearest_axis,
        steps=steps,
        in_16_bits=in_16_bits,
    )
    writer.add(logits)
    return result


def class_probabilities(
    logits: Floats,
    shape: Sequence[int],
    labels: LabelSet,
    *,
    nearest_axis: int | None = None,
    steps: Sequence[float] | None = None,
) -> Iterator[Floats]:
    """Yield the probability (*shape), on a grid over the same field of view, of each of `labels.classes` in turn.

    Softmax, or sigmoid for regions. No more than two maps are in memory at once, however many classes there are. The
    background of plain classes is 1 minus their sum. `nearest_axis` and `steps` are as of `LabelWriter`.
    """
    logits = np.asarray(logits)
    if steps is not None:
        where = [np.arange(size) * step for size, step in zip(shape, steps, strict=True)]
        for values in _probabilities(logits, labels)[0 if labels.regions else 1 :]:
            yield separable(values, where, 1)
        return
    if labels.regions:
        for index in range(len(labels.regions)):
            yield _map_of(logits[index : index + 1], shape, lambda slab: NUMPY.sigmoid(slab[0]), nearest_axis)
        return
    total = _map_of(logits, shape, _log_of_sum, nearest_axis)
    for index in range(1, logits.shape[0]):
        found = _map_of(logits[index : index + 1], shape, lambda slab: slab[0], nearest_axis)
        for row, divisor in zip(found, total, strict=True):
            row -= divisor
            np.exp(row, out=row)
            # Rounding may make a sum of exponentials slightly too small.
            np.minimum(row, 1.0, out=row)
            breathe()
        yield found


def _probabilities(logits: Floats, labels: LabelSet) -> Floats:
    """Softmax over (K, ...) logits, or of regions the sigmoid of each; a new array."""
    if labels.regions:
        return NUMPY.sigmoid(logits)
    found: Floats = np.exp(logits - logits.max(axis=0))
    found /= found.sum(axis=0)
    return found


def _log_of_sum(slab: Floats) -> Floats:
    most: Floats = slab.max(axis=0)
    total = np.zeros_like(most)
    for values in slab:
        total += np.exp(values - most)
    most += np.log(total, out=total)
    return most


def _map_of(
    logits: Floats, shape: Sequence[int], function: Callable[[Floats], Floats], nearest_axis: int | None
) -> Floats:
    """`function` of logits (K, n, *shape[1:]), interpolated, slab by slab along the first axis."""
    result = array(tuple(shape), np.float32)
    rows = max(1, SLAB_BYTES // max(1, 4 * logits.shape[0] * int(np.prod(shape[1:]))))
    axis = Axis.between(logits.shape[1], shape[0], nearest=nearest_axis == 0)
    high = np.minimum(axis.cell + 1, axis.size - 1)

    def fill(first: int) -> None:
        part = slice(first, first + rows)
        if axis.moves:
            slab = logits[:, axis.cell[part]]
            slab += axis.share[part, None, None] * (logits[:, high[part]] - slab)
        else:
            slab = logits[:, part]
        if nearest_axis in (1, 2):
            across = Axis.between(slab.shape[nearest_axis + 1], shape[nearest_axis], nearest=True)
            slab = slab.take(across.cell, nearest_axis + 1)
        result[part] = function(resize(slab, (slab.shape[1], *shape[1:]), 1))
        breathe()

    for _ in map_in_order(fill, range(0, shape[0], rows)):
        pass
    return result
