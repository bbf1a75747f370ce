"""Small pieces of a label far from the rest: slips of the hand.

The check, which has the fingerprint alone, sees the pieces between which and the largest one whole planes are empty.
The fix, which has the voxels, takes every connected piece that is small and far by the same limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vesal.audit.defect import Fix
from vesal.audit.editable_case import EditableCase, FixResult, NothingToFix
from vesal.audit.finding import Finding, find_in
from vesal.audit.reference_cases import ReferenceCases
from vesal.audit.similarity import FEWEST_CASES
from vesal.data.value_tables import value_counts
from vesal.text import plural
from vesal.volume.geometry import Array

#: A stray island is at most this share of the labelled voxels, and so far from the rest: millimetres, and voxels along
#: the finest axis. It holds less than half of every class: a small organ by itself is none.
_SHARE, _MM, _VOXELS = 0.1, 5.0, 4.0
#: It is odd where at least this share of the cases has none.
_FREE = 0.8
#: Of the labelled voxels; where more are erased, somebody should look.
_LOOK = 0.005


def find_islands(cases: ReferenceCases) -> Iterable[Finding]:
    held = [(record, label) for record, label in cases.labelled if len(record.shape) == 3]
    stray = {
        record.id: f"{plural(label.island_voxels, 'voxel')} {label.island_gap_mm:.0f} mm away"
        for record, label in held
        if label.islands > 0
        and label.island_gap_mm >= _least_gap_mm(record.spacing_mm)
        and label.island_voxels <= _SHARE * sum(record.voxels.values())
    }
    if len(held) < FEWEST_CASES or len(held) - len(stray) < _FREE * len(held):
        return
    yield from find_in(
        "stray-island",
        "warning",
        "A small piece of the label lies away from the rest",
        "Look whether it is a slip of the hand, and erase it.",
        stray,
    )


def _least_gap_mm(spacing_mm: Sequence[float]) -> float:
    return max(_MM, _VOXELS * min(spacing_mm))


def fix_islands(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """Small pieces of label far from all the rest become background."""
    label, background = case.label_map, others.labels.background
    held = label.array.copy()
    if others.labels.ignore is not None:
        held[held == others.labels.ignore] = background
    pieces = islands(held, background, label.geometry.spacing_mm)
    if not pieces.any():
        raise NothingToFix("no piece of the label is both small and far")
    array = label.array.copy()
    array[pieces] = background
    count, whole = int(pieces.sum()), int((held != background).sum())
    return FixResult(
        case.with_label(array),
        f"the label has {count:,} of its {whole:,} voxels far from the rest",
        f"those {count:,} voxels became background",
        {"voxels": count, "of": whole},
        look=count > _LOOK * whole,
    )


def islands(held: Array, background: int, spacing_mm: Sequence[float]) -> Array:
    """(*S) bool: the voxels of small pieces far from the large ones (see _SHARE)."""
    from scipy import ndimage

    drawn = held != background
    numbered, count = ndimage.label(drawn, structure=np.ones((3,) * drawn.ndim))
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)
    sizes[0] = 0
    small = sizes <= _SHARE * sizes.sum()
    small[0] = False
    for value in set(value_counts(held)) - {background}:
        own = np.bincount(numbered[held == value], minlength=count + 1)
        small &= 2 * own < own.sum()
    if not small.any() or not (~small[1:]).any():
        return np.zeros_like(drawn)
    gap = ndimage.distance_transform_edt(~(drawn & ~small[numbered]), sampling=spacing_mm)
    nearest = np.asarray(ndimage.minimum(gap, numbered, index=np.arange(count + 1)))
    return np.asarray((small & (nearest >= _least_gap_mm(spacing_mm)))[numbered])


FIND = (find_islands,)
FIX = {"stray-island": Fix(fix_islands)}
