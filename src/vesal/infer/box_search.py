"""The fine stage's search of a box: once more in a larger one where the result reaches its border, and what is then
to be reviewed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vesal.infer.locate import larger
from vesal.planning.plan import Plan
from vesal.preprocessing.prepare import Prepared, prepare
from vesal.text import significant
from vesal.volume.volume import LabelMap, Volume

#: Times that a box is made larger for a result that reaches its border.
MOST_GROWTHS = 4

#: A result is to be reviewed that is smaller than the smallest label of the training, or larger than the largest, by
#: more than this factor: patients differ, and few of them were seen.
_VOLUME_FACTOR = 1.5


def search_box(
    segment: Callable[[Prepared], LabelMap], volume: Volume, prepared: Prepared, plan: Plan
) -> tuple[LabelMap, Prepared]:
    """Segment a box of a scan, and a larger one as long as the result reaches a border that can move.

    Args:
        segment: makes a label map on the scan's own grid.
        volume: the scan, which is prepared again for a larger box.
        prepared: the box that was found in it.
        plan: of the fine stage.

    Returns:
        The label map, and what it was made of, with every reason to review it.
    """
    for growths in range(MOST_GROWTHS + 1):
        label = segment(prepared)
        inside = np.ascontiguousarray(prepared.crop.cut(plan.labels.encode(label.array))) != 0
        box = larger(inside, prepared.crop, plan.margin_mm)
        if box is None or growths == MOST_GROWTHS:
            break
        prepared = replace(prepare(volume, plan, box=box), concern=prepared.concern)
    cut = "what was found reaches the border of the box that was searched" if box is not None else ""
    found = int(np.count_nonzero(inside)) * label.geometry.voxel_volume_mm3
    reasons = (prepared.concern, cut, size_concern(found, plan))
    return label, replace(prepared, concern="; ".join(filter(None, reasons)))


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
