"""What headers say: units that are no millimetres, two grids in one header, sheared axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from vesal.audit.finding import Finding, if_any, millimetres
from vesal.data.dataset import Dataset
from vesal.data.fingerprint import CaseRecord, Fingerprint
from vesal.volume.formats.nifti_header import Header

#: Of the smallest voxel side: sform and qform that part by more are two places, not rounding.
_FORMS_VOXELS = 0.1
#: Cosine of the angle between two axes: 1 degree from a right angle.
_SHEAR = math.sin(math.radians(1.0))
#: Millimetres written as if they were another unit: cm, m, um, 0.1 mm.
_FACTORS = {10.0: "0.1 mm", 0.1: "cm", 1000.0: "um", 0.001: "m"}
#: How far (factor) all spacings may be from the usual ones times such a factor.
_NEAR = 1.3
_FEWEST_CASES = 4
_NAMES = {"m": "metres", "um": "micrometres"}


def _units(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    records = _volumes(fingerprint)
    wrong, details = [], {}
    odd = odd_units(fingerprint)
    for record in records:
        named = next((each.unit for each in _headers(record) if each.unit in _NAMES), None)
        factor = odd.get(record.id)
        if named is None and factor is None:
            continue
        told = [f"the header names {_NAMES[named]}"] if named else []
        told += [f"{millimetres(record.ras_spacing_mm)} mm, as if in {_FACTORS[factor]}"] if factor else []
        wrong.append((record.id, "; ".join(told)))
        details[record.id] = {"factor": 1 / factor if factor else 1.0} | ({"unit": named} if named else {})
    yield from if_any(
        "units",
        "warning",
        wrong,
        "The spacing of an image seems to be in another unit than millimetres",
        "Write the spacing in millimetres, and say so in the header (xyzt_units 2): it is read as millimetres.",
        details,
    )


def _factor(record: CaseRecord, middle: np.ndarray) -> float | None:
    """The unit's factor by which all axes are away from the usual spacing."""
    ratio = np.asarray(record.ras_spacing_mm) / middle
    for factor in _FACTORS:
        if (np.abs(np.log(ratio / factor)) < math.log(_NEAR)).all():
            return factor
    return None


def odd_units(fingerprint: Fingerprint) -> dict[str, float]:
    """Cases whose spacings are the usual ones but for a unit's factor, and that factor."""
    records = _volumes(fingerprint)
    if len(records) < _FEWEST_CASES:
        return {}
    middle = np.exp(np.median(np.log([record.ras_spacing_mm for record in records]), axis=0))
    factors = {record.id: _factor(record, middle) for record in records}
    return {name: factor for name, factor in factors.items() if factor is not None}


def _forms(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    wrong = []
    for record in _volumes(fingerprint):
        apart = max((header.forms_apart_mm for header in _headers(record)), default=0.0)
        if apart > _FORMS_VOXELS * min(record.spacing_mm):
            wrong.append((record.id, f"{apart:.3g} mm apart"))
    yield from if_any(
        "sform-qform",
        "warning",
        wrong,
        "A header holds two places for one image, sform and qform, that part",
        "The sform is taken, other programs take the qform; write the right one into both.",
    )


def _shears(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    wrong = []
    for record in _volumes(fingerprint):
        shear = max((header.shear for header in _headers(record)), default=0.0)
        if shear > _SHEAR:
            degrees = 90 - math.degrees(math.acos(min(1.0, shear)))
            wrong.append((record.id, f"{degrees:.1f} degrees from a right angle"))
    yield from if_any(
        "sheared",
        "warning",
        wrong,
        "The axes of an image are not at right angles",
        "Look whether the header is right (a tilted CT gantry shears, MRI does not); if it is, resample image and "
        "label onto a grid with right angles.",
    )


def _volumes(fingerprint: Fingerprint) -> list[CaseRecord]:
    return [each for each in (*fingerprint.cases, *fingerprint.unlabelled) if len(each.shape) == 3]


def _headers(record: CaseRecord) -> list[Header]:
    return [header for header in (record.image_header, record.label_header) if header is not None]


CHECKS: tuple[Callable[[Dataset, Fingerprint], Iterable[Finding]], ...] = (_units, _forms, _shears)
