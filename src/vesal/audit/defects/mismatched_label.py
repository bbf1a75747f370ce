"""A label that is another scan's: two labels that were exchanged, or one label map on several scans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from vesal.audit.defect import Fix
from vesal.audit.defects.duplicates import duplicate_groups
from vesal.audit.editable_case import CannotFix, EditableCase, FixResult, NothingToFix, open_case
from vesal.audit.finding import Finding
from vesal.audit.reference_cases import BETTER, ReferenceCases
from vesal.audit.similarity import FEWEST_CASES
from vesal.data.fingerprint import CaseRecord
from vesal.errors import VesalError
from vesal.text import listed

#: Labels of fewer voxels may be alike by chance.
_FEWEST_VOXELS = 50


def exchanged_shapes(cases: ReferenceCases) -> list[tuple[CaseRecord, CaseRecord]]:
    """Pairs of cases of which each label has the shape of the other's image."""
    odd = [each for each in cases.fingerprint.cases if each.label_shape not in (None, each.shape)]
    return [(a, b) for a, b in combinations(odd, 2) if (a.shape, b.shape) == (b.label_shape, a.label_shape)]


def find_exchanged_shapes(cases: ReferenceCases) -> Iterable[Finding]:
    for a, b in exchanged_shapes(cases):
        yield Finding(
            kind="mismatched-label",
            severity="error",
            cases=(a.id, b.id),
            what=f"The label of {a.id} has the shape of the image of {b.id}, and the other way round",
            fix="Look whether their images or labels have changed places; if so, change them back.",
            details={a.id: {"of": [b.id]}, b.id: {"of": [a.id]}},
        )


def find_same_labels(cases: ReferenceCases) -> Iterable[Finding]:
    """One label map on two different scans: one of them has the other's.

    Sequences and phases of one patient may well share one. Where most cases do, that is how the data set is: scans of
    patients whom no name tells, or landmarks drawn as balls.
    """
    groups: dict[str, list[CaseRecord]] = {}
    for record, label in cases.labelled:
        if len(record.shape) == 3:
            groups.setdefault(label.digest, []).append(record)
    alike = [group for group in groups.values() if len(group) > 1]
    if len(cases.labelled) >= FEWEST_CASES and 2 * sum(map(len, alike)) > len(cases.labelled):
        return
    together = [set(group) for group in duplicate_groups(cases.fingerprint)] if alike else []
    for group in alike:
        names = [record.id for record in group]
        small = sum(group[0].voxels.values()) < _FEWEST_VOXELS
        one_patient = len({record.patient for record in group}) == 1
        if not small and not one_patient and not any(set(names) <= one for one in together):
            yield Finding(
                kind="mismatched-label",
                severity="warning",
                cases=tuple(names),
                what=f"{listed(names, last=' and ')} are different scans with the same label map, voxel for voxel",
                fix="Look which scan it belongs to, and restore the label of the other or take that case out.",
                details={name: {"of": [other for other in names if other != name]} for name in names},
            )


def fix_mismatched_label(case: EditableCase, details: Mapping[str, Any], others: ReferenceCases) -> FixResult:
    """Two cases whose labels were exchanged get them back; of scans with one label map the one that it clearly fits
    keeps it."""
    partners = [_opened(name, others) for name in details.get("of", ())]
    own = others.distance(case)
    if len(partners) == 1 and (back := _exchanged_back(case, partners[0], own, others)) is not None:
        return back
    theirs = [None if partner is None else others.distance(partner) for partner in partners]
    known = [distance for distance in theirs if distance is not None]
    if own is None or not known or len(known) < len(theirs):
        raise CannotFix("which scan the label belongs to cannot be measured")
    if own <= BETTER * min(known) and own <= (others.limit or np.inf):
        raise NothingToFix(
            f"of these scans this is the one that its label fits (distance from the other cases {own:.2f}, of the "
            f"other scan {min(known):.2f})"
        )
    raise CannotFix(
        f"the label does not fit this scan clearly better than the other one ({own:.2f} and {min(known):.2f})"
    )


def _opened(name: str, others: ReferenceCases) -> EditableCase | None:
    case = others.case(name)
    try:
        return None if case is None else open_case(case)
    except (VesalError, OSError):
        return None


def _exchanged_back(
    first: EditableCase, second: EditableCase | None, own: float | None, others: ReferenceCases
) -> FixResult | None:
    """With the other case's label, where both cases fit clearly better so."""
    if second is None or first.label is None or second.label is None or others.limit is None:
        return None
    back = first.with_label(second.label.array, second.label.geometry)
    there = second.with_label(first.label.array, first.label.geometry)
    distances = [(own, others.distance(back)), (others.distance(second), others.distance(there))]
    for before, after in distances:
        if after is None or after > others.limit or (before is not None and after > BETTER * before):
            return None
    after = distances[0][1]
    was = "not measurable, for the shapes differ" if own is None else f"{own:.2f}"
    return FixResult(
        back,
        f"its label is that of {second.case.id}, and the other way round",
        f"the two labels were exchanged (distance from the other cases {was}, now {after:.2f})",
        {"with": second.case.id, "distance_before": own, "distance_after": after},
        look=True,
    )


#: The check of shapes is a part of that of `label_grid`.
FIND = (find_same_labels,)
FIX = {"mismatched-label": Fix(fix_mismatched_label, required=True)}
