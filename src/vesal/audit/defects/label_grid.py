"""A label that has another shape than its image, or lies elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import permutations, product
from typing import Any

import numpy as np

from vesal.audit.defect import Fix
from vesal.audit.defects.mismatched_label import exchanged_shapes, find_exchanged_shapes
from vesal.audit.editable_case import (
    SAME_PLACE,
    CannotFix,
    EditableCase,
    FixResult,
    NothingToFix,
    inside_share,
    overlap,
    same_place,
)
from vesal.audit.finding import CaseDetails, Finding, Severity, find_in
from vesal.audit.reference_cases import BETTER, ReferenceCases
from vesal.text import plural, times
from vesal.volume.geometry import TOLERANCE_MM
from vesal.volume.resample import resample_label
from vesal.volume.volume import LabelMap

#: Of a label's foreground, what has to lie in the image for the label to be its own.
_LEAST_INSIDE = 0.5
#: Below this share of the foreground in the image, somebody should look.
_LOOK_INSIDE = 0.99
#: A label whose voxels are larger than the image's by this factor has coarse edges.
_COARSER = 1.5
#: Rows that a crop may have taken off or left on.
_CROP = 3


def find_label_shapes(cases: ReferenceCases) -> Iterable[Finding]:
    of_others = {record.id for pair in exchanged_shapes(cases) for record in pair}
    yield from find_in(
        "label-shape",
        "error",
        "A label has another shape than its image",
        "Look whether the label belongs to this image; if so, resample it onto the image's grid (nearest neighbour).",
        {
            record.id: f"label {times(record.label_shape)}, image {times(record.shape)}"
            for record in cases.fingerprint.cases
            if record.label_shape is not None
            and record.label_shape != record.shape
            and record.id not in of_others
        },
    )


def find_label_grids(cases: ReferenceCases) -> Iterable[Finding]:
    apart: dict[Severity, CaseDetails] = {"error": {}, "warning": {}}
    for record in cases.fingerprint.cases:
        gap = record.label_distance_mm
        if gap is not None and gap > TOLERANCE_MM:
            near = gap < SAME_PLACE * min(record.spacing_mm)
            apart["warning" if near else "error"][record.id] = f"{gap:.3g} mm"
    for severity, found in apart.items():
        yield from find_in(
            "label-grid",
            severity,
            "A label lies elsewhere in space than its image (largest distance between the same voxels)",
            "If the voxels fit, copy the image's affine into the label's header; else resample the label.",
            found,
        )


def fix_label_grid(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """A label of the image's shape that lies elsewhere: its header is wrong, or it was drawn on another grid."""
    label, grid = case.label_map, case.image.geometry
    if label.geometry.shape != grid.shape:
        return fix_label_shape(case, details, others)
    gap = grid.distance_mm(label.geometry)
    if gap <= TOLERANCE_MM:
        raise NothingToFix("the label lies where the image is")
    copied = case.with_label(label.array, grid)
    if same_place(grid, label.geometry):
        return FixResult(
            copied,
            f"the label lies {gap:.3g} mm from its image, less than half a voxel",
            "the image's place was copied into the label's header; the voxels are as they were",
            {"distance_mm": gap},
        )
    wrong = f"the label lies {gap:.3g} mm from its image"
    moved, numbers = _moved(case, others)
    by_voxel, by_place = others.distance(copied), others.distance(moved)
    numbers |= {"distance_mm": gap, "unlike_if_copied": by_voxel, "unlike_if_resampled": by_place}
    if numbers["overlap_percent"] == 0:
        raise CannotFix(f"{wrong}: the two do not overlap")
    if by_voxel is not None and (by_place is None or by_voxel < BETTER * by_place):
        placed = "outside the image" if by_place is None else f"at {by_place:.2f}"
        return FixResult(
            copied,
            wrong,
            "voxel by voxel it fits the image (distance from the other cases "
            f"{by_voxel:.2f}, by its header {placed}), so the image's place was copied into its header",
            numbers,
            look=True,
        )
    return _resampled(case, moved, wrong, numbers)


def fix_label_shape(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """A label of another shape: onto the image's grid by its place, unless it fits better cropped or padded."""
    label, grid = case.label_map, case.image.geometry
    if label.geometry.shape == grid.shape:
        return fix_label_grid(case, details, others)
    if label.geometry.ndim != grid.ndim:
        raise CannotFix("the label is 2D and the image 3D, or the other way")
    wrong = f"the label has {times(label.geometry.shape)} voxels and the image {times(grid.shape)}"
    moved, numbers = _moved(case, others)
    options = [(moved, ""), *_cropped(case, label, others.labels.background), *_transposed(case, label)]
    found = [others.distance(option) for option, _ in options]
    scores = [np.inf if score is None else score for score in found]
    best = int(np.argmin(scores))
    numbers["unlike"] = found[best]
    same_steps = np.allclose(sorted(label.geometry.spacing_mm), sorted(grid.spacing_mm), rtol=0.01)
    if best and scores[best] < BETTER * scores[0] and same_steps:
        placed = "it would hold nothing" if not np.isfinite(scores[0]) else f"{scores[0]:.2f}"
        return FixResult(
            options[best][0],
            wrong,
            f"{options[best][1]}, where it is most like the other cases (distance {scores[best]:.2f}, by its header "
            f"{placed})",
            numbers,
            look=True,
        )
    if numbers["overlap_percent"] == 0:
        raise CannotFix(f"{wrong}, and the two do not overlap")
    return _resampled(case, moved, wrong, numbers)


def _moved(case: EditableCase, others: ReferenceCases) -> tuple[EditableCase, dict[str, Any]]:
    """With the label resampled by its place; how much of its field of view and of what is labelled lies inside."""
    label, grid, background = case.label_map, case.image.geometry, others.labels.background
    drawn = np.argwhere(label.array != background)
    numbers = {
        "overlap_percent": 100 * overlap(label.geometry, grid),
        "foreground_inside_percent": 100 * inside_share(drawn, label.geometry, grid),
    }
    return case.with_label(resample_label(label, grid, background).array, grid), numbers


def _resampled(case: EditableCase, moved: EditableCase, wrong: str, numbers: dict[str, Any]) -> FixResult:
    box, inside = numbers["overlap_percent"] / 100, numbers["foreground_inside_percent"] / 100
    if inside < _LEAST_INSIDE:
        raise CannotFix(f"{wrong}: only {inside:.0%} of what is labelled lies in the image")
    volumes = [grid.voxel_volume_mm3 for grid in (case.label_map.geometry, case.image.geometry)]
    coarse = volumes[0] > _COARSER * volumes[1]
    rough = "; it is coarser than the image, and so are its edges now" if coarse else ""
    return FixResult(
        moved,
        wrong,
        f"it was resampled onto the image's grid by its nearest voxels; {box:.0%} of its field of view and "
        f"{inside:.0%} of what is labelled lie in the image{rough}",
        numbers,
        look=coarse or inside < _LOOK_INSIDE,
    )


def _cropped(case: EditableCase, label: LabelMap, background: int) -> list[tuple[EditableCase, str]]:
    """The label with rows put on or taken off at either end of each axis; none where many would be needed."""
    gaps = [want - have for want, have in zip(case.image.geometry.shape, label.geometry.shape, strict=True)]
    if max(map(abs, gaps)) > _CROP:
        return []
    found = []
    for ends in product(*[((0, gap), (gap, 0)) if gap else ((0, 0),) for gap in gaps]):
        cut = tuple(
            slice(max(0, -low), size - max(0, -high))
            for (low, high), size in zip(ends, label.array.shape, strict=True)
        )
        pads = [(max(0, low), max(0, high)) for low, high in ends]
        rows = ", ".join(
            f"{plural(abs(low + high), 'row')} {'added' if low + high > 0 else 'taken off'} at the "
            f"{'start' if low else 'end'} of axis {axis}"
            for axis, (low, high) in enumerate(ends)
            if low or high
        )
        array = np.pad(label.array[cut], pads, constant_values=background)
        found.append((case.with_label(array, case.image.geometry), f"it got {rows}"))
    return found


def _transposed(case: EditableCase, label: LabelMap) -> list[tuple[EditableCase, str]]:
    """The label with its axes exchanged, as far as it has the image's shape then."""
    grid = case.image.geometry
    return [
        (
            case.with_label(np.ascontiguousarray(label.array.transpose(order)), grid),
            f"its axes were put in the order {', '.join(map(str, order))}",
        )
        for order in permutations(range(grid.ndim))
        if order != tuple(range(grid.ndim)) and label.array.transpose(order).shape == grid.shape
    ]


FIND = (find_exchanged_shapes, find_label_shapes, find_label_grids)
FIX = {
    "label-grid": Fix(fix_label_grid, required=True, verified=True),
    "label-shape": Fix(fix_label_shape, required=True, verified=True),
}
