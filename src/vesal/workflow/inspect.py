"""Inspect: what is in a folder of scans and what is wrong with it; and a copy in which what can be fixed is fixed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from vesal.audit.apply_fixes import FixPlan, FixRecord, fix_case, plan_fixes, with_consequences
from vesal.audit.checks import check_dataset
from vesal.audit.defects.case_files import with_4d_files
from vesal.audit.defects.label_values import declared_soft_masks
from vesal.audit.finding import Finding
from vesal.audit.fixed_copy import Places, describe_fixed, places_there, plan_places, write_fixed
from vesal.audit.reference_cases import ReferenceCases
from vesal.data.case import files_of, scan_workers
from vesal.data.dataset import Case, Dataset
from vesal.data.fingerprint import Fingerprint, fingerprint
from vesal.engine.outcome import Engine
from vesal.errors import UsageError, VesalError
from vesal.files import content_hash, expanded, write_json, write_text
from vesal.journal import Journal, JournalEntry, file_stamps
from vesal.layouts.registry import load_dataset
from vesal.outputs import results
from vesal.parallel import Progress, StageProgress, map_in_order, no_progress
from vesal.report.pages.fixes_section import changes_markdown, changes_summary
from vesal.version import __version__
from vesal.volume.io import is_readable

#: The fixed copy's folder below that of the report, and its journal.
FIXED = "fixed"
_JOURNAL = "fixing.jsonl"
_REPORT = ("inspect.json", "inspect.html")
#: What was changed, in the copy's folder: for programs and for people.
_CHANGES, _CHANGES_TEXT = "changes.json", "changes.md"
#: A case is held about so often while it is fixed: as it was, as it is, and on the way.
_COPIES_IN_MEMORY = 4


@dataclass(frozen=True)
class Inspection:
    """The data set, its numbers, its findings, and the page that shows them (None when not written)."""

    dataset: Dataset
    fingerprint: Fingerprint
    findings: tuple[Finding, ...]
    page: Path | None


@dataclass(frozen=True)
class FixSummary:
    """What became of a data set that was fixed.

    Attributes:
        original: the inspection of it, with the report.
        folder: the fixed copy.
        cases: how many are in it.
        records: every defect and what became of it.
        remaining: findings of the fixed copy.
        page: the report.
    """

    original: Inspection
    folder: Path
    cases: int
    records: tuple[FixRecord, ...]
    remaining: tuple[Finding, ...]
    page: Path

    def to_dict(self) -> dict[str, Any]:
        """The summary of the changes, for JSON."""
        return changes_summary(self.folder, self.cases, self.records, self.remaining)


class _Entry(JournalEntry):
    """A finished case: what became of its defects, and whether it is in the fixed copy."""

    there: bool
    records: tuple[FixRecord, ...]


def inspect_run(
    data: Path,
    out: Path | None,
    *,
    layout: str = "auto",
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Read every file once, look for damage, and write inspect.html and inspect.json into `out`.

    With an engine its workers read, and a case that kills them is a finding like any other that cannot be read.
    """
    output = None if out is None else results(out, *_REPORT)
    found = _inspect(load_dataset(data, layout), progress, engine)
    if out is None or output is None:
        return found
    # Imported here: drawing libraries are not needed for the numbers alone.
    from vesal.report.pages.inspect_page import write_inspect_report

    with output:
        page = write_inspect_report(found.dataset, found.fingerprint, found.findings, out)
    return replace(found, page=page)


def _inspect(dataset: Dataset, progress: Progress | None, engine: Engine | None) -> Inspection:
    record = fingerprint(dataset, unlabelled=True, engine=engine, progress=progress)
    return Inspection(dataset, record, check_dataset(dataset, record), None)


def fix_run(
    data: Path,
    out: Path,
    *,
    layout: str = "auto",
    resume: bool = False,
    pictures: int = 6,
    engine: Engine | None = None,
    stage: StageProgress = no_progress,
) -> FixSummary:
    """Inspect `data`, write the fixed copy to out/fixed and the report to `out`, and inspect the copy.

    The copy holds changes.json and changes.md with every change. The originals are read and never written. An engine
    inspects both; the fixing itself is done here.

    Raises:
        UsageError: `out` is the data set or inside it; out/fixed is not empty and not to be resumed; or a file would be
            replaced or deleted that Vesal did not write there, or that was changed since.
        DataError: the data fit no layout.
        VesalError: `out` cannot be written, or no case is left.
    """
    folder = out / FIXED
    _check_folders(data, out)
    output = results(out, *_REPORT)
    dataset = load_dataset(data, layout)
    head = {"data": str(dataset.root), "layout": dataset.layout, "vesal": __version__}
    journal = Journal.open(folder / _JOURNAL, _Entry, head, resume=resume, work="fixing")
    original = _inspect(dataset, stage("Reading"), engine)
    whole, split = with_4d_files(dataset)
    sizes = {
        one.id: math.prod(one.shape) for one in original.fingerprint.cases + original.fingerprint.unlabelled
    }
    more = [*split, *declared_soft_masks(whole, original.fingerprint)]
    plan = plan_fixes(whole, original.findings, more, sizes)
    with journal.output, output:
        records, kept, places = _fix_all(whole, original.fingerprint, plan, journal, stage("Fixing"))
        if not kept:
            first = next((record for record in records if record.outcome == "left out"), None)
            why = (
                f", the first ({first.case}) because {first.done.removeprefix('left out: ')}" if first else ""
            )
            raise VesalError(f"No case of {data} can be fixed{why}; {folder} holds no data set.")
        after = _inspect(describe_fixed(whole, kept, places), stage("Reading again"), engine)
        records = with_consequences(records, after.findings)
        summary = FixSummary(original, folder, len(kept), records, after.findings, out / "inspect.html")
        _write(summary, pictures)
    return summary


def _check_folders(data: Path, out: Path) -> None:
    source, target = expanded(data).resolve(), expanded(out).resolve()
    if target == source or (source.is_dir() and source in target.parents):
        raise UsageError(f"{out} is the data set or inside it; choose a folder elsewhere.")
    if (target / FIXED) == source or (target / FIXED) in source.parents:
        raise UsageError(f"{data} lies where the fixed copy would go; choose another folder.")


def _fix_all(
    dataset: Dataset,
    record: Fingerprint,
    plan: FixPlan,
    journal: Journal[_Entry],
    progress: Progress | None,
) -> tuple[tuple[FixRecord, ...], list[Case], Places]:
    """Fix and write what is not there yet: all records, the cases in the copy, and where their files are."""
    others = ReferenceCases(dataset, record, plan.defective)
    cases = [case for case in dataset.cases + dataset.unlabelled if case.id not in plan.left_out]
    places = plan_places(dataset, cases, plan.findings, journal.folder)
    made_of = {case.id: _made_of(case, plan.findings.get(case.id, ()), places) for case in cases}
    waiting = [case for case in cases if not journal.has(case.id, made_of[case.id])]
    stale = {case.id for case in waiting} | {name for name in journal.known if name not in made_of}
    described = [journal.folder / name for name in (_CHANGES, _CHANGES_TEXT)]
    journal.refuse(stale, [*places_there(dataset, waiting, places), *described], is_readable)
    for name in stale:
        journal.drop(name)
    if any(case.id in plan.findings for case in waiting):
        _ = others.limit  # measured now: several threads would each do it
    one = partial(_fix_one, plan=plan, others=others, places=places, made_of=made_of)
    workers = 1
    if waiting:
        channels = _COPIES_IN_MEMORY * len(dataset.channels)
        workers = scan_workers([case.images[0] for case in waiting], channels=channels)
    with closing(map_in_order(one, waiting, workers=workers, progress=progress)) as entries:
        for entry in entries:
            journal.add(entry)
    found = [change for case in cases for change in journal.entries[case.id].records]
    kept = [change for change in plan.kept if change.case not in plan.left_out]
    records = (*found, *plan.left_out.values(), *kept)
    return records, [case for case in cases if journal.entries[case.id].there], places


def _fix_one(
    case: Case, *, plan: FixPlan, others: ReferenceCases, places: Places, made_of: dict[str, Any]
) -> _Entry:
    findings = plan.findings.get(case.id, ())
    entry = partial(_Entry, id=case.id, made_of=made_of[case.id])
    if not findings:
        return entry(files=write_fixed(case, {}, places), there=True, records=())
    fixed = fix_case(case, findings, others, places.root)
    files = () if fixed.files is None else write_fixed(case, fixed.files, places)
    return entry(files=files, there=fixed.files is not None, records=fixed.records)


def _made_of(case: Case, findings: Sequence[Finding], places: Places) -> list[Any]:
    """What has to be the same for a case that is done to stay: its files, what is to be done, and where it goes."""
    try:
        files = files_of(case)
    except VesalError:
        files = case.files
    wanted = repr([finding.model_dump() for finding in findings]) + repr(
        [places.of(path) for path in case.images]
    )
    return [content_hash(wanted.encode()), file_stamps(files)]


def _write(result: FixSummary, pictures: int) -> None:
    # Imported here: drawing libraries are not needed before.
    from vesal.report.pages.inspect_page import write_inspect_report

    summary, of, out = result.to_dict(), result.original, result.page.parent
    write_json(result.folder / _CHANGES, {"vesal": __version__, "source": str(of.dataset.root)} | summary)
    write_text(result.folder / _CHANGES_TEXT, changes_markdown(of.dataset.name, summary))
    write_inspect_report(of.dataset, of.fingerprint, of.findings, out, pictures=pictures, fixed=summary)
