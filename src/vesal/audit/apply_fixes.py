"""From findings to fixes: what is done about each defect of each case, and which cases are left out.

A case whose error cannot be fixed is left out of the fixed copy; one with a mere warning stays in it, and both are
named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from vesal.audit.checks import FIX_ORDER, fix_of
from vesal.audit.defects import duplicates
from vesal.audit.editable_case import CannotFix, EditableCase, NothingToFix, changed_files, open_case
from vesal.audit.finding import Finding
from vesal.audit.reference_cases import ReferenceCases
from vesal.data.dataset import Case, Dataset
from vesal.errors import VesalError
from vesal.record import Record
from vesal.volume.volume import Volume

Outcome = Literal["fixed", "left out", "kept"]


class FixRecord(Record):
    """What became of one defect of one case.

    Attributes:
        case: its id; '' where the data set as a whole is meant.
        kind: of the finding.
        outcome: 'fixed'; 'left out' of the fixed copy; 'kept' as it is.
        wrong, numbers, look: as in `FixResult`.
        done: what was done, or why nothing was.
        files: that were written anew, below the data set's folder.
    """

    case: str
    kind: str
    outcome: Outcome
    wrong: str
    done: str
    files: tuple[str, ...] = ()
    numbers: dict[str, Any] = Field(default_factory=dict)
    look: bool = False


@dataclass(frozen=True)
class FixPlan:
    """What is to be done.

    Attributes:
        findings: of each case that goes into the fixed copy, each of this case alone, in the order of FIX_ORDER.
        left_out: cases that cannot go into it, by id.
        kept: defects that nothing is done about.
        defective: all cases that something is wrong with.
    """

    findings: Mapping[str, tuple[Finding, ...]]
    left_out: Mapping[str, FixRecord]
    kept: tuple[FixRecord, ...]
    defective: frozenset[str]


class FixedCase(NamedTuple):
    """One case after its fixes, a record for each defect; `files` replace its own, None where it is left out."""

    records: tuple[FixRecord, ...]
    files: Mapping[Path, Volume] | None


def plan_fixes(
    dataset: Dataset,
    findings: Sequence[Finding],
    more: Iterable[Finding] = (),
    voxels: Mapping[str, int] | None = None,
) -> FixPlan:
    """What is to be done about each finding, case by case. Nothing is read.

    Args:
        dataset, findings: of the data set to be fixed.
        more: defects that are none for Vesal, but for the readers of the layout or of the copy (`with_4d_files`,
            `declared_soft_masks`); they make no case defective.
        voxels: of each scan: of a scan and a piece cut from it the whole one stays.
    """
    left_out: dict[str, FixRecord] = {}
    to_fix: dict[str, list[Finding]] = {}
    kept: list[FixRecord] = []
    for finding in findings:
        fix = fix_of(finding.kind)
        for name in finding.cases or ("",):
            if fix.apply is not None:
                to_fix.setdefault(name, []).append(finding.only(name))
            elif finding.severity == "note" or finding.kind in duplicates.KINDS:
                continue
            elif fix.left_out:
                left_out.setdefault(name, _left_out(finding, name, fix.left_out))
            elif finding.severity == "error" and name:
                kept.append(_left_out(finding, name, "no program can fix it"))
            else:
                kept.append(_record(finding, name, "kept", "nothing: no program can fix it"))
    for name, (finding, why) in duplicates.leaks(findings).items():
        left_out.setdefault(name, _left_out(finding, name, why))
    defective = frozenset([*to_fix, *left_out])
    for finding in more:
        for name in finding.cases:
            if finding.kind == "4d-file":
                left_out.pop(name, None)
            to_fix.setdefault(name, []).append(finding.only(name))
    known = {case.id for case in dataset.cases + dataset.unlabelled}
    in_order = {name: _in_order(to_fix[name]) for name in to_fix if name not in left_out and name in known}
    copies = duplicates.copies(dataset, findings, defective, left_out, voxels or {})
    left_out |= {name: _left_out(finding, name, why) for name, (finding, why) in copies.items()}
    return FixPlan(
        findings={name: found for name, found in in_order.items() if name not in left_out},
        left_out=left_out,
        kept=tuple(kept),
        defective=defective,
    )


def _in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    unique = {(one.kind, repr(sorted(one.details.items()))): one for one in findings}
    return tuple(sorted(unique.values(), key=lambda one: FIX_ORDER.index(one.kind)))


def _record(finding: Finding, case: str, outcome: Outcome, done: str) -> FixRecord:
    return FixRecord(case=case, kind=finding.kind, outcome=outcome, wrong=finding.about(case), done=done)


def _left_out(finding: Finding, case: str, why: str) -> FixRecord:
    return _record(finding, case, "left out", f"left out: {why}")


def fix_case(case: Case, findings: Sequence[Finding], others: ReferenceCases, root: Path) -> FixedCase:
    """Read a case, fix what can be fixed, and record what became of each defect. Nothing is written.

    The findings are of this case alone, in the order of FIX_ORDER; files are named below `root`.
    """
    try:
        before = open_case(case)
    except (VesalError, OSError, MemoryError) as error:
        finding = _of_case(case, "unreadable", (str(error) or type(error).__name__).removesuffix("."))
        return FixedCase((_left_out(finding, case.id, fix_of(finding.kind).left_out),), None)
    after, records = before, list[FixRecord]()
    for finding in _with_opened(before, findings):
        fix = fix_of(finding.kind)
        assert fix.apply is not None
        try:
            result = fix.apply(after, finding.details.get(case.id, {}), others)
        except NothingToFix as reason:
            so_far = "nothing more" if any(record.outcome == "fixed" for record in records) else "nothing"
            records.append(_record(finding, case.id, "kept", f"{so_far}: {reason}"))
        except CannotFix as reason:
            if finding.severity == "error" or fix.required:
                return FixedCase((*records, _left_out(finding, case.id, str(reason))), None)
            records.append(_record(finding, case.id, "kept", f"nothing: {reason}"))
        else:
            files = tuple(
                path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
                for path in changed_files(after, result.case)
            )
            update = {"wrong": result.wrong, "files": files, "numbers": result.numbers, "look": result.look}
            records.append(_record(finding, case.id, "fixed", result.done).model_copy(update=update))
            after = result.case
    if (misfit := _misfit(records, after, others)) is not None:
        return FixedCase((*records, misfit), None)
    return FixedCase(tuple(records), changed_files(before, after))


def _of_case(case: Case, kind: str, what: str) -> Finding:
    return Finding(kind=kind, severity="error", cases=(case.id,), what=what, fix="")


def _with_opened(opened: EditableCase, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """What made a case unreadable, now that it was read: a label of other than whole numbers, channels apart."""
    found = []
    for kind, there in (("label-values", opened.fractions is not None), ("channel-grid", bool(opened.apart))):
        if there:
            known = (one.what for one in findings if one.kind in ("unreadable", kind))
            found.append(_of_case(opened.case, kind, next(known, f"A {kind}")))
    kinds = {"unreadable", *(finding.kind for finding in found)} if found else set()
    return _in_order([*(finding for finding in findings if finding.kind not in kinds), *found])


def _misfit(records: Sequence[FixRecord], after: EditableCase, others: ReferenceCases) -> FixRecord | None:
    """Why a case is left out, though its label was fixed: it fits its image worse than any sound case's."""
    fixed = [record for record in records if record.outcome == "fixed" and fix_of(record.kind).verified]
    if not fixed or all(record.kind == "label-grid" and not record.look for record in fixed):
        return None
    distance, limit = others.distance(after), others.limit
    if distance is None or limit is None or distance <= limit:
        return None
    return FixRecord(
        case=after.case.id,
        kind=fixed[-1].kind,
        outcome="left out",
        wrong="even when fixed the label does not fit its image",
        done=f"left out: its distance from the other cases is {distance:.2f}, of sound ones at most {limit:.2f}",
        numbers={"distance": distance, "limit": limit},
    )


def with_consequences(records: Sequence[FixRecord], remaining: Sequence[Finding]) -> tuple[FixRecord, ...]:
    """The records, with kept defects that are not found in the fixed copy as fixed by the other fixes of their case.

    A spacing in centimetres, say, makes a volume that is far too small.
    """
    there = {(name, finding.kind) for finding in remaining for name in finding.cases}
    fixed = {record.case for record in records if record.outcome == "fixed"}
    gone = {"outcome": "fixed", "done": "it went with the other fixes of this case"}
    return tuple(
        record.model_copy(update=gone)
        if record.outcome == "kept" and record.case in fixed and (record.case, record.kind) not in there
        else record
        for record in records
    )
