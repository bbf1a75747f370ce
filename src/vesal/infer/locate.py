"""Where in a scan the fine network of two stages has to look: the coarse network's view of the whole, as a box.

A box may never cut: everything counts that the coarse network holds for likely, not only for likeliest; what lies
apart from its largest piece counts where it is not small; a margin is added; and a mask that reaches the box's border
makes it larger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vesal.data.crop import Box, Crop, mask_box
from vesal.data.labels import LabelSet
from vesal.infer.components import label_components

#: Foreground is where its probability is at least this: the rim of what the coarse network is sure of.
LIKELY = 0.3

#: A piece counts that holds so much of the largest one's probability.
_SHARE = 0.1

#: Pieces that lie in a box so many times as large as the largest piece's own lie apart.
_APART = 3.0


class Place(NamedTuple):
    """Where to look: a box, None for the whole scan; and why the case is to be reviewed, or ''."""

    box: Box | None
    concern: str


def foreground(logits: Tensor, labels: LabelSet) -> NDArray[np.float32]:
    """Logits (K, *S) -> the probability (*S) that a voxel is labelled: of any class, of the likeliest region."""
    with torch.inference_mode():
        logits = logits.float()
        if labels.regions:
            return torch.sigmoid(logits.amax(dim=0)).cpu().numpy()
        return (1.0 - torch.softmax(logits, dim=0)[0]).cpu().numpy()


def find_place(probability: NDArray[np.float32], crop: Crop, margin_mm: float) -> Place:
    """The box around what is likely foreground, and a margin.

    Args:
        probability: (*crop.shape) of foreground.
        crop: where it lies in the scan.
        margin_mm: at least so much is added on every side.
    """
    pieces, count = label_components(probability >= LIKELY)
    if not count:
        return Place(None, "the coarse network found nothing, so the whole scan was searched")
    weights = np.bincount(pieces.ravel(), weights=probability.ravel(), minlength=count + 1)[1:]
    largest = int(np.argmax(weights)) + 1
    kept = np.flatnonzero(weights >= _SHARE * weights.max()) + 1
    own, box = mask_box(pieces == largest), mask_box(np.isin(pieces, kept))
    assert own is not None
    assert box is not None
    concern = ""
    if len(kept) > 1 and _voxels(box) > _APART * _voxels(own):
        concern = f"the coarse network found {len(kept)} places that lie apart"
    return Place(_in_scan(box, crop, margin_mm), concern)


def larger(mask: NDArray[np.bool_], crop: Crop, margin_mm: float) -> Box | None:
    """The crop's box with a margin more on each side that the mask reaches; None where it reaches none that can move.

    Args:
        mask: (*crop.crop_shape) foreground that was found in it, in the prepared array's order of axes.
        crop: of the box.
        margin_mm: that is added.
    """
    turned = np.moveaxis(mask, 0, crop.slice_axis) if crop.slice_axis is not None else mask
    turned = turned[0] if crop.source.ndim == 2 else turned
    shape, spacing = _turned(crop)
    start, stop = list(crop.crop_start), list(crop.crop_stop)
    for axis, size in enumerate(shape):
        ends = np.moveaxis(turned, axis, 0)
        margin = math.ceil(margin_mm / spacing[axis])
        if start[axis] > 0 and ends[0].any():
            start[axis] = max(0, start[axis] - margin)
        if stop[axis] < size and ends[-1].any():
            stop[axis] = min(size, stop[axis] + margin)
    found = tuple(start), tuple(stop)
    return None if found == (crop.crop_start, crop.crop_stop) else found


def _voxels(box: Box) -> int:
    return math.prod(stop - start for start, stop in zip(*box, strict=True))


def _in_scan(box: Box, crop: Crop, margin_mm: float) -> Box:
    """A box of the prepared array, in voxels of the turned scan."""
    scale = [old / new for old, new in zip(crop.crop_shape, crop.shape, strict=True)]
    low = [math.floor(value * step) for value, step in zip(box[0], scale, strict=True)]
    high = [math.ceil(value * step) for value, step in zip(box[1], scale, strict=True)]
    low, high = (_along_scan(values, crop) for values in (low, high))
    shape, spacing = _turned(crop)
    start, stop = [], []
    for axis, size in enumerate(shape):
        margin = math.ceil(margin_mm / spacing[axis])
        start.append(max(0, crop.crop_start[axis] + low[axis] - margin))
        stop.append(min(size, crop.crop_start[axis] + high[axis] + margin))
    return tuple(start), tuple(stop)


def _along_scan(values: Sequence[int], crop: Crop) -> list[int]:
    """From the prepared array's order of axes to the turned scan's."""
    if crop.source.ndim == 2:
        return list(values[1:])
    if crop.slice_axis is None:
        return list(values)
    rest = list(values[1:])
    rest.insert(crop.slice_axis, values[0])
    return rest


def _turned(crop: Crop) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Shape and spacing (mm) of the scan, turned."""
    grid = crop.source
    order = crop.turn.order
    return tuple(grid.shape[axis] for axis in order), tuple(grid.spacing_mm[axis] for axis in order)
