"""What is wrong or odd with a data set: findings, each with its mend. Pixels are not read again.

An error means that a case cannot be trained on as it is; a warning, that somebody should look; a note, that it is
worth knowing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from vesal.data.dataset import Case, Dataset
from vesal.data.fingerprint import CaseRecord, Fingerprint
from vesal.volume.geometry import TOLERANCE_MM

Severity = Literal["error", "warning", "note"]
Value = TypeVar("Value")

_NAMED = 8  # cases that a message names; Finding.cases has all of them
_USUAL_SHARE = 0.2  # of the cases: what more of them have is how this data set is
_SPACING_FACTOR = 2.0  # from the median, before a spacing is called an outlier
_SPACING_SPREADS = 4.0  # and so many robust standard deviations of the logarithm
_SPACING_CASES = 5  # below so many there is no usual spacing


class Finding(BaseModel):
    """Something found in a data set.

    Attributes:
        kind: such as 'label-shape'; one of the functions in CHECKS makes it.
        severity: 'error', 'warning' or 'note'.
        cases: ids of all cases concerned.
        message: what is wrong, in which cases.
        mend: what to do about it.
        details: the numbers that a mend needs, by case id, as JSON values: {'axis': 0} for a flip,
            {'voxels': [0, 3, 0]} for a shift, {'exchange': ['Anterior', 'Posterior']} for swapped labels,
            {'order': [1, 0]} for swapped channels, {'of': 'the other case'} for a duplicate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    severity: Severity
    cases: tuple[str, ...]
    message: str
    mend: str
    details: dict[str, dict[str, Any]] = {}


def check_dataset(dataset: Dataset, fingerprint: Fingerprint) -> tuple[Finding, ...]:
    """All findings, errors before warnings before notes."""
    findings = [finding for check in CHECKS for finding in check(dataset, fingerprint)]
    rank = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(findings, key=lambda finding: rank[finding.severity]))


def duplicate_groups(fingerprint: Fingerprint) -> tuple[tuple[str, ...], ...]:
    """Case ids with identical voxels, whatever their headers say; constant images, such as empty slices, are none."""
    groups: dict[str, list[str]] = {}
    for record in fingerprint.cases:
        if not _constant(record):
            groups.setdefault(record.image_digest, []).append(record.id)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


# --- files -------------------------------------------------------------------------------------------------


def _partners(dataset: Dataset, _: Fingerprint) -> Iterable[Finding]:
    for missing in dict.fromkeys(orphan.missing for orphan in dataset.orphans):
        lone = [orphan for orphan in dataset.orphans if orphan.missing == missing]
        have = {"label": "An image has no label", "image": "A label has no image"}
        yield from _if_any(
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
            kind="missing-file" if absent else "unreadable",
            severity="error",
            cases=(failure.id,),
            message=failure.message,
            mend="Restore the file or take the case out of the data set."
            if absent
            else "Replace the file by an intact copy or take the case out of the data set.",
        )


def _files(case: Case | None) -> list[Path]:
    return [] if case is None else [*case.images, *([case.label] if case.label else [])]


# --- image and label ---------------------------------------------------------------------------------------


def _label_shapes(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    wrong = [
        (record.id, f"label {_times(record.label_shape)}, image {_times(record.shape)}")
        for record in fingerprint.cases
        if record.label_shape is not None and record.label_shape != record.shape
    ]
    yield from _if_any(
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
        yield from _if_any(
            "label-grid",
            severity,
            wrong,
            "A label lies elsewhere in space than its image (largest distance between the same voxels)",
            "If the voxels fit, copy the image's affine into the label's header; else resample the label.",
        )


def _not_finite(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    wrong = [
        (record.id, _counted(record.nan_voxels, "voxel"))
        for record in _scans(fingerprint)
        if record.nan_voxels > 0
    ]
    yield from _if_any(
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
    yield from _if_any(
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
    yield from _if_any(
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
                mend="Correct its value, or take it out of the declaration: it cannot be learned.",
            )


# --- images among each other -------------------------------------------------------------------------------


def _dimensions(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    usual = _usual(len(record.shape) for record in _scans(fingerprint))
    wrong = [
        (record.id, f"{_times(record.shape)}") for record in _scans(fingerprint) if len(record.shape) != usual
    ]
    yield from _if_any(
        "dimension",
        "error",
        wrong,
        f"An image is {5 - (usual or 3)}D where the others are {usual}D",
        "Look whether the file is a single slice or a stack; keep images of one dimension in a data set.",
    )


def _channel_counts(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    expected = len(fingerprint.channels)
    wrong = [
        (record.id, _counted(len(record.channels), "channel"))
        for record in _scans(fingerprint)
        if len(record.channels) != expected
    ]
    yield from _if_any(
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
    yield from _if_any(
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
    logs = np.log([record.ras_spacing_mm for record in records])
    middle = np.median(logs, axis=0)
    gap = np.abs(logs - middle)
    # 1.4826 turns the median absolute deviation into the standard deviation of a normal distribution.
    limit = np.maximum(math.log(_SPACING_FACTOR), _SPACING_SPREADS * 1.4826 * np.median(gap, axis=0))
    wrong = [
        (record.id, f"{_millimetres(record.ras_spacing_mm)} mm")
        for record, far in zip(records, (gap > limit).any(axis=1), strict=True)
        if far
    ]
    yield from _if_any(
        "spacing",
        "warning",
        wrong,
        f"The spacing of an image is far from the median ({_millimetres(tuple(np.exp(middle)))} mm)",
        "Look whether the header is right: a wrong spacing spoils volumes and distances.",
    )


def _constant_images(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    whole = [(record.id, "") for record in _scans(fingerprint) if _constant(record)]
    volumes = {record.id for record in _scans(fingerprint) if len(record.shape) == 3}
    what = "An image has the same intensity everywhere"
    mend = "Replace the file by an intact copy or take the case out."
    yield from _if_any("constant-image", "error", [item for item in whole if item[0] in volumes], what, mend)
    yield from _if_any(
        "constant-image", "note", [item for item in whole if item[0] not in volumes], what, mend
    )
    partly = [
        (record.id, ", ".join(name for name, channel in zip(fingerprint.channels, record.channels, strict=False)
                              if channel.minimum == channel.maximum))
        for record in _scans(fingerprint)
        if not _constant(record) and any(channel.minimum == channel.maximum for channel in record.channels)
    ]  # fmt: skip
    yield from _if_any(
        "constant-channel",
        "warning",
        partly,
        "A channel has the same intensity everywhere",
        "Replace its file by an intact copy, or take the case out.",
    )


def _duplicates(dataset: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    annotated = {case.id for case in dataset.cases if case.label is not None}
    patients = {record.id: record.patient for record in fingerprint.cases}
    for group in duplicate_groups(fingerprint):
        own = [name for name in group if name in annotated]
        message = f"{_listed(group)} are the same scan, voxel for voxel."
        if len(own) > 1:
            count = "both" if len(own) == len(group) == 2 else str(len(own))
            message += f" {count.capitalize()} are annotated: how far they agree is what a human reaches."
        one_patient = len({patients[name] for name in group}) == 1
        yield Finding(
            kind="duplicate",
            severity="note" if one_patient else "warning",
            cases=group,
            message=message,
            mend="They are kept on one side of every split; keep one of them if two are not wanted.",
        )


def _known_scans(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    """A scan without a label, to test on, that is an annotated one."""
    annotated: dict[str, list[str]] = {}
    for record in fingerprint.cases:
        annotated.setdefault(record.image_digest, []).append(record.id)
    for record in fingerprint.unlabelled:
        same = annotated.get(record.image_digest, [])
        if same and not _constant(record):
            yield Finding(
                kind="duplicate",
                severity="warning",
                cases=(record.id, *same),
                message=f"The scan without a label {record.id} is the same as the annotated {_listed(same)}, "
                "voxel for voxel.",
                mend="Take it out if models are tested on it: they know it from their training.",
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
    _duplicates,
    _known_scans,
    _orientations,
    _spacings,
)


def _scans(fingerprint: Fingerprint) -> tuple[CaseRecord, ...]:
    """All scans, annotated or not."""
    return fingerprint.cases + fingerprint.unlabelled


# --- words -------------------------------------------------------------------------------------------------


def _if_any(
    kind: str, severity: Severity, items: Sequence[tuple[str, str]], what: str, mend: str
) -> Iterable[Finding]:
    """`items` are (case id, detail or ''). A few errors are told one by one, all else in one finding."""
    single = severity == "error" and len(items) <= _NAMED
    for part in [[item] for item in items] if single else [items] if items else []:
        named = [f"{name} ({detail})" if detail else name for name, detail in part]
        where = "case" if len(part) == 1 else f"{len(part)} cases:"
        yield Finding(
            kind=kind,
            severity=severity,
            cases=tuple(name for name, _ in part),
            message=f"{what}, in {where} {_listed(named)}.",
            mend=mend,
        )


def _listed(names: Sequence[str]) -> str:
    """Names in a row, the first few of many.

    >>> _listed(["a", "b", "c"])
    'a, b and c'
    """
    if len(names) > _NAMED:
        return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _constant(record: CaseRecord) -> bool:
    return all(channel.minimum == channel.maximum for channel in record.channels)


def _usual(values: Iterable[Value]) -> Value | None:
    """The most frequent value; of equally frequent ones the first."""
    counted = Counter(values)
    return counted.most_common(1)[0][0] if counted else None


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" + ("s" if count != 1 else "")


def _times(shape: Sequence[int]) -> str:
    return "x".join(str(size) for size in shape)


def _millimetres(spacing: Sequence[float]) -> str:
    return "x".join(f"{value:.3g}" for value in spacing)
