"""The data of a run: read once, the same when it is resumed, and without the cases that cannot be trained on."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Sequence

from pydantic import ValidationError

from vesal.audit.finding import Finding
from vesal.data.case import files_of
from vesal.data.dataset import Case, Dataset
from vesal.data.fingerprint import Failure, Fingerprint, fingerprint
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError, VesalError
from vesal.files import content_hash, read_json, write_json, write_text
from vesal.journal import file_stamps
from vesal.planning.plan import Plan
from vesal.run.folder import Run
from vesal.text import listed
from vesal.workflow.training.training_session import Session, tell_left_out

#: Kinds of findings that a training shows, too, for they decide what it learns.
_SHOWN = ("single-case-label",)

#: What a data set says of a case and no file of it holds.
_READING = ("annotated", "segments", "renamed", "fill_slices", "pixel_mm", "threshold", "channels")


def read_fingerprint(session: Session, dataset: Dataset) -> Fingerprint:
    """The fingerprint, from the run folder when the same data set was read before.

    Raises:
        UsageError: the run is trained with other data; the message says what changed.
    """
    run = session.run
    for remark in dataset.remarks:
        session.tell(remark)
    sources = _sources(dataset)
    # A damaged fingerprint is taken anew.
    with contextlib.suppress(ValidationError, VesalError):
        if run.sources_file.exists() and read_json(run.sources_file) == sources:
            return Fingerprint.model_validate(read_json(run.fingerprint_file))
    known = used_cases(run)
    if known is not None:
        plan = Plan.load(run.plan_file)
        changes = changed_description(plan, dataset) + _missing(known, dataset)
        _refuse(run, changes + _changed_reading(run, known, dataset))
    record = fingerprint(dataset, engine=session.engine, progress=session.stage("Reading"))
    if known is not None:
        _refuse(run, _changed_files(known, record))
    else:
        # It followed from other data, and nothing was trained with it.
        run.forget_choices()
    # The digest of what was read comes last: without it, or with another, all is read again.
    run.sources_file.unlink(missing_ok=True)
    write_text(run.dataset_file, dataset.model_dump_json(indent=2) + "\n")
    write_text(run.fingerprint_file, record.model_dump_json() + "\n")
    write_json(run.sources_file, sources)
    return record


def unusable_cases(findings: Sequence[Finding]) -> dict[str, str]:
    """Cases that cannot be trained on, each with its reason and its fix."""
    reasons: dict[str, str] = {}
    for finding in findings:
        if finding.severity == "error":
            for case in finding.cases:
                reasons.setdefault(case, f"{finding.message} {finding.fix}")
    return reasons


def usable_cases(
    session: Session, dataset: Dataset, findings: Sequence[Finding]
) -> tuple[list[Case], list[Failure]]:
    """Cases that can be trained on; each other one is named with its reason and its fix.

    A run that goes on uses the cases that it began with.

    Raises:
        DataError: there is none.
    """
    reasons = unusable_cases(findings)
    left_out = [Failure(id=case, message=reason) for case, reason in reasons.items()]
    cases = [case for case in dataset.cases if case.id not in reasons]
    tell_left_out(session.request.data, cases, left_out, session.tell)
    for finding in findings:
        if finding.kind in _SHOWN:
            session.tell(f"{finding.message} {finding.fix}")
    known = used_cases(session.run)
    if known is None:
        return cases, left_out
    if new := [case.id for case in cases if case.id not in known]:
        session.tell(
            f"New since the run began, so neither trained nor validated: {listed(new)}; "
            "begin another run to use them."
        )
    return [case for case in cases if case.id in known], left_out


def remember_cases(run: Run, record: Fingerprint, used: Iterable[str]) -> None:
    """Note which cases the run uses, and what their files held; once."""
    if not run.cases_file.exists():
        digests = {case.id: case.files_digest for case in record.cases}
        write_json(run.cases_file, {name: digests[name] for name in sorted(used)})


def used_cases(run: Run) -> dict[str, str] | None:
    """The run's cases -> the digest of their files; None where it has not come to its training yet.

    Raises:
        VesalError: the file is damaged.
    """
    if not run.cases_file.exists() or not run.plan_file.exists():
        return None
    found = read_json(run.cases_file)
    if not isinstance(found, dict):
        raise VesalError(f"{run.cases_file} is damaged; begin another run.")
    return found


def changed_description(plan: Plan, dataset: Dataset) -> list[str]:
    """How labels and channels of a data set differ from those that a plan was made for, one phrase each."""
    found = []
    if plan.channels != dataset.channels:
        found.append(f"the channels were {', '.join(plan.channels)} and are {', '.join(dataset.channels)}")
    before, now = plan.labels, dataset.labels
    if before not in (now, now.as_regions()):
        found += _changed_labels(before, now)
    return found


def _changed_labels(before: LabelSet, now: LabelSet) -> list[str]:
    texts = [_labels_text(before), _labels_text(now)]
    if texts[0] != texts[1]:
        return [f"the labels were {texts[0]} and are {texts[1]}"]
    regions = [
        ", ".join(f"{region.name} ({' + '.join(region.members)})" for region in labels.regions) or "none"
        for labels in (before, now)
    ]
    if regions[0] != regions[1] and regions != [", ".join(f"{n} ({n})" for n in before.names), "none"]:
        return [f"the regions were {regions[0]} and are {regions[1]}"]
    if before.pairs != now.pairs:
        return ["the left/right pairs of the labels are others"]
    # Colours alone are no matter of the training.
    return []


def _labels_text(labels: LabelSet) -> str:
    ignored = [] if labels.ignore is None else [f"ignore {labels.ignore}"]
    return ", ".join(
        [
            f"background {labels.background}",
            *(f"{label.name} {label.value}" for label in labels.labels),
            *ignored,
        ]
    )


def _missing(known: dict[str, str], dataset: Dataset) -> list[str]:
    there = {case.id for case in dataset.cases}
    gone = sorted(name for name in known if name not in there)
    return [f"{listed(gone)} {'is' if len(gone) == 1 else 'are'} not there any more"] if gone else []


def _changed_reading(run: Run, known: Collection[str], dataset: Dataset) -> list[str]:
    """Cases of which the data set says something else than before, such as which labels were drawn."""
    try:
        before = {case.id: case for case in run.dataset().cases}
    except VesalError:
        return []
    pairs = [(before[case.id], case) for case in dataset.cases if case.id in known and case.id in before]
    changed = {
        old.id: [name for name in _READING if getattr(old, name) != getattr(new, name)] for old, new in pairs
    }
    cases = [case for case, names in changed.items() if names]
    what = dict.fromkeys(name for names in changed.values() for name in names)
    return (
        [f"what is said of the files of {listed(cases)} is something else ({', '.join(what)})"]
        if cases
        else []
    )


def _changed_files(known: dict[str, str], record: Fingerprint) -> list[str]:
    now = {case.id: case.files_digest for case in record.cases}
    found = []
    if unreadable := sorted(name for name in known if name not in now):
        found.append(f"{listed(unreadable)} cannot be read any more")
    if other := sorted(name for name, digest in known.items() if name in now and now[name] != digest):
        found.append(f"the files of {listed(other)} hold something else")
    return found


def _refuse(run: Run, changes: Sequence[str]) -> None:
    if changes:
        raise UsageError(
            f"The data changed since {run.folder} began: {'; '.join(changes)}. "
            "Put back what it began with, or begin another run."
        )


def _sources(dataset: Dataset) -> str:
    """A digest of the data set and of size and time of each of its files."""
    lines = [dataset.model_dump_json()]
    for case in dataset.cases:
        try:
            files = files_of(case)
        except DataError:
            # Absent or damaged: the fingerprint reports it; here it is enough that fixing it changes the digest.
            files = case.files
        lines += [f"{path} {stamp}" for path, stamp in zip(files, file_stamps(files), strict=True)]
    return content_hash("\n".join(lines).encode())
