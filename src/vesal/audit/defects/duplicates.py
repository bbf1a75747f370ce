"""Scans that are one scan, or nearly: the same voxels, one cut from the other, saved with other intensities or finer.

What is compared is in the fingerprint; no file is read again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np

from vesal.audit.defect import Fix
from vesal.audit.defects.intensities import is_constant
from vesal.audit.finding import Finding
from vesal.audit.reference_cases import ReferenceCases
from vesal.data.case_features import unpack
from vesal.data.dataset import Dataset
from vesal.data.fingerprint import CaseRecord, Fingerprint
from vesal.data.minhash import MARKS, marks
from vesal.text import listed

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


def duplicate_groups(fingerprint: Fingerprint) -> tuple[tuple[str, ...], ...]:
    """Case ids that a split must keep on one side: with identical voxels, or nearly one scan.

    Headers do not count; constant images, such as empty slices, are no scans.
    """
    return identical_groups(fingerprint) + tuple(near_duplicates(fingerprint.cases))


def identical_groups(fingerprint: Fingerprint) -> tuple[tuple[str, ...], ...]:
    """Case ids with identical voxels, whatever their headers say; constant images, such as empty slices, are none."""
    groups = _ids_by(
        (record.image_digest, record.id) for record in fingerprint.cases if not is_constant(record)
    )
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _ids_by(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """(key, id) pairs -> the ids of each key."""
    groups = defaultdict[str, list[str]](list)
    for key, name in pairs:
        groups[key].append(name)
    return groups


def near_duplicates(records: Sequence[CaseRecord]) -> dict[tuple[str, str], str]:
    """Pairs of scans that are nearly one, but not voxel for voxel, and why."""
    known = [record for record in records if record.case_features is not None and not is_constant(record)]
    digests = {record.id: record.image_digest for record in known}
    found = dict([*_alike(known), *_cut(known)])
    return {pair: why for pair, why in found.items() if digests[pair[0]] != digests[pair[1]]}


def _cut(records: Sequence[CaseRecord]) -> Iterable[tuple[tuple[str, str], str]]:
    """By shared marks."""
    holders = defaultdict[int, list[int]](list)
    for index, record in enumerate(records):
        for mark in marks(record.case_features.minhash).tolist() if record.case_features else ():
            holders[mark].append(index)
    shared = Counter(
        pair for group in holders.values() if 1 < len(group) <= _COMMON for pair in combinations(group, 2)
    )
    for (a, b), count in shared.items():
        if count >= _SHARED[records[a].patient == records[b].patient]:
            why = (
                f"they share {count} of {MARKS} marks of local patterns, as a crop or another file type does"
            )
            yield (records[a].id, records[b].id), why


def _alike(records: Sequence[CaseRecord]) -> Iterable[tuple[tuple[str, str], str]]:
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
        why = f"seen small they correlate by {float(1 - apart[a, b]):.3f}, as a resampled copy does"
        yield (same[a].id, same[b].id), why


# --- findings ----------------------------------------------------------------------------------------------

_ONE_SIDE = "They are kept on one side of every split; keep one of them if two are not wanted."
_KNOWN = "Take {} out if models are tested on it: they know it from their training."


def find_duplicates(cases: ReferenceCases) -> Iterable[Finding]:
    annotated = {case.id for case in cases.dataset.cases if case.label is not None}
    patients = {record.id: record.patient for record in cases.fingerprint.cases}
    for group in identical_groups(cases.fingerprint):
        own = [name for name in group if name in annotated]
        what = f"{listed(group, last=' and ')} are the same scan, voxel for voxel"
        if len(own) > 1:
            count = "both" if len(own) == len(group) == 2 else str(len(own))
            what += f". {count.capitalize()} are annotated: how far they agree is what a human reaches"
        yield Finding(
            kind="duplicate",
            severity="note" if len({patients[name] for name in group}) == 1 else "warning",
            cases=group,
            what=what,
            fix=_ONE_SIDE,
            details={name: {"of": group[0]} for name in group[1:]},
        )


def find_known_scans(cases: ReferenceCases) -> Iterable[Finding]:
    """A scan without a label, to test on, that is an annotated one."""
    annotated = _ids_by((record.image_digest, record.id) for record in cases.fingerprint.cases)
    for record in cases.fingerprint.unlabelled:
        if not is_constant(record) and (same := annotated.get(record.image_digest)):
            yield _tested(
                "duplicate", record.id, same, "is the same as", ", voxel for voxel", _KNOWN.format("it")
            )


def _tested(kind: str, test: str, same: list[str], how: str, end: str, fix: str) -> Finding:
    """A scan without a label that is `how` the annotated ones `same`."""
    return Finding(
        kind=kind,
        severity="warning",
        cases=(test, *same),
        what=f"The scan without a label {test} {how} the annotated {listed(same, last=' and ')}{end}",
        fix=fix,
        details={test: {"of": same[0]}},
    )


def find_near_duplicates(cases: ReferenceCases) -> Iterable[Finding]:
    patients = {record.id: record.patient for record in cases.scans}
    tests = {record.id for record in cases.fingerprint.unlabelled}
    for pair, why in near_duplicates(cases.scans).items():
        yield Finding(
            kind="near-duplicate",
            severity="note" if patients[pair[0]] == patients[pair[1]] else "warning",
            cases=pair,
            what=f"{pair[0]} and {pair[1]} are nearly the same scan: {why}",
            fix=_KNOWN.format("the one without a label") if len(tests & set(pair)) == 1 else _ONE_SIDE,
            details={pair[1]: {"of": pair[0]}},
        )


def find_patient_leaks(cases: ReferenceCases) -> Iterable[Finding]:
    """A patient who is both trained and tested on."""
    trained = _ids_by((case.patient, case.id) for case in cases.dataset.cases)
    for test in cases.dataset.unlabelled:
        if same := trained.get(test.patient):
            how = f"is of the same patient ({test.patient}) as"
            fix = "Take it out if models are tested on it, or train without that patient."
            yield _tested("patient-leak", test.id, same, how, "", fix)


# --- what the fixed copy goes without ----------------------------------------------------------------------

#: Kinds of which all findings together tell which cases are left out: by `leaks` and `copies`.
KINDS = ("duplicate", "near-duplicate", "patient-leak")


def leaks(findings: Sequence[Finding]) -> dict[str, tuple[Finding, str]]:
    """Scans without a label of trained patients: id -> the finding, and why the scan is left out."""
    found = [finding for finding in findings if finding.kind == "patient-leak"]
    return {finding.cases[0]: (finding, "its patient is trained on") for finding in found}


def copies(
    dataset: Dataset,
    findings: Sequence[Finding],
    defective: Collection[str],
    gone: Collection[str],
    voxels: Mapping[str, int],
) -> dict[str, tuple[Finding, str]]:
    """All but one of the copies of each scan: id -> the finding, and why the copy is left out.

    An annotated one stays before others, then the largest, then one that is not defective, then the first. Copies
    within one patient all stay: every split keeps them on one side.

    Args:
        dataset, findings: of all kinds.
        defective: cases with another defect.
        gone: cases that are left out already.
        voxels: of each scan.
    """
    annotated = {case.id for case in dataset.cases}
    place = {case.id: rank for rank, case in enumerate(dataset.cases + dataset.unlabelled)}
    found = {}
    for members, finding in _groups(findings):
        present = sorted((members & set(place)).difference(gone), key=place.__getitem__)
        if not present:
            continue
        stays = min(
            present, key=lambda name: (name not in annotated, -voxels.get(name, 0), name in defective, name)
        )
        for name in present:
            if name != stays:
                found[name] = (finding, f"it is the same scan as {stays}, which stays")
    return found


def _groups(findings: Sequence[Finding]) -> list[tuple[set[str], Finding]]:
    """Cases that are one scan, joined over all findings of copies, and the first of these."""
    groups: list[tuple[set[str], Finding]] = []
    for finding in findings:
        if finding.kind not in ("duplicate", "near-duplicate") or finding.severity == "note":
            continue
        members, first = set(finding.cases), finding
        for group in [group for group in groups if group[0] & members]:
            members, first = members | group[0], group[1]
            groups.remove(group)
        groups.append((members, first))
    return groups


FIND = (find_duplicates, find_known_scans, find_near_duplicates, find_patient_leaks)
FIX: dict[str, Fix] = {}
