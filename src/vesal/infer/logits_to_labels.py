"""From logits on the prepared grid to labels on the cropped source grid, block by block.

Argmax and threshold are taken while the logits are brought to the finer grid, so that no more of them than a block
is ever interpolated, and that only where classes meet (`vesal.infer.interpolated_argmax`).
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vesal.data.labels import LabelSet
from vesal.infer.interpolated_argmax import Axis, Floats, Scratch, above, largest_classes
from vesal.parallel import map_in_order

#: Bytes of float32 logits in one slab of the finer grid, for probabilities.
SLAB_BYTES = 64 << 20

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
    ) -> None:
        self._out, self._labels, self._axis = out, labels, axis
        self._axes = tuple(
            Axis.between(size, wanted, nearest=number == nearest_axis)
            for number, (size, wanted) in enumerate(zip(shape, out.shape, strict=True))
        )
        self._logit = float(np.log(threshold) - np.log1p(-threshold))
        self._here = threading.local()
        self._rows = 0
        self._last: Floats | None = None

    def add(self, rows: Tensor) -> None:
        """The next rows (K, *S) of the logits along the axis; they are not kept."""
        logits = rows.cpu().numpy()
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

        for _ in map_in_order(write, list(itertools.product(*spans))):
            pass

    def _labels_of(self, logits: Floats, cells: tuple[slice, ...]) -> NDArray[np.uint8]:
        scratch: Scratch = self._here.__dict__.setdefault("scratch", Scratch())
        if not self._labels.regions:
            return largest_classes(logits, self._axes, cells, self._logit, scratch)
        return self._labels.paint(
            np.stack([above(values, self._axes, cells, self._logit, scratch) for values in logits])
        )


def labels_from_logits(
    logits: Tensor,
    shape: Sequence[int],
    labels: LabelSet,
    *,
    threshold: float = 0.5,
    nearest_axis: int | None = None,
) -> NDArray[np.uint8]:
    """Contiguous labels, uint8 on a grid of `shape`, from logits (K, A, B, C) over the same field of view.

    A `LabelWriter` for whole logits; see there.
    """
    result = np.empty(tuple(shape), dtype=np.uint8)
    writer = LabelWriter(result, logits.shape[1:], labels, threshold=threshold, nearest_axis=nearest_axis)
    writer.add(logits)
    return result


@torch.inference_mode()
def class_probabilities(
    logits: Tensor, shape: Sequence[int], labels: LabelSet, *, nearest_axis: int | None = None
) -> Iterator[NDArray[np.float32]]:
    """Yield the probability (*shape), on a grid over the same field of view, of each of `labels.classes` in turn.

    Softmax, or sigmoid for regions. No more than two maps are in memory at once, however many classes there are. The
    background of plain classes is 1 minus their sum. `nearest_axis` is as of `LabelWriter`.
    """
    if labels.regions:
        for index in range(len(labels.regions)):
            yield _one_class(logits, index, shape, nearest_axis, torch.sigmoid)
        return
    total = np.empty(tuple(shape), dtype=np.float32)
    for first, slab in _slabs(logits, shape, nearest_axis):
        total[first : first + slab.shape[0]] = slab.logsumexp(dim=1).numpy()
    for index in range(1, logits.shape[0]):
        found = _one_class(logits, index, shape, nearest_axis)
        found -= total
        np.exp(found, out=found)
        # Rounding may make a sum of exponentials slightly too small.
        yield np.minimum(found, 1.0, out=found)


def _one_class(
    logits: Tensor,
    index: int,
    shape: Sequence[int],
    nearest_axis: int | None,
    function: Callable[[Tensor], Tensor] | None = None,
) -> NDArray[np.float32]:
    result = np.empty(tuple(shape), dtype=np.float32)
    for first, slab in _slabs(logits[index : index + 1], shape, nearest_axis):
        values = slab[:, 0] if function is None else function(slab[:, 0])
        result[first : first + slab.shape[0]] = values.numpy()
    return result


def _slabs(logits: Tensor, shape: Sequence[int], nearest_axis: int | None) -> Iterator[tuple[int, Tensor]]:
    """Yield (first index, logits (n, K, *shape[1:])) along the first axis, linearly interpolated."""
    rows = max(1, SLAB_BYTES // max(1, 4 * logits.shape[0] * int(np.prod(shape[1:]))))
    axis = Axis.between(logits.shape[1], shape[0], nearest=nearest_axis == 0)
    low, share = torch.from_numpy(axis.cell), torch.from_numpy(axis.share)
    high = (low + 1).clamp(max=axis.size - 1)
    for first in range(0, shape[0], rows):
        part = slice(first, first + rows)
        if logits.shape[1] == shape[0]:
            slab = logits[:, part]
        else:
            weight = share[part].view(1, -1, 1, 1)
            slab = torch.lerp(logits[:, low[part]], logits[:, high[part]], weight)
        slab = slab.transpose(0, 1)
        if nearest_axis in (1, 2):
            across = Axis.between(slab.shape[nearest_axis + 1], shape[nearest_axis], nearest=True)
            slab = slab.index_select(nearest_axis + 1, torch.from_numpy(across.cell))
        if slab.shape[2:] != tuple(shape[1:]):
            slab = torch.nn.functional.interpolate(
                slab, size=tuple(shape[1:]), mode="bilinear", align_corners=False
            )
        yield first, slab
