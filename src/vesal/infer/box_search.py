"""The fine stage's search of a box: once more around what was found, and what is then to be reviewed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vesal.data.crop import Box
from vesal.infer.locate import cut_by_scan, reaches_border, recentred
from vesal.planning.plan import Plan
from vesal.preprocessing.prepare import Prepared, prepare
from vesal.text import significant
from vesal.volume.volume import LabelMap, Volume

#: Looks that are taken after the first.
MOST_LOOKS = 4

#: A result is to be reviewed that is smaller than the smallest label of the training, or larger than the largest, by
#: more than this factor: patients differ, and few of them were seen.
_VOLUME_FACTOR = 1.5


def search_box(
    segment: Callable[[Prepared], LabelMap], volume: Volume, prepared: Prepared, plan: Plan
) -> tuple[LabelMap, Prepared]:
    """Segment a box of a scan, and again the box of what was found there with its margin, as training had it, until
    that stays where it is.

    So a box that cuts grows, one that is too large or beside the organ is set right, and in a scan that was searched
    as a whole the organ is looked at once more by itself.

    Args:
        segment: makes a label map on the scan's own grid.
        volume: the scan, which is prepared again for another box.
        prepared: the box that was found in it.
        plan: of the fine stage.

    Returns:
        The label map, and what it was made of, with every reason to review it.
    """
    for looks in range(MOST_LOOKS + 1):
        label = segment(prepared)
        inside = np.ascontiguousarray(prepared.crop.cut(plan.labels.encode(label.array))) != 0
        box = recentred(inside, prepared.crop, plan.margin_mm)
        if box is None or looks == MOST_LOOKS:
            break
        again = prepare(volume, plan, box=box)
        if _place(again) == _place(prepared):
            break
        prepared = replace(again, concern=prepared.concern)
    unsettled = looks == MOST_LOOKS and reaches_border(inside, prepared.crop)
    found = int(np.count_nonzero(inside)) * label.geometry.voxel_volume_mm3
    reasons = (
        prepared.concern,
        "what was found reaches the border of the box that was searched" if unsettled else "",
        "what was found is cut by the border of the scan" if cut_by_scan(inside, prepared.crop) else "",
        size_concern(found, plan),
    )
    return label, replace(prepared, concern="; ".join(filter(None, reasons)))


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
        return "nothing was found where the coarse network saw it" if low else ""
    if low / _VOLUME_FACTOR <= found <= high * _VOLUME_FACTOR:
        return ""
    unit, scale = ("ml", 1e-3) if plan.scan_dimension == 3 else ("cm²", 1e-2)
    between = " to ".join(significant(scale * size) for size in (low, high))
    return f"what was found has {significant(scale * found)} {unit}, the labels of the training {between}"
