"""Cases that are unlike the rest of their data set in a number: intensities, blank slices, sizes, volumes, classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from vesal.audit.defect import Fix
from vesal.audit.defects.intensities import is_constant
from vesal.audit.finding import RARE, CaseDetails, Finding, find_in, of_slices
from vesal.audit.reference_cases import ReferenceCases
from vesal.audit.similarity import FEWEST_CASES, outliers
from vesal.data.case_features import SAME_PLACE, LabelFeatures, place_scatter
from vesal.data.fingerprint import CaseRecord
from vesal.text import plural, significant

#: Least distances from the median that matter.
_INTENSITY_FACTOR = 10.0
_SATURATED = 0.05
#: Hounsfield units: a CT whose intercept (-1024) was lost, or applied twice, lies so far from the others as a whole.
_MOVED_HU = 700.0
_VOLUME_FACTOR = 1.5
_FIELD_FACTOR = 1.5
_FACE = 0.3
#: A flat face, of the largest cross-section, beyond that of an ellipsoid of as many planes (0.19 of
#: 10 planes, 0.56 of 3); slices so many times thicker than voxels end in one by themselves.
_LARGE_FACE, _FACE_STEP = 0.5, 2.0
# --- images ------------------------------------------------------------------------------------------------


def find_intensities(cases: ReferenceCases) -> Iterable[Finding]:
    names = cases.fingerprint.channels
    held = [each for each in cases.scans if len(each.channels) == len(names) and not is_constant(each)]
    clipped: CaseDetails = {}
    scaled: CaseDetails = {}
    for index, name in enumerate(names):
        ends = {record.id: record.channels[index].percentiles for record in held}
        spans = {case: high - low for case, (low, _, high) in ends.items() if high > low}
        for case, span, usual in _odd(spans, factor=_INTENSITY_FACTOR):
            scaled[case] = f"{name} spans {significant(span)}, usual is {significant(usual)}"
        if name == "CT":
            for case, moved, _ in _odd(_moved({case: ends[case] for case in spans}), _MOVED_HU):
                scaled[case] = (
                    f"all of it lies {moved:+.0f} HU from the others, as without or with twice its intercept"
                )
        shares = {each.id: each.case_features.saturated[index] for each in held if each.case_features}
        for case, share, usual in _odd(shares, _SATURATED):
            if share > usual:
                clipped[case] = f"{share:.0%} of {name}, usual is {usual:.1%}"
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
        "Look whether it was exported with another scale or offset.",
        scaled,
    )


def _moved(ends: Mapping[str, tuple[float, float, float]]) -> dict[str, float]:
    """How far both ends of the intensities lie from the usual ones, the nearer of the two; 0 where one is as usual.

    Padding moves the lower end alone, metal the upper one.
    """
    usual = np.median(list(ends.values()) or [(0.0, 0.0, 0.0)], axis=0)
    gaps = {case: (low - usual[0], high - usual[2]) for case, (low, _, high) in ends.items()}
    return {case: min(gap, key=abs) if gap[0] * gap[1] > 0 else 0.0 for case, gap in gaps.items()}


def _odd(
    values: Mapping[str, float], least: float = 0.0, *, factor: float | None = None
) -> Iterator[tuple[str, float, float]]:
    """Cases whose number is an outlier, with it and the median of all.

    Args:
        values: case id -> a number.
        least: distance from the median that matters.
        factor: that matters, in place of a distance, of numbers above 0: their logarithms are compared.
    """
    if factor is None:
        numbers, usual = list(values.values()), float(np.median(list(values.values()) or [0.0]))
    else:
        numbers = [math.log(value) for value in values.values()]
        least, usual = math.log(factor), math.exp(float(np.median(numbers or [0.0])))
    for (name, value), far in zip(values.items(), outliers(numbers, least), strict=True):
        if far > 1:
            yield name, value, usual


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
        steps = {record.id: record.ras_spacing_mm[axis] for record in records}
        sides = {record.id: record.ras_shape[axis] * steps[record.id] for record in records}
        middle, usual = (float(np.median(list(of.values()))) for of in (steps, sides))
        # A field that is off by its spacing is a finding of the spacing.
        low, high = middle / _FIELD_FACTOR, _FIELD_FACTOR * middle
        sides = {case: side for case, side in sides.items() if low <= steps[case] <= high}
        for case, side, _ in _odd(sides, factor=_FIELD_FACTOR):
            found[case] = f"{side:.0f} mm {name}, usual is {usual:.0f} mm"
    yield from find_in(
        "field-of-view",
        "note",
        "The field of view of an image is far from the usual one",
        "Look whether the spacing is right and the scan whole.",
        found,
    )


# --- labels ------------------------------------------------------------------------------------------------


def find_volumes(cases: ReferenceCases) -> Iterable[Finding]:
    for unit, size in (("ml", "volume"), ("mm2", "area")):
        found = _odd_sizes(cases, unit)
        for case, end in _cut_off(cases.labelled) if unit == "ml" else ():
            found.setdefault(case, f"the label ends in a flat face {end}")
        yield from find_in(
            "volume-outlier",
            "warning",
            f"The labelled {size} is far from the others'",
            "Look whether all of the object is labelled, and nothing else.",
            found,
        )


def _odd_sizes(cases: ReferenceCases, unit: str) -> CaseDetails:
    """Of volumes (ml), also those that slices make, or of images (mm2)."""
    found: CaseDetails = {}
    wholes = {each.name: each for each in cases.annotated_wholes if each.unit == unit}
    annotated = {case.id: case.annotated for case in cases.dataset.cases}
    for name in (None, *cases.labels.names):
        of = cases.labels.names if name is None else (name,)
        # What was not drawn is missing in the sum of all labels.
        drawn = {
            key: each
            for key, each in wholes.items()
            if name is not None or all(annotated.get(record.id) is None for record in each.records)
        }
        sizes = {key: size for key, each in drawn.items() if (size := each.size(of))}
        for key, size, usual in _odd(sizes, factor=_VOLUME_FACTOR):
            each = wholes[key]
            text = f"{name or 'all labels'} {_size(size, unit)}, usual is {_size(usual, unit)}"
            text = f"{text} in all slices of {key}" if each.sliced else text
            for case, detail in of_slices([record.id for record in each.records], text).items():
                found.setdefault(case, detail)
    return found


def _cut_off(labelled: Sequence[tuple[CaseRecord, LabelFeatures]]) -> Iterable[tuple[str, str]]:
    """Labels of an organ that end in a large flat face, where others taper off; a tumour may well grow along a wall,
    which makes it flat."""
    ends = ("on the left", "on the right", "behind", "in front", "below", "above")
    held = [(record, label) for record, label in labelled if len(label.faces) == len(ends)]
    if not held or place_scatter([label.place for _, label in held]) > SAME_PLACE:
        return
    for index, end in enumerate(ends):
        axis = index // 2
        faces = {
            record.id: label.faces[index] - _ellipsoid_face(label.box_mm[axis] / record.ras_spacing_mm[axis])
            for record, label in held
            if record.ras_spacing_mm[axis] <= _FACE_STEP * min(record.ras_spacing_mm)
        }
        yield from ((case, end) for case, face, _ in _odd(faces, _FACE) if face > _LARGE_FACE)


def _ellipsoid_face(planes: float) -> float:
    """The share of the largest cross-section that the first of so many planes through an ellipsoid has: the cut
    at depth 1 / planes of the radius has the area 1 - (1 - 1 / planes)^2 of the largest.

    >>> round(_ellipsoid_face(10), 2), _ellipsoid_face(1)
    (0.19, 1.0)
    """
    return 1.0 - (1.0 - 1.0 / max(planes, 1.0)) ** 2


def _size(size: float, unit: str) -> str:
    return f"{size:.3g} {'mm²' if unit == 'mm2' else unit}"


def find_missing_classes(cases: ReferenceCases) -> Iterable[Finding]:
    """A class that a case lacks though nearly all have it; where several lack it, that is how patients are."""
    drawn_in = {case.id: case.annotated for case in cases.dataset.cases}
    records = [
        record for record in cases.fingerprint.cases if any(record.voxels.values()) and len(record.shape) == 3
    ]
    for name in cases.labels.names if len(records) >= FEWEST_CASES else ():
        drawn = [each for each in records if (of := drawn_in.get(each.id)) is None or name in of]
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
