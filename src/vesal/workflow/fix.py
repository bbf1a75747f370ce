"""Inspect and fix: a copy of a data set in which what can be fixed is, with a list of every change."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vesal.audit.apply_fixes import (
    Change,
    FixPlan,
    Order,
    fix_case,
    plan_fixes,
    settled,
    split_orders,
    with_split,
)
from vesal.audit.checks import Finding, check_dataset
from vesal.audit.fixed_copy import Places, describe_fixed, plan_places, write_fixed
from vesal.audit.reference_cases import Cohort
from vesal.data.case import files_of, scan_workers
from vesal.data.dataset import Case, Dataset
from vesal.data.fingerprint import Fingerprint, fingerprint
from vesal.errors import UsageError, VesalError
from vesal.files import content_hash, write_json, write_text
from vesal.layouts.registry import load_dataset
from vesal.parallel import Progress, map_in_order
from vesal.report.pages.fixes_section import changes_markdown, changes_summary
from vesal.version import __version__
from vesal.workflow.fix_journal import Entry, FixJournal, stamps

Stage = Callable[[str], Progress | None]

#: The fixed copy's folder below that of the report.
FOLDER = "fixed"
#: A case is held about so often while it is fixed: as it was, as it is, and on the way.
_COPIES_IN_MEMORY = 4


@dataclass(frozen=True)
class FixSummary:
    """What came of it.

    Attributes:
        dataset, fingerprint, findings: of the original.
        folder: the fixed copy.
        cases: how many are in it.
        changes: every fault and what became of it.
        remaining: findings of the fixed copy.
        page: the report.
    """

    dataset: Dataset
    fingerprint: Fingerprint
    findings: tuple[Finding, ...]
    folder: Path
    cases: int
    changes: tuple[Change, ...]
    remaining: tuple[Finding, ...]
    page: Path

    def to_dict(self) -> dict[str, Any]:
        """The summary of the changes, for JSON."""
        return changes_summary(self.folder, self.cases, self.changes, self.remaining)


def fix_run(
    data: Path,
    out: Path,
    *,
    layout: str = "auto",
    resume: bool = False,
    pictures: int = 6,
    stage: Stage | None = None,
) -> FixSummary:
    """Inspect `data`, write the fixed copy to out/fixed and the report to `out`, and inspect the copy.

    The copy holds changes.json and changes.md with every change. The originals are read and never written.

    Raises:
        UsageError: `out` is the data set or inside it, or out/fixed is not empty and not to be resumed.
        DataError: the data fit no layout.
        VesalError: `out` cannot be written, or no case is left.
    """
    stage = stage or (lambda _: None)
    folder = out / FOLDER
    _check(data, out)
    dataset = load_dataset(data, layout)
    head = {"data": str(dataset.root), "layout": dataset.layout, "vesal": __version__}
    journal = FixJournal.open(folder, head, resume=resume)
    record = fingerprint(dataset, unlabelled=True, progress=stage("Reading"))
    findings = check_dataset(dataset, record)
    whole = with_split(dataset)
    sizes = {one.id: math.prod(one.shape) for one in record.cases + record.unlabelled}
    plan = plan_fixes(whole, findings, split_orders(whole), sizes)
    changes, kept, places = _work(whole, record, plan, journal, stage("FixSummary"))
    if not kept:
        told = next((change for change in changes if change.outcome == "left out"), None)
        why = f", the first ({told.case}) because {told.done.removeprefix('left out: ')}" if told else ""
        raise VesalError(f"No case of {data} can be fixed{why}; {folder} holds no data set.")
    fixed = describe_fixed(whole, kept, places)
    after = fingerprint(fixed, unlabelled=True, progress=stage("Reading again"))
    remaining = check_dataset(fixed, after)
    changes = settled(changes, remaining)
    result = FixSummary(
        dataset, record, findings, folder, len(kept), changes, remaining, out / "inspect.html"
    )
    _write(result, pictures)
    return result


def _check(data: Path, out: Path) -> None:
    source, target = data.expanduser().resolve(), out.expanduser().resolve()
    if target == source or (source.is_dir() and source in target.parents):
        raise UsageError(f"{out} is the data set or inside it; choose a folder elsewhere.")
    if (target / FOLDER) == source or (target / FOLDER) in source.parents:
        raise UsageError(f"{data} lies where the fixed copy would go; choose another folder.")


def _work(
    dataset: Dataset, record: Fingerprint, plan: FixPlan, journal: FixJournal, progress: Progress | None
) -> tuple[tuple[Change, ...], list[Case], Places]:
    """Fix and write what is not there yet: all changes, the cases in the copy, and where their files are."""
    cohort = Cohort.of(dataset, record, set(plan.faulty))
    cases = [case for case in dataset.cases + dataset.unlabelled if case.id not in plan.left_out]
    places = plan_places(dataset, cases, plan.orders, journal.folder)
    made_of = {case.id: _made_of(case, plan.orders.get(case.id, ()), places) for case in cases}
    for name in list(journal.entries):
        if name not in made_of or journal.entries[name].made_of != made_of[name]:
            journal.drop(name)
    waiting = [case for case in cases if case.id not in journal.entries]
    if any(case.id in plan.orders for case in waiting):
        cohort.learn()
    one = partial(_fix_one, plan=plan, cohort=cohort, places=places, made_of=made_of)
    workers = 1
    if waiting:
        channels = _COPIES_IN_MEMORY * len(dataset.channels)
        workers = scan_workers([case.images[0] for case in waiting], channels=channels)
    entries = map_in_order(one, waiting, workers=workers, progress=progress)
    for case, entry in zip(waiting, entries, strict=True):
        journal.add(case.id, entry)
    found = [change for case in cases for change in journal.entries[case.id].changes]
    kept = [change for change in plan.kept if change.case not in plan.left_out]
    changes = (*found, *plan.left_out.values(), *kept)
    return changes, [case for case in cases if journal.entries[case.id].files is not None], places


def _fix_one(case: Case, *, plan: FixPlan, cohort: Cohort, places: Places, made_of: dict[str, Any]) -> Entry:
    orders = plan.orders.get(case.id, ())
    if not orders:
        return Entry(made_of[case.id], write_fixed(case, {}, places), ())
    fixed = fix_case(case, orders, cohort, places.root)
    files = None if fixed.files is None else write_fixed(case, fixed.files, places)
    return Entry(made_of[case.id], files, fixed.changes)


def _made_of(case: Case, orders: Sequence[Order], places: Places) -> Any:
    """What has to be the same for a case that is done to stay: its files, what is to be done, and where it goes."""
    try:
        files = files_of(case)
    except VesalError:
        files = (*case.images, *([] if case.label is None else [case.label]))
    wanted = repr([asdict(order) for order in orders]) + repr([places.of(path) for path in case.images])
    return [content_hash(wanted.encode()), stamps(files)]


def _write(result: FixSummary, pictures: int) -> None:
    # Imported here: drawing libraries are not needed before.
    from vesal.report.pages.inspect_page import write_inspect_report

    summary = result.to_dict()
    write_json(
        result.folder / "changes.json", {"vesal": __version__, "source": str(result.dataset.root), **summary}
    )
    write_text(result.folder / "changes.md", changes_markdown(result.dataset.name, summary))
    write_inspect_report(
        result.dataset,
        result.fingerprint,
        result.findings,
        result.page.parent,
        pictures=pictures,
        fixed=summary,
    )
