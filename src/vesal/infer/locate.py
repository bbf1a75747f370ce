"""Where in a scan the fine network of two stages has to look: the coarse network's view of the whole, as a box.

A box may never cut: everything counts that the coarse network holds for likely, not only for likeliest; what lies
apart from its largest piece counts where it is not small; a margin is added; and what is found in the box says where a
second look is to be taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vesal.data.crop import Box, Crop, at_least, mask_box
from vesal.data.labels import LabelSet
from vesal.infer.arrays.arrays import NUMPY
from vesal.infer.components import label_components
from vesal.planning.axes import ANISOTROPIC

#: Foreground is where its probability is at least this: the rim of what the coarse network is sure of.
LIKELY = 0.3

#: A piece counts that holds so much of the largest one's probability.
_SHARE = 0.1

#: A face in which a result ends with the scan is large from this share of its largest cross-section on.
_LARGE_FACE = 0.3

#: A result is near a border of the scan within this share of what the labels of the training stay away from it, where
#: these are so many voxels or more.
_NEAR, _FAR_VOXELS = 0.25, 4

#: Pieces that lie in a box so many times as large as the largest piece's own lie apart.
_APART = 3.0


class Place(NamedTuple):
    """Where to look: a box, None for the whole scan; and why the case is to be reviewed, or ''."""

    box: Box | None
    concern: str


def foreground(logits: NDArray[np.float32], labels: LabelSet) -> NDArray[np.float32]:
    """Logits (K, *S) -> the probability (*S) that a voxel is labelled: of any class, of the likeliest region."""
    logits = np.asarray(logits, dtype=np.float32)
    if labels.regions:
        return NUMPY.sigmoid(logits.max(axis=0))
    powers = np.exp(logits - logits.max(axis=0))
    return 1.0 - powers[0] / powers.sum(axis=0)


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


def recentred(mask: NDArray[np.bool_], crop: Crop, margin_mm: float, least: Sequence[int]) -> Box | None:
    """The box of what was found and a margin; None where the crop's box is that already, or nothing was found.

    Args:
        mask: (*crop.crop_shape) foreground that was found in the crop, in the prepared array's order of axes.
        crop: of the box that was searched.
        margin_mm: around what was found, as in training. Sides that differ by half of it may stay.
        least: voxels of the box's sides, along the turned axes.
    """
    box = mask_box(_upright(mask, crop))
    if box is None:
        return None
    shape, spacing = _turned(crop)
    margins = [math.ceil(margin_mm / step) for step in spacing]
    sides = zip(*box, crop.crop_start, margins, strict=True)
    low, high = zip(
        *((first + low - more, first + high + more) for low, high, first, more in sides), strict=True
    )
    inside = tuple(max(0, first) for first in low), tuple(map(min, shape, high))
    start, stop = at_least(inside, ((0,) * len(shape), shape), least)
    away = zip(start, stop, *crop.box, margins, strict=True)
    far = any(max(abs(a - c), abs(b - d)) > margin / 2 for a, b, c, d, margin in away)
    return (start, stop) if far else None


def reaches_border(mask: NDArray[np.bool_], crop: Crop) -> bool:
    """Whether what was found in a crop ends at a border of its box that lies within the scan."""
    faces = _faces(_upright(mask, crop))
    inner = zip(crop.crop_start, crop.crop_stop, _turned(crop)[0], strict=True)
    return any(
        (start > 0 and low > 0) or (stop < size and high > 0)
        for (low, high), (start, stop, size) in zip(faces, inner, strict=True)
    )


def cut_by_scan(mask: NDArray[np.bool_], crop: Crop) -> bool:
    """Whether what was found ends with the scan in a large flat face; thick slices end in one by themselves."""
    shape, spacing = _turned(crop)
    faces = _faces(_upright(mask, crop))
    sides = zip(faces, crop.crop_start, crop.crop_stop, shape, spacing, strict=True)
    return any(
        step <= ANISOTROPIC * min(spacing)
        and ((start == 0 and low > _LARGE_FACE) or (stop == size and high > _LARGE_FACE))
        for (low, high), start, stop, size, step in sides
    )


def nearer_than_labels(mask: NDArray[np.bool_], crop: Crop, gaps_mm: Sequence[float] | None) -> bool:
    """Whether what was found comes much nearer to a border of the scan than the labels of the training ever do.

    So ends, as a rule, an organ of which the field of view lacks a part.

    Args:
        mask: (*crop.crop_shape) foreground that was found in the crop, in the prepared array's order of axes.
        crop: of the box that was searched.
        gaps_mm: as of `Plan.label_gaps_mm`.
    """
    shape, spacing = _turned(crop)
    box = mask_box(_upright(mask, crop))
    if box is None or gaps_mm is None or len(gaps_mm) != 2 * len(shape):
        return False
    sides = zip(*box, crop.crop_start, shape, spacing, strict=True)
    found = [
        (voxels * step, step)
        for low, high, start, size, step in sides
        for voxels in (start + low, size - start - high)
    ]
    return any(
        least >= _FAR_VOXELS * step and gap < _NEAR * least
        for (gap, step), least in zip(found, gaps_mm, strict=True)
    )


def _upright(mask: NDArray[np.bool_], crop: Crop) -> NDArray[np.bool_]:
    """From the prepared array's order of axes to the turned scan's."""
    turned = np.moveaxis(mask, 0, crop.slice_axis) if crop.slice_axis is not None else mask
    return turned[0] if crop.source.ndim == 2 else turned


def _faces(mask: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Of each axis what the first and the last plane hold, as shares of the plane that holds most."""
    faces = []
    for axis in range(mask.ndim):
        line = np.count_nonzero(mask, axis=tuple(other for other in range(mask.ndim) if other != axis))
        most = max(1, int(line.max()))
        faces.append((float(line[0] / most), float(line[-1] / most)))
    return faces


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
