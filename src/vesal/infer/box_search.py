"""The fine stage's search of a box: once more around what was found, and what is then to be reviewed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from vesal.data.crop import Box
from vesal.errors import DataError
from vesal.infer.locate import cut_by_scan, nearer_than_labels, reaches_border, recentred
from vesal.memory_limit import require
from vesal.planning.plan import Plan
from vesal.preprocessing.prepare import Prepared, patch_in_scan, prepare
from vesal.text import significant
from vesal.volume.volume import LabelMap, Volume

#: Looks that are taken after the first.
MOST_LOOKS = 4

#: A result is to be reviewed that is smaller than the smallest label of the training, or larger than the largest, by
#: more than this factor: patients differ, and few of them were seen.
_VOLUME_FACTOR = 1.5


#: The whole scan is searched where less is found than this share of the smallest label of the training. An organ of
#: which the field of view holds a part is no reason.
_NEARLY_NOTHING = 0.1


#: That a voxel of a box takes while its result is looked at.
_BYTES = 6


def search_box(
    segment: Callable[[Prepared], LabelMap], volume: Volume, prepared: Prepared, plan: Plan
) -> tuple[LabelMap, Prepared]:
    """Segment a box of a scan, and again the box of what was found there with its margin, as training had it, until
    that stays where it is.

    So a box that cuts grows, one that is too large or beside the organ is set right, and in a scan that was searched
    as a whole the organ is looked at once more by itself. Where next to nothing is found, the whole scan is searched.

    Args:
        segment: makes a label map on the scan's own grid.
        volume: the scan, which is prepared again for another box.
        prepared: the box that was found in it.
        plan: of the fine stage.

    Returns:
        The label map, and what it was made of, with every reason to review it.
    """
    found = _settled(segment, volume, prepared, plan)
    searched = ""
    if _too_small(found.size, plan):
        try:
            whole = prepare(volume, plan, box=_everywhere(volume))
        except DataError:
            # The memory does not suffice for the whole scan at this resolution.
            whole = prepared
        if _place(whole) != _place(prepared):
            searched = (
                "next to nothing was found where the coarse network saw it, so the whole scan was searched"
            )
            again = _settled(segment, volume, whole, plan)
            found = again if again.size > found.size else found
    reasons = (prepared.concern, searched, found.concern, size_concern(found.size, plan))
    return found.label, replace(found.prepared, concern="; ".join(filter(None, reasons)))


class _Found(NamedTuple):
    """A label map, what it was made of, its foreground in mm³ (mm² in a picture), what is doubtful of its border."""

    label: LabelMap
    prepared: Prepared
    size: float
    concern: str


def _settled(
    segment: Callable[[Prepared], LabelMap], volume: Volume, prepared: Prepared, plan: Plan
) -> _Found:
    for looks in range(MOST_LOOKS + 1):
        label = segment(prepared)
        require(
            _BYTES * math.prod(prepared.crop.crop_shape),
            "To look at what was found",
            "cut the scan to a smaller part",
        )
        inside = np.ascontiguousarray(prepared.crop.cut(plan.labels.encode(label.array))) != 0
        box = recentred(inside, prepared.crop, plan.margin_mm, patch_in_scan(plan, prepared.crop))
        if box is None or looks == MOST_LOOKS:
            break
        again = prepare(volume, plan, box=box)
        if _place(again) == _place(prepared):
            break
        prepared = again
    concern = ""
    if looks == MOST_LOOKS and reaches_border(inside, prepared.crop):
        concern = "what was found reaches the border of the box that was searched"
    elif cut_by_scan(inside, prepared.crop):
        concern = "what was found is cut by the border of the scan"
    elif nearer_than_labels(inside, prepared.crop, plan.label_gaps_mm):
        concern = "what was found lies nearer to the border of the scan than any label of the training"
    size = int(np.count_nonzero(inside)) * label.geometry.voxel_volume_mm3
    return _Found(label, prepared, size, concern)


def _too_small(size: float, plan: Plan) -> bool:
    return plan.label_sizes is not None and size < _NEARLY_NOTHING * plan.label_sizes[0]


def _everywhere(volume: Volume) -> Box:
    grid = volume.geometry
    return (0,) * grid.ndim, grid.turned(grid.turn_to_ras()).shape


def _place(prepared: Prepared) -> Box:
    return prepared.crop.crop_start, prepared.crop.crop_stop


def size_concern(found: float, plan: Plan) -> str:
    """Why foreground of this size is to be reviewed, or ''.

    Args:
        found: mm³ (mm² in a picture) of all classes together.
        plan: knows the labels of the training.
    """
    if plan.label_sizes is None:
        return ""
    low, high = plan.label_sizes
    if not found:
        return "nothing was found" if low else ""
    if low / _VOLUME_FACTOR <= found <= high * _VOLUME_FACTOR:
        return ""
    unit, scale = ("ml", 1e-3) if plan.scan_dimension == 3 else ("cm²", 1e-2)
    between = " to ".join(significant(scale * size) for size in (low, high))
    return f"what was found has {significant(scale * found)} {unit}, the labels of the training {between}"
