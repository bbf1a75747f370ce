"""Cases that are unlike the rest of their data set in a number: intensities, volumes, places, pieces, blank slices.

A number is an outlier when it lies farther from the median than 3 times as far as 90 % of the other cases do, and
farther than a least distance that matters. Where more than a tenth of the cases lie far away, that is how this data
set is, and nothing is told. For normally distributed numbers this is 4.9 standard deviations: one false alarm in a
million numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from vesal.audit.duplicates import is_constant
from vesal.audit.finding import Finding, Severity, counted, if_any
from vesal.data.case_features import LabelFeatures
from vesal.data.dataset import Dataset
from vesal.data.fingerprint import CaseRecord, Fingerprint

_FEWEST_CASES = 6
_BEYOND = 3.0
_OTHERS = 0.9

#: Least distances from the median that matter.
_INTENSITY_FACTOR = 10.0
_SATURATED = 0.05
_VOLUME_FACTOR = 1.5
_FIELD_FACTOR = 1.5
_FACE, _FACE_STEP = (
    0.3,
    2.0,
)  # slices that are so many times thicker than voxels end in flat faces by themselves
#: A piece counts as a stray island from this distance on (mm, and voxels along the finest axis), up to this share
#: of the labelled voxels, where at least this share of the other cases has none.
_ISLAND_MM, _ISLAND_VOXELS, _ISLAND_SHARE, _ISLAND_FREE = 5.0, 4.0, 0.1, 0.8


def outliers(
    values: Sequence[float], least: float, *, beyond: float = _BEYOND, middle: float | None = None
) -> NDArray[np.float64]:
    """(n,) numbers -> how many times too far from the median each is; more than 1 is an outlier. NaN is none.

    `beyond` is how many times as far as 90 % of the others, `middle` is there in place of the median.

    >>> values = [1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.02, 5.0]
    >>> (outliers(values, least=0.1) > 1).tolist()
    [False, False, False, False, False, False, False, True]
    """
    data = np.asarray(values, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(data))
    found = np.zeros(len(data))
    if len(known) < _FEWEST_CASES:
        return found
    far = np.abs(data[known] - (np.median(data[known]) if middle is None else middle))
    order = np.sort(far)
    # Of the n - 1 others, so many may lie farther out.
    allowed = max(0, math.floor((1 - _OTHERS) * (len(known) - 1)))
    for place, distance in zip(known, far, strict=True):
        rest = np.delete(order, np.searchsorted(order, distance))
        found[place] = distance / max(least, beyond * float(rest[len(rest) - 1 - allowed]))
    return found


# --- images ------------------------------------------------------------------------------------------------


def _intensities(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    held = [each for each in _scans(fingerprint) if len(each.channels) == len(fingerprint.channels)]
    held = [each for each in held if not is_constant(each)]
    cut: dict[str, str] = {}
    scaled: dict[str, str] = {}
    for index, name in enumerate(fingerprint.channels):
        spans = [_span(record, index) for record in held]
        logs = [math.log(span) if span > 0 else math.nan for span in spans]
        for record, far, span in zip(held, outliers(logs, math.log(_INTENSITY_FACTOR)), spans, strict=True):
            if far > 1:
                scaled[record.id] = (
                    f"{name} spans {span:.3g}, usual is {math.exp(float(np.nanmedian(logs))):.3g}"
                )
        shares = [
            record.case_features.saturated[index] if record.case_features else math.nan for record in held
        ]
        usual = float(np.median([share for share in shares if share == share] or [0.0]))
        for record, far, share in zip(held, outliers(shares, _SATURATED), shares, strict=True):
            if far > 1 and share > usual:
                cut[record.id] = f"{share:.0%} of {name}, usual is {usual:.1%}"
    yield from if_any(
        "intensity-outlier",
        "warning",
        list(cut.items()),
        "A large share of an image is at its highest intensity",
        "It was probably clipped, and what was above is lost; export the scan again, or take the case out.",
    )
    # An arbitrary scale is taken out of every scan but a CT by its own mean and deviation.
    yield from if_any(
        "intensity-outlier",
        "warning" if "CT" in fingerprint.channels else "note",
        list(scaled.items()),
        "The intensities of an image span another range than the others'",
        "Look whether it was exported with another scale.",
    )


def _span(record: CaseRecord, channel: int) -> float:
    low, _, high = record.channels[channel].percentiles
    return high - low


def _blank_slices(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    records = _scans(fingerprint)
    blank = [
        (record, record.case_features.blank_slices) for record in records if record.case_features is not None
    ]
    wrong = [
        (record.id, counted(count, "slice")) for record, count in blank if count and not is_constant(record)
    ]
    severity: Severity = "warning" if len(wrong) <= 0.2 * len(records) else "note"
    yield from if_any(
        "blank-slices",
        severity,
        wrong,
        "An image has slices of one intensity between others",
        "Look whether slices were lost; if so export the scan again, or take the case out.",
    )


def _fields(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    records = [record for record in _scans(fingerprint) if len(record.shape) == 3]
    worst: dict[str, str] = {}
    for axis, name in enumerate(("left-right", "back-front", "down-up")):
        steps = [record.ras_spacing_mm[axis] for record in records]
        sides = [record.ras_shape[axis] * step for record, step in zip(records, steps, strict=True)]
        middle = float(np.median(steps)) if steps else 1.0
        usual = float(np.median(sides)) if sides else 1.0
        # A field that is off by its spacing is told of the spacing.
        odd = [not middle / _FIELD_FACTOR <= step <= _FIELD_FACTOR * middle for step in steps]
        logs = [math.nan if is_odd else math.log(side) for side, is_odd in zip(sides, odd, strict=True)]
        for record, far, side in zip(records, outliers(logs, math.log(_FIELD_FACTOR)), sides, strict=True):
            if far > 1:
                worst[record.id] = f"{side:.0f} mm {name}, usual is {usual:.0f} mm"
    yield from if_any(
        "field-of-view",
        "note",
        list(worst.items()),
        "The field of view of an image is far from the usual one",
        "Look whether the spacing is right and the scan whole.",
    )


# --- labels ------------------------------------------------------------------------------------------------


def _volumes(dataset: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    records = [record for record in fingerprint.cases if any(record.voxels.values())]
    told: dict[str, str] = {}
    for name in (None, *dataset.labels.names):
        amounts = [
            sum(record.voxels.values()) if name is None else record.voxels.get(name, 0) for record in records
        ]
        logs = [
            math.log(amount * record.voxel_volume_mm3) if amount else math.nan
            for record, amount in zip(records, amounts, strict=True)
        ]
        for record, far, log in zip(records, outliers(logs, math.log(_VOLUME_FACTOR)), logs, strict=True):
            if far > 1:
                what = name or "all labels"
                usual = math.exp(float(np.nanmedian(logs)))
                told.setdefault(record.id, f"{what} {_ml(math.exp(log))}, usual is {_ml(usual)}")
    held = [
        (record, record.case_features.label)
        for record in records
        if record.case_features and record.case_features.label
    ]
    for record, end in _cut_off(held):
        told.setdefault(record.id, f"the label ends in a flat face {end}")
    yield from if_any(
        "volume-outlier",
        "warning",
        list(told.items()),
        "The labelled volume is far from the others'",
        "Look whether all of the object is labelled, and nothing else.",
    )


def _cut_off(held: Sequence[tuple[CaseRecord, LabelFeatures]]) -> Iterable[tuple[CaseRecord, str]]:
    """Labels that end in a large flat face, where others taper off."""
    ends = ("on the left", "on the right", "behind", "in front", "below", "above")
    held = [
        (record, case_features) for record, case_features in held if len(case_features.faces) == len(ends)
    ]
    for index, end in enumerate(ends):
        faces = [
            math.nan
            if record.ras_spacing_mm[index // 2] > _FACE_STEP * min(record.ras_spacing_mm)
            else case_features.faces[index]
            for record, case_features in held
        ]
        for (record, _), far, face in zip(held, outliers(faces, _FACE), faces, strict=True):
            if far > 1 and face > 0.5:
                yield record, end


def _fine(record: CaseRecord, axis: int) -> bool:
    return record.ras_spacing_mm[axis] <= _FACE_STEP * min(record.ras_spacing_mm)


def _ml(cubic_mm: float) -> str:
    return f"{cubic_mm / 1000:.3g} ml"


def _missing_classes(dataset: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    """A class that a case lacks though nearly all have it; where several lack it, that is how patients are."""
    annotated = {case.id: case.annotated for case in dataset.cases}
    records = [
        record for record in fingerprint.cases if any(record.voxels.values()) and len(record.shape) == 3
    ]
    for name in dataset.labels.names if len(records) >= _FEWEST_CASES else ():
        drawn = [each for each in records if name in (annotated.get(each.id) or dataset.labels.names)]
        lacking = [(record.id, "") for record in drawn if not record.voxels.get(name, 0)]
        if len(lacking) <= 0.2 * len(drawn):
            yield from if_any(
                "missing-class",
                "note",
                lacking,
                f"The label '{name}', which the others have, does not occur",
                "Look whether it is really not there, or was given another label's value.",
            )


def _islands(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    held = [
        (record, record.case_features.label)
        for record in fingerprint.cases
        if record.case_features and record.case_features.label
    ]
    held = [(record, case_features) for record, case_features in held if len(record.shape) == 3]
    free = sum(not _strays(record, case_features) for record, case_features in held)
    if len(held) < _FEWEST_CASES or free < _ISLAND_FREE * len(held):
        return
    wrong = [
        (
            record.id,
            f"{counted(case_features.island_voxels, 'voxel')} {case_features.island_gap_mm:.0f} mm away",
        )
        for record, case_features in held
        if _strays(record, case_features)
    ]
    yield from if_any(
        "stray-island",
        "warning",
        wrong,
        "A small piece of the label lies away from the rest",
        "Look whether it is a slip of the hand, and erase it.",
    )


def _strays(record: CaseRecord, case_features: LabelFeatures) -> bool:
    least = max(_ISLAND_MM, _ISLAND_VOXELS * min(record.spacing_mm))
    small = case_features.island_voxels <= _ISLAND_SHARE * sum(record.voxels.values())
    return case_features.islands > 0 and case_features.island_gap_mm >= least and small


def _scans(fingerprint: Fingerprint) -> tuple[CaseRecord, ...]:
    return fingerprint.cases + fingerprint.unlabelled


CHECKS: tuple[Callable[[Dataset, Fingerprint], Iterable[Finding]], ...] = (
    _intensities,
    _blank_slices,
    _fields,
    _volumes,
    _missing_classes,
    _islands,
)
