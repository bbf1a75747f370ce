"""Cases that are unlike the rest of their data set in a number: intensities, blank slices, sizes, volumes, classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from vesal.audit.defect import Fix
from vesal.audit.defects.intensities import is_constant
from vesal.audit.finding import RARE, CaseDetails, Finding, find_in
from vesal.audit.reference_cases import ReferenceCases
from vesal.audit.similarity import FEWEST_CASES, outliers
from vesal.data.case_features import LabelFeatures
from vesal.data.fingerprint import CaseRecord
from vesal.text import plural

#: Least distances from the median that matter.
_INTENSITY_FACTOR = 10.0
_SATURATED = 0.05
_VOLUME_FACTOR = 1.5
_FIELD_FACTOR = 1.5
_FACE = 0.3
#: A flat face, of the largest cross-section; slices so many times thicker than voxels end in one by themselves.
_LARGE_FACE, _FACE_STEP = 0.5, 2.0

# --- images ------------------------------------------------------------------------------------------------


def find_intensities(cases: ReferenceCases) -> Iterable[Finding]:
    names = cases.fingerprint.channels
    held = [each for each in cases.scans if len(each.channels) == len(names) and not is_constant(each)]
    clipped: CaseDetails = {}
    scaled: CaseDetails = {}
    for index, name in enumerate(names):
        spans = [_span(record, index) for record in held]
        logs = [math.log(span) if span > 0 else math.nan for span in spans]
        for record, far, span in zip(held, outliers(logs, math.log(_INTENSITY_FACTOR)), spans, strict=True):
            if far > 1:
                usual = math.exp(float(np.nanmedian(logs)))
                scaled[record.id] = f"{name} spans {span:.3g}, usual is {usual:.3g}"
        shares = [
            record.case_features.saturated[index] if record.case_features else math.nan for record in held
        ]
        usual = float(np.median([share for share in shares if not math.isnan(share)] or [0.0]))
        for record, far, share in zip(held, outliers(shares, _SATURATED), shares, strict=True):
            if far > 1 and share > usual:
                clipped[record.id] = f"{share:.0%} of {name}, usual is {usual:.1%}"
    yield from find_in(
        "intensity-outlier",
        "warning",
        "A large share of an image is at its highest intensity",
        "It was probably clipped, and what was above is lost; export the scan again, or take the case out.",
        clipped,
    )
    # An arbitrary scale is taken out of every scan but a CT by its own mean and deviation.
    yield from find_in(
        "intensity-outlier",
        "warning" if "CT" in names else "note",
        "The intensities of an image span another range than the others'",
        "Look whether it was exported with another scale.",
        scaled,
    )


def _span(record: CaseRecord, channel: int) -> float:
    low, _, high = record.channels[channel].percentiles
    return high - low


def find_blank_slices(cases: ReferenceCases) -> Iterable[Finding]:
    blank: CaseDetails = {
        record.id: plural(record.case_features.blank_slices, "slice")
        for record in cases.scans
        if record.case_features and record.case_features.blank_slices and not is_constant(record)
    }
    yield from find_in(
        "blank-slices",
        "warning" if len(blank) <= RARE * len(cases.scans) else "note",
        "An image has slices of one intensity between others",
        "Look whether slices were lost; if so export the scan again, or take the case out.",
        blank,
    )


def find_fields_of_view(cases: ReferenceCases) -> Iterable[Finding]:
    records = cases.volumes
    found: CaseDetails = {}
    for axis, name in enumerate(("left-right", "back-front", "down-up") if records else ()):
        steps = [record.ras_spacing_mm[axis] for record in records]
        sides = [record.ras_shape[axis] * step for record, step in zip(records, steps, strict=True)]
        middle, usual = float(np.median(steps)), float(np.median(sides))
        # A field that is off by its spacing is a finding of the spacing.
        odd = [not middle / _FIELD_FACTOR <= step <= _FIELD_FACTOR * middle for step in steps]
        logs = [math.nan if is_odd else math.log(side) for side, is_odd in zip(sides, odd, strict=True)]
        for record, far, side in zip(records, outliers(logs, math.log(_FIELD_FACTOR)), sides, strict=True):
            if far > 1:
                found[record.id] = f"{side:.0f} mm {name}, usual is {usual:.0f} mm"
    yield from find_in(
        "field-of-view",
        "note",
        "The field of view of an image is far from the usual one",
        "Look whether the spacing is right and the scan whole.",
        found,
    )


# --- labels ------------------------------------------------------------------------------------------------


def find_volumes(cases: ReferenceCases) -> Iterable[Finding]:
    records = [record for record in cases.fingerprint.cases if any(record.voxels.values())]
    found: CaseDetails = {}
    for name in (None, *cases.labels.names):
        amounts = [
            sum(record.voxels.values()) if name is None else record.voxels.get(name, 0) for record in records
        ]
        logs = [
            math.log(amount * record.voxel_volume_mm3) if amount else math.nan
            for record, amount in zip(records, amounts, strict=True)
        ]
        for record, far, log in zip(records, outliers(logs, math.log(_VOLUME_FACTOR)), logs, strict=True):
            if far > 1:
                usual = math.exp(float(np.nanmedian(logs)))
                text = f"{name or 'all labels'} {_ml(math.exp(log))}, usual is {_ml(usual)}"
                found.setdefault(record.id, text)
    for record, end in _cut_off(cases.labelled):
        found.setdefault(record.id, f"the label ends in a flat face {end}")
    yield from find_in(
        "volume-outlier",
        "warning",
        "The labelled volume is far from the others'",
        "Look whether all of the object is labelled, and nothing else.",
        found,
    )


def _cut_off(labelled: Sequence[tuple[CaseRecord, LabelFeatures]]) -> Iterable[tuple[CaseRecord, str]]:
    """Labels that end in a large flat face, where others taper off."""
    ends = ("on the left", "on the right", "behind", "in front", "below", "above")
    held = [(record, label) for record, label in labelled if len(label.faces) == len(ends)]
    for index, end in enumerate(ends):
        faces = [
            math.nan
            if record.ras_spacing_mm[index // 2] > _FACE_STEP * min(record.ras_spacing_mm)
            else label.faces[index]
            for record, label in held
        ]
        for (record, _), far, face in zip(held, outliers(faces, _FACE), faces, strict=True):
            if far > 1 and face > _LARGE_FACE:
                yield record, end


def _ml(cubic_mm: float) -> str:
    return f"{cubic_mm / 1000:.3g} ml"


def find_missing_classes(cases: ReferenceCases) -> Iterable[Finding]:
    """A class that a case lacks though nearly all have it; where several lack it, that is how patients are."""
    annotated = {case.id: case.annotated for case in cases.dataset.cases}
    records = [
        record for record in cases.fingerprint.cases if any(record.voxels.values()) and len(record.shape) == 3
    ]
    for name in cases.labels.names if len(records) >= FEWEST_CASES else ():
        drawn = [each for each in records if name in (annotated.get(each.id) or cases.labels.names)]
        lacking = [record.id for record in drawn if not record.voxels.get(name, 0)]
        if len(lacking) <= RARE * len(drawn):
            yield from find_in(
                "missing-class",
                "note",
                f"The label '{name}', which the others have, does not occur",
                "Look whether it is really not there, or was given another label's value.",
                dict.fromkeys(lacking, ""),
            )


FIND = (find_intensities, find_blank_slices, find_fields_of_view, find_volumes, find_missing_classes)
FIX: dict[str, Fix] = {}
