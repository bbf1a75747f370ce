"""Voxels that are not finite, and images or channels of one intensity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from vesal.audit.defect import Fix
from vesal.audit.editable_case import CannotFix, EditableCase, FixResult, NothingToFix
from vesal.audit.finding import CaseDetails, Finding, Severity, find_in
from vesal.audit.reference_cases import ReferenceCases
from vesal.data.fingerprint import CaseRecord
from vesal.text import plural

#: Of the voxels: where more are not finite a case cannot be fixed, or somebody should look.
_MOST_LOST, _LOOK = 0.5, 0.01


def find_not_finite(cases: ReferenceCases) -> Iterable[Finding]:
    yield from find_in(
        "not-finite",
        "error",
        "An image holds NaN or infinite voxels",
        "Replace them by the background's intensity, or export the scan again.",
        {record.id: plural(record.nan_voxels, "voxel") for record in cases.scans if record.nan_voxels > 0},
    )


def is_constant(record: CaseRecord) -> bool:
    """Whether all channels have one intensity each."""
    return all(channel.minimum == channel.maximum for channel in record.channels)


def find_constant_images(cases: ReferenceCases) -> Iterable[Finding]:
    constant: dict[Severity, CaseDetails] = {"error": {}, "note": {}}
    for record in cases.scans:
        if is_constant(record):
            constant["error" if len(record.shape) == 3 else "note"][record.id] = ""
    for severity, found in constant.items():
        yield from find_in(
            "constant-image",
            severity,
            "An image has the same intensity everywhere",
            "Replace the file by an intact copy or take the case out.",
            found,
        )


def find_constant_channels(cases: ReferenceCases) -> Iterable[Finding]:
    found: CaseDetails = {}
    for record in cases.scans:
        constant = [
            name
            for name, channel in zip(cases.fingerprint.channels, record.channels, strict=False)
            if channel.minimum == channel.maximum
        ]
        if constant and not is_constant(record):
            found[record.id] = ", ".join(constant)
    yield from find_in(
        "constant-channel",
        "warning",
        "A channel has the same intensity everywhere",
        "Replace its file by an intact copy, or take the case out.",
        found,
    )


def fix_not_finite(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """NaN and infinite voxels become the least finite value of their channel, which is the background's as a rule."""
    array = case.image.array
    bad = ~np.isfinite(array) if array.dtype.kind == "f" else np.zeros(array.shape, dtype=bool)
    count = int(bad.sum())
    if not count:
        raise NothingToFix("all voxels are finite")
    fixed, values = array.copy(), []
    for channel, wrong in zip(fixed, bad, strict=True):
        if wrong.all():
            raise CannotFix("a channel holds no finite voxel")
        values.append(float(channel[~wrong].min()))
        channel[wrong] = values[-1]
    share = count / array.size
    if share > _MOST_LOST:
        raise CannotFix(f"{share:.0%} of its voxels are NaN or infinite")
    return FixResult(
        case.with_image(fixed),
        f"{count:,} of {array.size:,} voxels are NaN or infinite",
        f"they were replaced by the least finite value of their channel ({', '.join(f'{v:g}' for v in values)})",
        {"voxels": count, "values": values},
        look=share > _LOOK,
    )


FIND = (find_not_finite, find_constant_images, find_constant_channels)
FIX = {
    "not-finite": Fix(fix_not_finite),
    "constant-image": Fix(left_out="the image has one intensity everywhere"),
}
