"""Files that are missing or cannot be read, and images with other axes or channels than the data set's."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from vesal.audit.defect import Fix
from vesal.audit.editable_case import CannotFix, EditableCase, FixResult, NothingToFix
from vesal.audit.finding import Finding, find_in
from vesal.audit.reference_cases import ReferenceCases
from vesal.data.dataset import Case, Dataset
from vesal.errors import VesalError
from vesal.layouts.scan_files import by_stem
from vesal.text import listed, plural, times
from vesal.volume.io import read_volume


def find_missing_partners(cases: ReferenceCases) -> Iterable[Finding]:
    orphans = cases.dataset.orphans
    for missing in dict.fromkeys(orphan.missing for orphan in orphans):
        have = {"label": "An image has no label", "image": "A label has no image"}
        yield from find_in(
            "missing-partner",
            "warning" if missing == "label" else "error",
            have.get(missing, f"A case has no {missing}"),
            "It is left out of training; add the missing file, or move this one out of the folder.",
            {orphan.id: str(orphan.path) for orphan in orphans if orphan.missing == missing},
        )


def find_unreadable(cases: ReferenceCases) -> Iterable[Finding]:
    known = {case.id: case for case in cases.dataset.cases + cases.dataset.unlabelled}
    for failure in cases.fingerprint.failures:
        absent = failure.id in known and not all(path.exists() for path in known[failure.id].files)
        yield Finding(
            kind="missing-file" if absent else failure.kind or "unreadable",
            severity="error",
            cases=(failure.id,),
            what=failure.message.removesuffix("."),
            fix="Restore the file or take the case out of the data set."
            if absent
            else "Replace the file by an intact copy or take the case out of the data set.",
        )


def find_dimensions(cases: ReferenceCases) -> Iterable[Finding]:
    counts = Counter(len(record.shape) for record in cases.scans)
    usual = counts.most_common(1)[0][0] if counts else 3
    yield from find_in(
        "dimension",
        "error",
        f"An image is {5 - usual}D where the others are {usual}D",
        "Look whether the file is a single slice or a stack; keep images of one dimension in a data set.",
        {record.id: times(record.shape) for record in cases.scans if len(record.shape) != usual},
    )


def find_channel_counts(cases: ReferenceCases) -> Iterable[Finding]:
    names = cases.fingerprint.channels
    yield from find_in(
        "channel-count",
        "error",
        f"An image has not the {plural(len(names), 'channel')} that the data set declares ({', '.join(names)})",
        "Add or remove the channel, or correct the declared channels.",
        {
            record.id: plural(len(record.channels), "channel")
            for record in cases.scans
            if len(record.channels) != len(names)
        },
    )


def fix_unreadable(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """A label of other than whole numbers, or channels apart, are found when the case is opened."""
    raise NothingToFix("it can be read")


def fix_channel_count(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """More channels than declared that are all the same, as a gray picture saved in colour: one is kept."""
    expected, array = len(others.dataset.channels), case.image.array
    if len(array) == expected:
        raise NothingToFix("it has as many channels as the others")
    same = all(np.array_equal(array[0], other) for other in array[1:])
    if not (expected == len(case.case.images) == 1 and same):
        raise CannotFix(f"it has {len(array)} channels where {expected} are declared")
    return FixResult(
        case.with_image(array[:1]),
        f"it has {len(array)} channels where the others have one",
        "they are the same to the last voxel, so one was kept",
        {"channels": len(array)},
    )


def fix_channel_grid(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """Channels that lay on different grids, which opening the case has brought onto one."""
    if not case.apart:
        raise NothingToFix("all channels lie on one grid")
    return FixResult(
        case,
        "the channels lie on different grids",
        f"they were brought onto one: {listed(case.apart, len(case.apart))}",
        {"files": list(case.apart)},
        look=any("resampled" in remark for remark in case.apart),
    )


# --- nnU-Net's layout: a 4D file in place of one file a channel ----------------------------------------------


def fix_4d_file(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """All channels in the one file CASE_0000 where nnU-Net has a file for each: split up."""
    channels, expected = case.image.channels, len(others.dataset.channels)
    if len(case.case.images) > 1 or channels == 1 or "_0000" not in case.case.images[0].name:
        raise NothingToFix("each channel has its file")
    if channels != expected:
        raise CannotFix(f"its file holds {channels} channels where {expected} are declared")
    return FixResult(
        replace(case, split=True),
        f"one 4D file holds all {channels} channels where nnU-Net has a file for each",
        f"it was split into {channels} files",
        {"channels": channels},
    )


def with_4d_files(dataset: Dataset) -> tuple[Dataset, list[Finding]]:
    """The data set with the cases of which one 4D file holds all channels, which nnU-Net's layout misses; and these."""
    if dataset.layout != "nnunet" or len(dataset.channels) < 2:
        return dataset, []
    labels = by_stem(dataset.root / "labelsTr")
    rescued = {}
    for orphan in dataset.orphans:
        if orphan.missing.startswith("channel") and orphan.id in labels:
            with contextlib.suppress(VesalError, OSError):
                if read_volume(orphan.path).channels == len(dataset.channels):
                    case = Case(
                        id=orphan.id, images=(orphan.path,), label=labels[orphan.id], patient=orphan.id
                    )
                    rescued[orphan.id] = case
    orphans = tuple(orphan for orphan in dataset.orphans if orphan.id not in rescued)
    cases = (*dataset.cases, *rescued.values())
    whole = dataset.model_copy(update={"cases": cases, "orphans": orphans})
    names = [case.id for case in whole.cases + whole.unlabelled if len(case.images) == 1]
    return whole, list(
        find_in(
            "4d-file", "error", "One 4D file holds all channels", "Split it up.", dict.fromkeys(names, "")
        )
    )


FIND = (find_missing_partners, find_unreadable, find_dimensions, find_channel_counts)
FIX = {
    "missing-partner": Fix(left_out="its image, its label or a channel is missing"),
    "missing-file": Fix(left_out="a file is missing"),
    "unreadable": Fix(fix_unreadable, left_out="its files cannot be read"),
    "dimension": Fix(left_out="the image has another number of axes than the others"),
    "channel-count": Fix(fix_channel_count),
    "channel-grid": Fix(fix_channel_grid),
    "4d-file": Fix(fix_4d_file),
}
