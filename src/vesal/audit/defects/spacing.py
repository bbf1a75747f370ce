"""Spacings far from those of the other cases, and spacings in another unit than millimetres."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vesal.audit.defect import Fix
from vesal.audit.defects.header_forms import header_of, headers
from vesal.audit.editable_case import CannotFix, EditableCase, FixResult, NothingToFix
from vesal.audit.finding import CaseDetails, Finding, find_in
from vesal.audit.reference_cases import ReferenceCases
from vesal.audit.similarity import deviations
from vesal.text import times
from vesal.volume.geometry import Geometry

#: A spacing is far from the median of the others from this factor on ...
_FAR = 2.0
#: ... and from so many robust standard deviations of the logarithm, where so many cases tell what is usual.
_SPREADS, _CASES = 4.0, 5
#: A spacing is exactly a power of ten off where what is left is within the others' spread, or this factor.
_EXACT = 1.02

#: Factors that turn spacings in another unit into millimetres.
_UNITS = {10.0: "cm", 1000.0: "m", 0.001: "µm", 0.1: "tenths of mm"}
#: All axes are the usual ones times such a factor, to within this factor.
_SAME = 1.6
#: Units that a NIfTI header may name besides millimetres.
_NAMED = {"m": (1000.0, "metres"), "um": (0.001, "micrometres")}
#: Spacings that a scan may have (mm), where no other case tells.
_PLAUSIBLE_MM = (0.05, 20.0)


def _mm(spacing_mm: Sequence[float]) -> str:
    return f"{times(spacing_mm, 3)} mm"


def _unit_factor(cases: ReferenceCases, shape: Sequence[int], spacing_mm: Sequence[float]) -> float | None:
    """What turns spacings (RAS order) into millimetres, where they are in another unit than the usual ones."""
    ratio = cases.spacing_ratio(spacing_mm)
    if ratio is None:
        return None
    near = math.log(_SAME)
    factor = next((factor for factor in _UNITS if np.abs(np.log(ratio * factor)).max() < near), None)
    if factor is None or not cases.nearer_field(shape, spacing_mm, np.full(len(ratio), factor)):
        return None
    return factor


# --- found -------------------------------------------------------------------------------------------------


def find_spacings(cases: ReferenceCases) -> Iterable[Finding]:
    records = cases.volumes
    if len(records) < _CASES:
        return
    logs = np.log([record.ras_spacing_mm for record in records])
    far = np.any(deviations(logs, logs, math.log(_FAR) / _SPREADS) > _SPREADS, axis=1)
    usual = np.exp(np.median(logs, axis=0))
    yield from find_in(
        "spacing",
        "warning",
        f"The spacing of an image is far from the median ({_mm(usual.tolist())})",
        "Look whether the header is right: a wrong spacing spoils volumes and distances.",
        {
            record.id: _mm(record.ras_spacing_mm)
            for record, is_far in zip(records, far, strict=True)
            if is_far and _unit_factor(cases, record.ras_shape, record.ras_spacing_mm) is None
        },
    )


def find_units(cases: ReferenceCases) -> Iterable[Finding]:
    found: CaseDetails = {}
    for record in cases.volumes:
        named = next((header.unit for header in headers(record) if header.unit in _NAMED), None)
        factor = _unit_factor(cases, record.ras_shape, record.ras_spacing_mm)
        texts = [f"the header names {_NAMED[named][1]}"] if named else []
        texts += [f"{_mm(record.ras_spacing_mm)}, as if in {_UNITS[factor]}"] if factor else []
        if texts:
            unit = {"unit": named} if named else {}
            found[record.id] = {"text": "; ".join(texts), "factor": factor or 1.0} | unit
    yield from find_in(
        "units",
        "warning",
        "The spacing of an image seems to be in another unit than millimetres",
        "Write the spacing in millimetres, and say so in the header (xyzt_units 2): it is read as millimetres.",
        found,
    )


# --- fixed -------------------------------------------------------------------------------------------------


def fix_units(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """A whole grid in another unit than mm: everything times 10, 1000, 0.001 or 0.1, the label's too if it lay on it.

    The other cases tell the factor; where there are none, the unit that the header names does, if a scan can have
    that spacing. A header that names another unit, though its numbers are millimetres, is written anew.
    """
    grid = case.image.geometry
    ratio = others.grid_ratio(grid)
    units = [header.unit for path in case.case.images if (header := header_of(path)) is not None]
    named = next((unit for unit in units if unit in _NAMED), None)
    shown = f"the spacing {_mm(grid.spacing_mm)}"
    if ratio is None:
        factor = _NAMED[named][0] if named else 1.0
        low, high = (limit / factor for limit in _PLAUSIBLE_MM)
        if named is None or not all(low <= step <= high for step in grid.spacing_mm):
            raise CannotFix("there are too few other cases to tell the unit by")
        return _in_mm(case, factor, f"{shown} is in the unit that the header names, {_NAMED[named][1]}")
    if (unit := _unit_factor(others, *_in_ras(grid))) is not None:
        return _in_mm(case, unit, f"{shown} is in {_UNITS[unit]}, as the other cases show")
    if np.abs(np.log(ratio)).max() >= math.log(_SAME):
        raise CannotFix(f"{shown} fits the other cases in no unit: {', '.join(_UNITS.values())}")
    if named is None:
        raise NothingToFix("the spacing is that of the other cases")
    return FixResult(
        case.unmarked("image"),
        f"the header names {_NAMED[named][1]}, and the spacing is that of the other cases in millimetres",
        "the header names millimetres now; the numbers are as they were",
        {"unit": named, "factor": 1.0},
    )


def _in_mm(case: EditableCase, factor: float, wrong: str) -> FixResult:
    moved = case.moved(_scaled(case.image.geometry, factor))
    label = moved.label
    if label is not None and label is case.label and label.geometry.ndim == case.image.geometry.ndim:
        # A label that lies elsewhere is in the same unit if it has the spacing that the image had.
        ratio = np.asarray(label.geometry.spacing_mm) / case.image.geometry.spacing_mm
        if np.allclose(ratio, 1, atol=0.1):
            moved = moved.with_label(label.array, _scaled(label.geometry, factor))
    done = f"spacing and place were multiplied by {factor:g}"
    return FixResult(moved, wrong, done, {"factor": factor})


def _in_ras(grid: Geometry) -> tuple[list[int], list[float]]:
    """Shape and spacing (mm) in RAS order."""
    order = grid.turn_to_ras().order
    return [grid.shape[axis] for axis in order], [grid.spacing_mm[axis] for axis in order]


def _scaled(grid: Geometry, factor: float) -> Geometry:
    affine = grid.affine.copy()
    affine[:-1] *= factor
    return Geometry(grid.shape, affine)


def fix_spacing(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """The spacing of one or all axes that is exactly a power of ten off: the first voxel keeps its place."""
    grid = case.image.geometry
    ratio = others.grid_ratio(grid)
    if ratio is None:
        raise CannotFix("there are too few other cases to tell the spacing by")
    powers = np.rint(-np.log10(ratio))
    left = np.abs(np.log(ratio * 10.0**powers)).max()
    if not powers.any() and left < math.log(_FAR):
        raise NothingToFix("the spacing is that of the other cases")
    spread = float(np.abs(np.log(others.spacings / others.usual_spacing)).max())
    if not powers.any() or left > min(max(math.log(_EXACT), spread), math.log(_FAR)):
        raise CannotFix(
            f"the spacing {_mm(grid.spacing_mm)} is far from the others', and not by a power of ten"
        )
    if not others.nearer_field(*_in_ras(grid), 10.0**powers):
        raise NothingToFix(
            f"with {times(grid.shape)} voxels of {_mm(grid.spacing_mm)} the field of view is that of the other cases"
        )
    factors = np.ones(grid.ndim)
    factors[list(grid.turn_to_ras().order)] = 10.0**powers
    affine = grid.affine.copy()
    affine[:-1, :-1] *= factors
    fixed = case.moved(Geometry(grid.shape, affine))
    return FixResult(
        fixed,
        f"the spacing {_mm(grid.spacing_mm)} is a power of ten off the others'",
        f"it is {_mm(fixed.image.geometry.spacing_mm)} now",
        {"factors": factors.tolist()},
        look=True,
    )


FIND = (find_spacings, find_units)
FIX = {"units": Fix(fix_units), "spacing": Fix(fix_spacing)}
