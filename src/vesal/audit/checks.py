"""What is wrong or odd with a data set: findings, each with its fix. Pixels are not read again.

An error means that a case cannot be trained on as it is; a warning, that somebody should look; a note, that it is
worth knowing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import combinations
from pathlib import Path
from typing import TypeVar

import numpy as np

from vesal.audit import agreement_checks, duplicates, header_checks, outliers
from vesal.audit.duplicates import duplicate_groups, is_constant
from vesal.audit.finding import (
    Finding,
    Severity,
    counted,
    if_any,
    millimetres,
    times,
)
from vesal.data.dataset import Case, Dataset
from vesal.data.fingerprint import CaseRecord, Fingerprint
from vesal.volume.geometry import TOLERANCE_MM

__all__ = ["CHECKS", "Finding", "Severity", "check_dataset", "duplicate_groups"]

Value = TypeVar("Value")

_USUAL_SHARE = 0.2  # of the cases: what more of them have is how this data set is
_SPACING_FACTOR = 2.0  # from the median, before a spacing is called an outlier
_SPACING_SPREADS = 4.0  # and so many robust standard deviations of the logarithm
_SPACING_CASES = 5  # below so many there is no usual spacing


def check_dataset(dataset: Dataset, fingerprint: Fingerprint) -> tuple[Finding, ...]:
    """All findings, errors before warnings before notes."""
    findings = [finding for check in CHECKS for finding in check(dataset, fingerprint)]
    rank = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(findings, key=lambda finding: rank[finding.severity]))


# --- files -------------------------------------------------------------------------------------------------


def _partners(dataset: Dataset, _: Fingerprint) -> Iterable[Finding]:
    for missing in dict.fromkeys(orphan.missing for orphan in dataset.orphans):
        lone = [orphan for orphan in dataset.orphans if orphan.missing == missing]
        have = {"label": "An image has no label", "image": "A label has no image"}
        yield from if_any(
            "missing-partner",
            "warning" if missing == "label" else "error",
            [(orphan.id, str(orphan.path)) for orphan in lone],
            have.get(missing, f"A case has no {missing}"),
            "It is left out of training; add the missing file, or move this one out of the folder.",
        )


def _unreadable(dataset: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    cases = {case.id: case for case in dataset.cases + dataset.unlabelled}
    for failure in fingerprint.failures:
        absent = [str(path) for path in _files(cases.get(failure.id)) if not path.exists()]
        yield Finding(
            kind="missing-file" if absent else failure.kind or "unreadable",
            severity="error",
            cases=(failure.id,),
            message=failure.message,
            fix="Restore the file or take the case out of the data set."
            if absent
            else "Replace the file by an intact copy or take the case out of the data set.",
        )


def _files(case: Case | None) -> list[Path]:
    return [] if case is None else [*case.images, *([case.label] if case.label else [])]


# --- image and label ---------------------------------------------------------------------------------------


def _label_shapes(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    odd = [each for each in fingerprint.cases if each.label_shape not in (None, each.shape)]
    pairs = [(a, b) for a, b in combinations(odd, 2) if (a.shape, b.shape) == (b.label_shape, a.label_shape)]
    exchanged = {record.id for pair in pairs for record in pair}
    for a, b in pairs:
        yield Finding(
            kind="mismatched-label",
            severity="error",
            cases=(a.id, b.id),
            message=f"The label of {a.id} has the shape of the image of {b.id}, and the other way round.",
            fix="Look whether their images or labels have changed places; if so, change them back.",
            details={a.id: {"of": b.id}, b.id: {"of": a.id}},
        )
    wrong = [
        (record.id, f"label {times(record.label_shape or ())}, image {times(record.shape)}")
        for record in odd
        if record.id not in exchanged
    ]
    yield from if_any(
        "label-shape",
        "error",
        wrong,
        "A label has another shape than its image",
        "Look whether the label belongs to this image; if so, resample it onto the image's grid (nearest neighbour).",
    )


def _label_grids(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    """Apart by half a voxel or more is another place; less than that, a header that was rewritten carelessly."""
    severities: tuple[Severity, ...] = ("error", "warning")
    for severity in severities:
        wrong = [
            (record.id, f"{record.label_distance_mm:.3g} mm")
            for record in fingerprint.cases
            if record.label_distance_mm is not None
            and record.label_distance_mm > TOLERANCE_MM
            and (record.label_distance_mm >= 0.5 * min(record.spacing_mm)) == (severity == "error")
        ]
        yield from if_any(
            "label-grid",
            severity,
            wrong,
            "A label lies elsewhere in space than its image (largest distance between the same voxels)",
            "If the voxels fit, copy the image's affine into the label's header; else resample the label.",
        )


def _not_finite(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    wrong = [
        (record.id, counted(record.nan_voxels, "voxel"))
        for record in _scans(fingerprint)
        if record.nan_voxels > 0
    ]
    yield from if_any(
        "not-finite",
        "error",
        wrong,
        "An image holds NaN or infinite voxels",
        "Replace them by the background's intensity, or export the scan again.",
    )


def _empty_labels(dataset: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    annotated = {case.id for case in dataset.cases if case.label is not None}
    labelled = [record for record in fingerprint.cases if record.id in annotated]
    empty = [
        (record.id, "") for record in labelled if not any(record.voxels.values()) and not record.undeclared
    ]
    # Healthy volumes and slices beside the organ are usual in some data sets; a few alone are suspicious.
    usual = len(empty) > _USUAL_SHARE * len(labelled) or all(len(record.shape) == 2 for record in labelled)
    yield from if_any(
        "empty-label",
        "note" if usual else "warning",
        empty,
        "A label is empty",
        "Look whether there is really nothing to label; if the annotation is missing, take the case out.",
    )


def _undeclared_values(dataset: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    declared = ", ".join(map(str, sorted(dataset.labels.values)))
    wrong = [
        (
            record.id,
            f"value{'s' if len(record.undeclared) > 1 else ''} {', '.join(map(str, record.undeclared[:10]))}",
        )
        for record in fingerprint.cases
        if record.undeclared
    ]
    yield from if_any(
        "undeclared-value",
        "error",
        wrong,
        f"A label holds values that are not declared (declared are {declared})",
        "Declare the value with the data set's labels, or correct the file.",
    )


def _absent_classes(dataset: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    if not fingerprint.cases or not any(any(record.voxels.values()) for record in fingerprint.cases):
        return
    for name in dataset.labels.names:
        if not any(record.voxels.get(name, 0) for record in fingerprint.cases):
            yield Finding(
                kind="absent-class",
                severity="warning",
                cases=(),
                message=f"The label '{name}' is declared but occurs in no case.",
                fix="Correct its value, or take it out of the declaration: it cannot be learned.",
            )


# --- images among each other -------------------------------------------------------------------------------


def _dimensions(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    usual = _usual(len(record.shape) for record in _scans(fingerprint))
    wrong = [
        (record.id, f"{times(record.shape)}") for record in _scans(fingerprint) if len(record.shape) != usual
    ]
    yield from if_any(
        "dimension",
        "error",
        wrong,
        f"An image is {5 - (usual or 3)}D where the others are {usual}D",
        "Look whether the file is a single slice or a stack; keep images of one dimension in a data set.",
    )


def _channel_counts(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    expected = len(fingerprint.channels)
    wrong = [
        (record.id, counted(len(record.channels), "channel"))
        for record in _scans(fingerprint)
        if len(record.channels) != expected
    ]
    yield from if_any(
        "channel-count",
        "error",
        wrong,
        f"An image has not the {expected} channels that the data set declares ({', '.join(fingerprint.channels)})",
        "Add or remove the channel, or correct the declared channels.",
    )


def _orientations(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    records = [record for record in _scans(fingerprint) if len(record.shape) == 3]
    usual = _usual(record.axis_codes for record in records)
    wrong = [(record.id, record.axis_codes) for record in records if record.axis_codes != usual]
    # A few are suspicious; a mixture is how some hospitals export.
    yield from if_any(
        "orientation",
        "warning" if len(wrong) <= _USUAL_SHARE * len(records) else "note",
        wrong,
        f"The axes of an image run otherwise than in most cases ({usual})",
        "Look at the slices: if the patient stands upright in them the header is right and nothing is to be done "
        "(all images are turned to RAS); if not, correct the affine of image and label.",
    )


def _spacings(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    records = [record for record in _scans(fingerprint) if len(record.shape) == 3]
    if len(records) < _SPACING_CASES:
        return
    told = header_checks.odd_units(fingerprint)
    logs = np.log([record.ras_spacing_mm for record in records])
    middle = np.median(logs, axis=0)
    gap = np.abs(logs - middle)
    # 1.4826 turns the median absolute deviation into the standard deviation of a normal distribution.
    limit = np.maximum(math.log(_SPACING_FACTOR), _SPACING_SPREADS * 1.4826 * np.median(gap, axis=0))
    wrong = [
        (record.id, f"{millimetres(record.ras_spacing_mm)} mm")
        for record, far in zip(records, (gap > limit).any(axis=1), strict=True)
        if far and record.id not in told
    ]
    yield from if_any(
        "spacing",
        "warning",
        wrong,
        f"The spacing of an image is far from the median ({millimetres(tuple(np.exp(middle)))} mm)",
        "Look whether the header is right: a wrong spacing spoils volumes and distances.",
    )


def _constant_images(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    whole = [(record.id, "") for record in _scans(fingerprint) if is_constant(record)]
    volumes = {record.id for record in _scans(fingerprint) if len(record.shape) == 3}
    what = "An image has the same intensity everywhere"
    fix = "Replace the file by an intact copy or take the case out."
    yield from if_any("constant-image", "error", [item for item in whole if item[0] in volumes], what, fix)
    yield from if_any("constant-image", "note", [item for item in whole if item[0] not in volumes], what, fix)
    partly = [
        (record.id, ", ".join(name for name, channel in zip(fingerprint.channels, record.channels, strict=False)
                              if channel.minimum == channel.maximum))
        for record in _scans(fingerprint)
        if not is_constant(record) and any(channel.minimum == channel.maximum for channel in record.channels)
    ]  # fmt: skip
    yield from if_any(
        "constant-channel",
        "warning",
        partly,
        "A channel has the same intensity everywhere",
        "Replace its file by an intact copy, or take the case out.",
    )


#: Every check, in the order of the report.
CHECKS: tuple[Callable[[Dataset, Fingerprint], Iterable[Finding]], ...] = (
    _partners,
    _unreadable,
    _dimensions,
    _channel_counts,
    _label_shapes,
    _label_grids,
    _undeclared_values,
    _not_finite,
    _empty_labels,
    _absent_classes,
    _constant_images,
    *duplicates.CHECKS,
    _orientations,
    _spacings,
    *header_checks.CHECKS,
    *outliers.CHECKS,
    *agreement_checks.CHECKS,
)


def _scans(fingerprint: Fingerprint) -> tuple[CaseRecord, ...]:
    """All scans, annotated or not."""
    return fingerprint.cases + fingerprint.unlabelled


def _usual(values: Iterable[Value]) -> Value | None:
    """The most frequent value; of equally frequent ones the first."""
    counts = Counter(values)
    return counts.most_common(1)[0][0] if counts else None
