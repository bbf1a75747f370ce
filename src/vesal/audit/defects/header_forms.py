"""Headers that place an image twice, hold numbers that are none, and grids whose axes are not at right angles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from vesal.audit.defect import Fix
from vesal.audit.editable_case import CannotFix, EditableCase, FixResult, NothingToFix, resampled, same_place
from vesal.audit.finding import Finding, find_in
from vesal.audit.reference_cases import ReferenceCases
from vesal.data.fingerprint import CaseRecord
from vesal.text import times
from vesal.volume.formats.nifti_header import Header, read_header
from vesal.volume.geometry import Array, Geometry
from vesal.volume.io import read_geometry
from vesal.volume.resample import resample_label

#: Of the smallest voxel side: sform and qform that part by more are two places, not rounding.
_FORMS_VOXELS = 0.1
#: What counts against one of the two: 1 for a label that lies elsewhere; less for unusual axes and for a spacing that
#: is off by a factor of e. Two scores nearer than the last do not decide.
_OTHER_AXES, _OTHER_SPACING, _AS_GOOD = 0.3, 0.4, 0.02
#: Degrees from a right angle up to which two axes count as at right angles.
_SHEAR_DEGREES = 1.0
#: Two voxel sizes, as logarithms of their ratio to the other cases', that lie nearer than this do not decide.
_OTHER_SIZE = 0.05
#: Of a file, enough to hold the header when it is compressed.
_HEAD_BYTES = 1 << 14


def headers(record: CaseRecord) -> list[Header]:
    """What is known of the NIfTI headers of a case."""
    return [header for header in (record.image_header, record.label_header) if header is not None]


def _worst(record: CaseRecord, what: str) -> float:
    """The largest of a number of the headers of a case."""
    return max((getattr(header, what) for header in headers(record)), default=0.0)


def header_of(path: Path) -> Header | None:
    """What a NIfTI file's header says beside its grid; None for other formats and for folders of masks."""
    if path.is_dir():
        return None
    with path.open("rb") as stream:
        return read_header(path, stream.read(_HEAD_BYTES))


# --- sform and qform ---------------------------------------------------------------------------------------


def find_forms(cases: ReferenceCases) -> Iterable[Finding]:
    yield from find_in(
        "sform-qform",
        "warning",
        "A header holds two places for one image, sform and qform, that part",
        "The sform is taken, other programs take the qform; write the right one into both.",
        {
            record.id: f"{gap:.3g} mm apart"
            for record in cases.volumes
            if (gap := _worst(record, "forms_apart_mm")) > _FORMS_VOXELS * min(record.spacing_mm)
        },
    )


def fix_forms(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """A NIfTI header with two places: the one that fits the label, or else the others' spacing and axes, is kept."""
    grids = next((pair for path in case.case.images if (pair := _forms(path)) is not None), None)
    label_grids = None if case.case.label is None else _forms(case.case.label)
    if grids is None:
        return _fix_label_forms(case, label_grids)
    scores = [_place_score(grid, case, label_grids, others) for grid in grids]
    if abs(scores[0] - scores[1]) < _AS_GOOD:
        raise CannotFix(
            "the sform and the qform differ and neither label nor other cases tell which is right"
        )
    best = int(scores[1] < scores[0])
    kept, other = ("sform", "qform")[best], ("qform", "sform")[best]
    gap, grid = grids[0].distance_mm(grids[1]), grids[best]
    fixed = case.with_image(case.image.array, grid).rewritten("image")
    if label_grids is not None and case.label is not None and label_grids[0].shape == grid.shape:
        nearest = min(label_grids, key=grid.distance_mm)
        fixed = fixed.with_label(case.label.array, nearest).rewritten("label")
    return FixResult(
        fixed,
        f"the sform and the qform of the header lie {gap:.3g} mm apart",
        f"the {kept} fits the {'label' if scores[1 - best] >= 1 else 'other cases'} and is kept in both; the {other} "
        "was replaced",
        {"kept": kept, "distance_mm": gap},
    )


def _forms(path: Path) -> tuple[Geometry, Geometry] | None:
    """The grids of a NIfTI file's sform and qform where both are set and they part; else None."""
    grid = read_geometry(path)
    if (forms := grid.nifti) is None or grid.ndim == 2 or not (forms.sform_used and forms.qform_used):
        return None
    grids = Geometry(grid.shape, forms.sform_affine), Geometry(grid.shape, forms.qform_affine)
    return grids if grids[0].distance_mm(grids[1]) > _FORMS_VOXELS * min(grids[0].spacing_mm) else None


def _fix_label_forms(case: EditableCase, grids: tuple[Geometry, Geometry] | None) -> FixResult:
    """Of a label's two places the one where the image is."""
    if grids is None:
        raise NothingToFix("the two places of the header agree")
    if case.label is None or grids[0].shape != case.image.geometry.shape:
        raise CannotFix("the sform and the qform of the label differ and its shape is not the image's")
    gaps = [grid.distance_mm(case.image.geometry) for grid in grids]
    best = int(gaps[1] < gaps[0])
    apart = grids[0].distance_mm(grids[1])
    return FixResult(
        case.with_label(case.label.array, grids[best]).rewritten("label"),
        f"the sform and the qform of the label's header lie {apart:.3g} mm apart",
        f"the {('sform', 'qform')[best]}, {gaps[best]:.3g} mm from the image, is kept in both",
        {"kept": ("sform", "qform")[best], "distance_mm": apart},
    )


def _place_score(
    grid: Geometry, case: EditableCase, label_grids: tuple[Geometry, Geometry] | None, others: ReferenceCases
) -> float:
    """0 for a grid like the label's and the others'; 1 where the label lies elsewhere; a part for other spacing."""
    score = 0.0
    if case.label is not None and label_grids is None and case.label.geometry.shape == grid.shape:
        score += not same_place(grid, case.label.geometry)
    ratio = others.grid_ratio(grid)
    if ratio is not None:
        score += _OTHER_SPACING * min(1.0, float(np.abs(np.log(ratio)).max()))
    score += _OTHER_AXES * (grid.axis_codes != others.axis_codes)
    return score


# --- numbers that contradict each other, or are none --------------------------------------------------------


def find_sizes(cases: ReferenceCases) -> Iterable[Finding]:
    yield from find_in(
        "pixdim",
        "warning",
        "The voxel sizes in a header (pixdim) contradict its affine (sform)",
        "Find out which are right and write them into both. Here the sform is taken where its code is above 0, else "
        "pixdim; other programs may take the other.",
        {
            record.id: f"pixdim {times(header.pixdim_mm, 3)} mm, sform {times(header.sform_mm, 3)} mm"
            for record in cases.volumes
            for header in headers(record)[:1]
            if header.pixdim_apart_voxels > _FORMS_VOXELS
        },
    )


def fix_sizes(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """Voxel sizes and sform: those that are the other cases' are kept in both."""
    grid = case.image.geometry
    header = header_of(case.case.images[0])
    if header is None or header.pixdim_apart_voxels <= _FORMS_VOXELS or grid.nifti is None:
        raise NothingToFix("the voxel sizes and the affine agree")
    sizes = np.array(header.pixdim_mm)
    grids = {"sform": Geometry(grid.shape, grid.nifti.sform_affine)}
    if (sizes > 0).all():
        affine = grid.affine.copy()
        affine[:3, :3] *= sizes / grid.spacing_mm
        grids["pixdim"] = Geometry(grid.shape, affine)
    ratios = {name: others.grid_ratio(one) for name, one in grids.items()}
    scores = sorted(
        (float(np.abs(np.log(ratio)).max()), name) for name, ratio in ratios.items() if ratio is not None
    )
    # Where hardly any case is sound, it counts among the others itself, which then tell nothing.
    compared = all(record.id != case.case.id for record in others.sound)
    decided = len(scores) == 1 or (len(scores) > 1 and scores[1][0] - scores[0][0] >= _OTHER_SIZE)
    if not compared or len(scores) < len(grids) or not decided:
        raise CannotFix("the voxel sizes and the affine differ and no other cases tell which are right")
    kept = scores[0][1]
    return FixResult(
        case.moved(grids[kept]).rewritten("image").rewritten("label"),
        f"the header's voxel sizes are {times(header.pixdim_mm, 3)} mm in pixdim and {times(header.sform_mm, 3)} mm in "
        "the sform",
        f"those of {'pixdim' if kept == 'pixdim' else 'the sform'} are the other cases' and are kept in both",
        {"kept": kept},
        look=True,
    )


def find_unusable_sforms(cases: ReferenceCases) -> Iterable[Finding]:
    yield from find_in(
        "sform-unusable",
        "warning",
        "The sform of a header counts by its code, but is no affine (singular, or no numbers)",
        "The qform is taken; write it into the sform, as other programs may place the image by the zeros.",
        _flagged(cases, "sform_unusable"),
    )


def fix_unusable_sform(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """The qform, which is an affine, into both."""
    found = case
    for part in _parts(case, "sform_unusable"):
        found = found.unmarked(part)
    if found is case:
        raise NothingToFix("the sform is an affine")
    return FixResult(found, "the sform of the header is no affine", "the qform was written into both")


def find_unknown_places(cases: ReferenceCases) -> Iterable[Finding]:
    yield from find_in(
        "place-unknown",
        "warning",
        "A header says that it places the image (sform or qform code above 0), but its matrix is no affine",
        "Its voxel sizes alone are taken, so left and right may be exchanged; write the true affine, from the original "
        "scan. ITK refuses such files.",
        _flagged(cases, "place_unknown"),
    )


def find_unset_sizes(cases: ReferenceCases) -> Iterable[Finding]:
    yield from find_in(
        "pixdim-unset",
        "warning",
        "A voxel size in a header is 0 or no number",
        "It is taken as 1 mm, as the NIfTI standard's own reader does; write the true size into the header.",
        _flagged(cases, "pixdim_unset"),
    )


def find_unset_intercepts(cases: ReferenceCases) -> Iterable[Finding]:
    yield from find_in(
        "intercept-unset",
        "warning",
        "A header scales the voxels with an intercept (scl_inter) that is no number",
        "It is taken as 0, as the NIfTI standard's own reader does; write the true one into the header.",
        _flagged(cases, "intercept_unset"),
    )


def fix_unset_intercept(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """Written anew, as it is read."""
    parts = _parts(case, "intercept_unset")
    if not parts:
        raise NothingToFix("the intercept is a number")
    for part in parts:
        case = case.rewritten(part)
    return FixResult(
        case, "the intercept of the header's scale is no number", "it is 0 now, as it was read", look=True
    )


def _flagged(cases: ReferenceCases, flag: str) -> dict[str, str | dict[str, Any]]:
    """Cases, of whose headers one has the flag: of which file."""
    found: dict[str, str | dict[str, Any]] = {}
    for record in cases.scans:
        parts = {"image": record.image_header, "label": record.label_header}
        named = [name for name, header in parts.items() if header is not None and getattr(header, flag)]
        if named:
            found[record.id] = " and ".join(named)
    return found


def _parts(case: EditableCase, flag: str) -> list[str]:
    """'image' and 'label', as far as a header of theirs has the flag."""
    files = {"image": case.case.images, "label": () if case.label is None else (case.case.label,)}
    return [
        part
        for part, paths in files.items()
        if any(header is not None and getattr(header, flag) for header in map(header_of, filter(None, paths)))
    ]


# --- shear -------------------------------------------------------------------------------------------------


def _degrees(cosine: float) -> float:
    """How far from a right angle two axes are."""
    return 90 - math.degrees(math.acos(min(1.0, cosine)))


def find_shears(cases: ReferenceCases) -> Iterable[Finding]:
    yield from find_in(
        "sheared",
        "warning",
        "The axes of an image are not at right angles",
        "Look whether the header is right (a tilted CT gantry shears, MRI does not); if it is, resample image and "
        "label onto a grid with right angles.",
        {
            record.id: f"{angle:.1f} degrees from a right angle"
            for record in cases.volumes
            if (angle := _degrees(_worst(record, "shear"))) > _SHEAR_DEGREES
        },
    )


def fix_shear(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """A grid whose axes are not at right angles, onto the nearest one whose axes are (polar decomposition)."""
    grid = case.image.geometry
    unit = grid.affine[:-1, :-1] / np.asarray(grid.spacing_mm)
    angle = _degrees(float(np.abs(unit.T @ unit - np.eye(grid.ndim)).max()))
    if angle <= _SHEAR_DEGREES:
        raise NothingToFix("the axes are at right angles")
    left, _, right = np.linalg.svd(unit)
    straight = _boxed(grid, left @ right)
    if same_place(grid, straight):
        fixed = case.moved(straight)
        how = "less than half a voxel: the header was straightened and the voxels left as they are"
    else:
        fixed = case.with_image(resampled(case.image, straight), straight)
        how = f"the image was resampled (linearly) onto {times(straight.shape)} voxels at right angles"
        if case.label is not None:
            fixed = fixed.with_label(resample_label(case.label, straight).array, straight)
            how += ", the label by its nearest voxels"
    numbers = {"angle_degrees": angle, "shape": list(straight.shape)}
    return FixResult(fixed, f"the axes of the grid are sheared by {angle:.2g} degrees", how, numbers)


def _boxed(grid: Geometry, rotation: Array) -> Geometry:
    """The grid along `rotation`'s columns, of the same spacing, around all voxels of `grid`."""
    spacing_mm = np.asarray(grid.spacing_mm)
    corners = np.array(list(product(*[(0, size - 1) for size in grid.shape])), dtype=float)
    world = corners @ grid.affine[:-1, :-1].T + grid.affine[:-1, -1]
    along = world @ rotation / spacing_mm
    # A hundredth of a voxel is no reason for another row.
    low = along.min(axis=0)
    size = np.maximum(1, np.ceil(along.max(axis=0) - low - 0.01).astype(int) + 1)
    affine = np.eye(grid.ndim + 1)
    affine[:-1, :-1] = rotation * spacing_mm
    affine[:-1, -1] = rotation @ (low * spacing_mm)
    return Geometry(tuple(int(value) for value in size), affine)


FIND = (
    find_forms,
    find_unusable_sforms,
    find_unknown_places,
    find_sizes,
    find_unset_sizes,
    find_unset_intercepts,
    find_shears,
)
FIX = {
    "sform-qform": Fix(fix_forms),
    "sform-unusable": Fix(fix_unusable_sform),
    "pixdim": Fix(fix_sizes),
    "intercept-unset": Fix(fix_unset_intercept),
    "sheared": Fix(fix_shear),
}
