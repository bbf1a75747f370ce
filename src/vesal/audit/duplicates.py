"""Scans that are one scan, or nearly: the same voxels, one cut from the other, saved with other intensities or finer.

What is compared is in the fingerprint; no file is read again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from vesal.audit.finding import Finding, listed
from vesal.data.case_features import unpack
from vesal.data.dataset import Dataset
from vesal.data.fingerprint import CaseRecord, Fingerprint
from vesal.data.minhash import MARKS, marks

#: Marks of 64 that two scans share before one counts as cut from the other: of different patients, and of one. Of
#: 26,000 pairs of real scans of different patients none shares more than 1; scans of one patient at two times share
#: up to 12; crops of a fifth, and copies in 8 bits, 23 and more.
_SHARED = {False: 8, True: 24}

#: Of two small pictures: 1 - correlation below this, and below this share of what is usual between a scan and the one
#: that is most like it. Resampled copies reach 0.05, of small scans 0.025; the nearest two real scans of different
#: patients 0.1.
_APART = 0.05
_APART_USUAL = 0.2
_PICTURES = 5000  # scans among which pictures are compared; the marks are among any number

#: A mark that so many scans have says nothing.
_COMMON = 50


@dataclass(frozen=True)
class Twins:
    """Two scans that are nearly one, and why: `shared` marks of 64, or the `correlation` of their pictures."""

    first: str
    second: str
    shared: int
    correlation: float


def duplicate_groups(fingerprint: Fingerprint) -> tuple[tuple[str, ...], ...]:
    """Case ids that a split must keep on one side: with identical voxels, or nearly one scan.

    Headers do not count; constant images, such as empty slices, are no scans.
    """
    pairs = [(twins.first, twins.second) for twins in near_duplicates(fingerprint.cases)]
    return identical_groups(fingerprint) + tuple(pairs)


def identical_groups(fingerprint: Fingerprint) -> tuple[tuple[str, ...], ...]:
    """Case ids with identical voxels, whatever their headers say; constant images, such as empty slices, are none."""
    groups: dict[str, list[str]] = {}
    for record in fingerprint.cases:
        if not is_constant(record):
            groups.setdefault(record.image_digest, []).append(record.id)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def is_constant(record: CaseRecord) -> bool:
    """Whether all channels have one intensity each."""
    return all(channel.minimum == channel.maximum for channel in record.channels)


def near_duplicates(records: Sequence[CaseRecord]) -> tuple[Twins, ...]:
    """Pairs of scans that are nearly one, but not voxel for voxel."""
    known = [record for record in records if record.case_features is not None and not is_constant(record)]
    found = {(twins.first, twins.second): twins for twins in [*_alike(known), *_cut(known)]}
    digests = {record.id: record.image_digest for record in known}
    return tuple(twins for pair, twins in found.items() if digests[pair[0]] != digests[pair[1]])


def _cut(records: Sequence[CaseRecord]) -> Iterable[Twins]:
    """By shared marks."""
    holders: dict[int, list[int]] = {}
    for index, record in enumerate(records):
        for mark in marks(record.case_features.minhash).tolist() if record.case_features else ():
            holders.setdefault(mark, []).append(index)
    shared = Counter(
        pair for group in holders.values() if 1 < len(group) <= _COMMON for pair in combinations(group, 2)
    )
    for (a, b), count in shared.items():
        if count >= _SHARED[records[a].patient == records[b].patient]:
            yield Twins(records[a].id, records[b].id, count, 0.0)


def _alike(records: Sequence[CaseRecord]) -> Iterable[Twins]:
    """By their small pictures, of different patients alone: scans of one patient are alike as a rule."""
    sizes = Counter((len(record.channels), len(record.shape)) for record in records)
    if not sizes:
        return
    usual = sizes.most_common(1)[0][0]
    same = [
        each for each in records if (len(each.channels), len(each.shape)) == usual and len(each.shape) == 3
    ]
    if not 3 <= len(same) <= _PICTURES:
        return
    pictures = np.stack([unpack(record.case_features.picture) for record in same if record.case_features])
    pictures -= pictures.mean(axis=1, keepdims=True)
    pictures /= np.maximum(np.linalg.norm(pictures, axis=1, keepdims=True), 1e-9)
    apart = 1 - pictures @ pictures.T
    patients = np.array([record.patient for record in same])
    apart[patients[:, None] == patients[None]] = 2.0
    nearest = apart.min(axis=1)
    limit = min(_APART, _APART_USUAL * float(np.median(nearest)))
    for a, b in np.argwhere(np.triu(apart < limit, 1)).tolist():
        yield Twins(same[a].id, same[b].id, 0, float(1 - apart[a, b]))


# --- findings ----------------------------------------------------------------------------------------------


def _duplicates(dataset: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    annotated = {case.id for case in dataset.cases if case.label is not None}
    patients = {record.id: record.patient for record in fingerprint.cases}
    for group in identical_groups(fingerprint):
        own = [name for name in group if name in annotated]
        message = f"{listed(group)} are the same scan, voxel for voxel."
        if len(own) > 1:
            count = "both" if len(own) == len(group) == 2 else str(len(own))
            message += f" {count.capitalize()} are annotated: how far they agree is what a human reaches."
        one_patient = len({patients[name] for name in group}) == 1
        yield Finding(
            kind="duplicate",
            severity="note" if one_patient else "warning",
            cases=group,
            message=message,
            fix="They are kept on one side of every split; keep one of them if two are not wanted.",
            details={name: {"of": group[0]} for name in group[1:]},
        )


def _known_scans(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    """A scan without a label, to test on, that is an annotated one."""
    annotated: dict[str, list[str]] = {}
    for record in fingerprint.cases:
        annotated.setdefault(record.image_digest, []).append(record.id)
    for record in fingerprint.unlabelled:
        same = annotated.get(record.image_digest, [])
        if same and not is_constant(record):
            yield Finding(
                kind="duplicate",
                severity="warning",
                cases=(record.id, *same),
                message=f"The scan without a label {record.id} is the same as the annotated {listed(same)}, "
                "voxel for voxel.",
                fix="Take it out if models are tested on it: they know it from their training.",
                details={record.id: {"of": same[0]}},
            )


def _near_duplicates(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    records = {record.id: record for record in (*fingerprint.cases, *fingerprint.unlabelled)}
    tests = {record.id for record in fingerprint.unlabelled}
    for twins in near_duplicates(tuple(records.values())):
        pair = (twins.first, twins.second)
        if twins.shared:
            why = f"they share {twins.shared} of {MARKS} marks of local patterns, as a crop or another file type does"
        else:
            why = f"seen small they correlate by {twins.correlation:.3f}, as a resampled copy does"
        one_patient = records[pair[0]].patient == records[pair[1]].patient
        fix = "They are kept on one side of every split; keep one of them if two are not wanted."
        if len(tests & set(pair)) == 1:
            fix = "Take the one without a label out if models are tested on it: they know it from their training."
        yield Finding(
            kind="near-duplicate",
            severity="note" if one_patient else "warning",
            cases=pair,
            message=f"{pair[0]} and {pair[1]} are nearly the same scan: {why}.",
            fix=fix,
            details={pair[1]: {"of": pair[0]}},
        )


def _patient_leaks(dataset: Dataset, _: Fingerprint) -> Iterable[Finding]:
    """A patient who is both trained and tested on."""
    trained: dict[str, list[str]] = {}
    for case in dataset.cases:
        trained.setdefault(case.patient, []).append(case.id)
    for test in dataset.unlabelled:
        if same := trained.get(test.patient, []):
            yield Finding(
                kind="patient-leak",
                severity="warning",
                cases=(test.id, *same),
                message=f"The scan without a label {test.id} is of the same patient ({test.patient}) as the "
                f"annotated {listed(same)}.",
                fix="Take it out if models are tested on it, or train without that patient.",
                details={test.id: {"of": same[0]}},
            )


def _same_labels(_: Dataset, fingerprint: Fingerprint) -> Iterable[Finding]:
    """One label map on two different scans: one of them has the other's."""
    groups: dict[str, list[CaseRecord]] = {}
    for record in fingerprint.cases:
        if (
            record.case_features is not None
            and record.case_features.label is not None
            and len(record.shape) == 3
        ):
            groups.setdefault(record.case_features.label.digest, []).append(record)
    alike = [group for group in groups.values() if len(group) > 1]
    together = [set(group) for group in duplicate_groups(fingerprint)] if alike else []
    for group in alike:
        names = [record.id for record in group]
        small = sum(group[0].voxels.values()) < _FEWEST_VOXELS
        if not small and not any(set(names) <= one for one in together):
            yield Finding(
                kind="mismatched-label",
                severity="warning",
                cases=tuple(names),
                message=f"{listed(names)} are different scans with the same label map, voxel for voxel.",
                fix="Look which scan it belongs to, and restore the label of the other or take that case out.",
            )


#: Labels of fewer voxels may be alike by chance.
_FEWEST_VOXELS = 50

CHECKS: tuple[Callable[[Dataset, Fingerprint], Iterable[Finding]], ...] = (
    _duplicates,
    _known_scans,
    _near_duplicates,
    _patient_leaks,
    _same_labels,
)
