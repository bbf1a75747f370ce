"""Convert a data set of any known layout to another, case by case; a case that fails does not stop the others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vesal.audit.defects.duplicates import duplicate_groups
from vesal.convert.records import Described, Job, Source, Task, Written
from vesal.convert.relabel import Relabelling, remapped, unchanged
from vesal.convert.slices import AXES
from vesal.convert.sources import open_source
from vesal.convert.targets import TARGETS, Target
from vesal.data.case import scan_workers
from vesal.data.fingerprint import Failure, fingerprint
from vesal.data.folds import make_folds, present_classes
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError, unknown_name
from vesal.files import content_hash, expanded, write_json
from vesal.journal import Journal, file_stamps
from vesal.layouts.registry import no_file_name
from vesal.parallel import Progress, StageProgress, map_in_order, no_progress, workers_within
from vesal.record import Record
from vesal.text import listed, plural
from vesal.version import __version__
from vesal.volume.io import is_readable
from vesal.volume.volume import Volume
from vesal.workflow.requests.convert_request import SPACING_ERROR, ConvertRequest

#: Parts that a share is made of: 0.15 is 3 of 20.
_FINEST_SHARE = 20
#: Fields of a request that must be the same for a conversion to be resumed.
_SAME = ("to", "window", "bits", "keep_empty", "axis", "merge", "spacing_mm", "stack", "split", "seed")
#: In the new data set's folder.
_JOURNAL, _SUMMARY = "conversion.jsonl", "conversion.json"

#: Fields that only the writing of pictures asks for.
_OF_PNG = {"window": "--window", "bits": "--bits", "keep_empty": "--skip-empty", "axis": "--axis"}


class ConvertResult(Record):
    """The result of a conversion.

    Attributes:
        folder: of the new data set.
        to: its layout.
        read_as: what the data were taken for.
        cases, test_cases: ids in it, those of earlier runs included.
        skipped: how many were there already.
        failures: cases that could not be converted.
        remarks: what the user should know.
    """

    folder: Path
    to: str
    read_as: str
    cases: tuple[str, ...]
    test_cases: tuple[str, ...]
    skipped: int
    failures: tuple[Failure, ...]
    remarks: tuple[str, ...]

    def text(self) -> str:
        """The remarks, then how many cases are where."""
        tests = f" and {plural(len(self.test_cases), 'test scan')}" if self.test_cases else ""
        there = f" ({self.skipped} were there already)" if self.skipped else ""
        failed = f"; {len(self.failures)} failed" if self.failures else ""
        count = f"{plural(len(self.cases), 'case')}{tests} in {self.folder}{there}{failed}"
        return "\n".join([*self.remarks, count])


def convert_run(request: ConvertRequest, *, stage: StageProgress = no_progress) -> ConvertResult:
    """Read every case once and write it in the layout that is wanted; the description comes last.

    Raises:
        UsageError: an unknown name, contradictory options, or `out` is not empty or inside the data.
        DataError: the data fit no layout.
        VesalError: `out` cannot be written.
    """
    _check(request)
    source = open_source(
        request.data,
        layout=request.layout,
        volumes=request.to != "png",
        spacing_mm=request.spacing_mm,
        stack=request.stack,
        sidecar=request.slices,
    )
    target = TARGETS[request.to]
    if source.masks_only and not target.takes_masks:
        raise UsageError(f"There are masks alone, which '{request.to}' has no place for; use --to nifti.")
    mapped, final = _relabelled(request, source.labels)
    jobs = _chosen(source, request.cases)
    journal = Journal.open(
        request.out / _JOURNAL,
        Written,
        _head(request, source),
        resume=request.resume,
        work="conversion",
        draw=lambda: _held_out(request, source, jobs, stage),
    )
    how = (request.window, request.bits, request.keep_empty, request.axis)
    task = Task(request.out, source.channels, final, *how)
    failures = [one for one in source.failures if not request.cases or one.id in request.cases]
    waiting = _waiting(target, jobs, journal)
    with journal.output:
        failed = _work(target, source, waiting, journal, task, stage("Converting"))
        written = tuple(sorted(journal.entries.values(), key=lambda one: one.id))
        remarks = [*source.remarks, *_remarks(request, mapped, final, written), *_left_over(source, written)]
        if written:
            original = _original(mapped, final)
            described = Described(
                source.name, source.channels, final.target, original, written, source.credits, request.seed
            )
            remarks += target.describe(request.out, described, target.folders)
        result = ConvertResult(
            folder=request.out,
            to=request.to,
            read_as=source.read_as,
            cases=tuple(one.id for one in written if not one.test),
            test_cases=tuple(one.id for one in written if one.test),
            skipped=len(jobs) - len(waiting),
            failures=(*failures, *failed),
            remarks=tuple(remarks),
        )
        _record(request, final, written, result)
    return result


# --- before the work ---------------------------------------------------------------------------------------


def _check(request: ConvertRequest) -> None:
    if request.to not in TARGETS:
        raise unknown_name("layout to convert to", request.to, TARGETS)
    data, out = expanded(request.data).resolve(), expanded(request.out).resolve()
    if out == data or (data.is_dir() and data in out.parents):
        raise UsageError(f"{request.out} is the data set or inside it; choose a folder elsewhere.")
    if request.bits not in (8, 16):
        raise UsageError(f"A pixel has 8 or 16 bits, not {request.bits}.")
    if request.split is not None and not 0 < request.split < 1:
        raise UsageError(f"--split is a share between 0 and 1, such as 0.2, not {request.split:g}.")
    spacing = request.spacing_mm
    if spacing is not None and (len(spacing) != 3 or not all(0 < value < 1e3 for value in spacing)):
        raise UsageError(SPACING_ERROR)
    if request.axis not in AXES:
        raise unknown_name("axis", request.axis, AXES)
    if spacing is not None and not request.stack:
        raise UsageError("--spacing puts pictures together and --no-stack does not; keep one of them.")


def _relabelled(request: ConvertRequest, labels: LabelSet) -> tuple[Relabelling, Relabelling]:
    """As the user asks, and then as the layout requires."""
    changes: dict[int, int] = {}
    for text in request.mapping:
        old, new = _mapping(text, labels)
        if changes.setdefault(old, new) != new:
            raise UsageError(f"--map gives {old} two new values, {changes[old]} and {new}; keep one.")
    mapped = remapped(labels, changes, merge=request.merge) if changes else unchanged(labels)
    relabel = TARGETS[request.to].relabel
    return mapped, relabel(mapped) if relabel is not None else mapped


def _mapping(text: str, labels: LabelSet) -> tuple[int, int]:
    """'4=3' or 'enhancing tumour=3' -> (4, 3)."""
    old, _, new = text.rpartition("=")
    values = {label.name: label.value for label in labels.labels}
    try:
        return values[old.strip()] if old.strip() in values else int(old), int(new)
    except ValueError as error:
        raise UsageError(
            f"--map takes OLD=NEW with label values, such as 4=3, not '{text}' "
            f"(labels: {', '.join(f'{name} {value}' for name, value in values.items())})."
        ) from error


def _original(mapped: Relabelling, final: Relabelling) -> dict[int, int]:
    """Values that are written -> values that they had, or were mapped to by the user."""
    return dict(sorted((new, mapped.into[old]) for old, new in final.into.items()))


def _chosen(source: Source, wanted: Sequence[str]) -> tuple[Job, ...]:
    known = [job.case.id for job in source.jobs]
    for name in known:
        if no_file_name(name):
            raise DataError(f"A case is called {name!r}, which cannot name a file; choose another name.")
    if unknown := [name for name in wanted if name not in known]:
        raise UsageError(f"There is no case '{unknown[0]}'; there are: {listed(known, 6)}.")
    return tuple(job for job in source.jobs if not wanted or job.case.id in wanted)


def _head(request: ConvertRequest, source: Source) -> dict[str, Any]:
    """What must be the same for a conversion to be resumed."""
    return {
        "data": str(expanded(request.data).resolve()),
        "read_as": source.read_as,
        "channels": list(source.channels),
        "labels": source.labels.model_dump(mode="json"),
        "map": list(request.mapping),
    } | {name: getattr(request, name) for name in _SAME}


def _held_out(
    request: ConvertRequest, source: Source, jobs: Sequence[Job], stage: StageProgress
) -> dict[str, list[str]]:
    """Patients whose cases become test scans, as an entry of the journal's head; {} where no split is wanted.

    About so large a share of the cases: that many of equal parts, none of which tears a group apart.
    """
    if request.split is None:
        return {}
    cases = [job.case for job in jobs if not job.test]
    together: Sequence[Sequence[str]] = ()
    present: Mapping[str, Sequence[str]] | None = None
    if source.dataset is not None:
        training = source.dataset.model_copy(update={"cases": tuple(cases)})
        record = fingerprint(training, progress=stage("Looking"))
        together, present = duplicate_groups(record), present_classes(record)
    patients = {case.patient for case in cases}
    parts = Fraction(request.split).limit_denominator(min(_FINEST_SHARE, max(2, len(patients))))
    count, taken = max(2, parts.denominator), max(1, min(parts.numerator, parts.denominator - 1))
    try:
        folds = make_folds(cases, folds=count, seed=request.seed, together=together, present=present)
    except UsageError as error:
        raise UsageError(f"--split {request.split:g} cannot be drawn by patient: {error}") from error
    names = {name for part in folds.parts[:taken] for name in part}
    return {"held_out": sorted({case.patient for case in cases if case.id in names})}


# --- the work ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Waiting:
    """A case that is to be converted: as a test scan or not, and what the result depends on."""

    job: Job
    test: bool
    made_of: list[Any]


def _waiting(target: Target, jobs: Sequence[Job], journal: Journal[Written]) -> list[_Waiting]:
    """What is not there yet; what is there of it from an earlier state of the data is deleted.

    Raises:
        UsageError: a file that Vesal did not write there, or that was changed since, would be replaced or deleted.
    """
    held_out = set(journal.head.get("held_out", ()))
    waiting = []
    for job in jobs:
        test = job.test or job.case.patient in held_out
        # What the data set says of the case and how its files are read, beside the files themselves.
        case = job.case.model_dump(mode="json", exclude={"id"})
        made_of = [test, case, file_stamps(job.files)]
        if not journal.has(job.case.id, made_of):
            waiting.append(_Waiting(job, test, made_of))
    names = {one.job.case.id for one in waiting}
    described = [journal.folder / name for name in (*target.descriptions, _SUMMARY)]
    journal.refuse(names, [*target.files_there(journal.folder, names), *described], is_readable)
    for name in names:
        journal.drop(name)
    return waiting


def _work(
    target: Target,
    source: Source,
    waiting: Sequence[_Waiting],
    journal: Journal[Written],
    task: Task,
    progress: Progress | None,
) -> list[Failure]:
    """Convert what is waiting; which failed."""
    failures: list[Failure] = []
    one_case = partial(_convert_one, task=task, target=target)
    results = map_in_order(one_case, waiting, workers=_workers(waiting, source), progress=progress)
    with closing(results):
        for wanted, one in zip(waiting, results, strict=True):
            if isinstance(one, Written):
                journal.add(one.model_copy(update={"made_of": wanted.made_of}))
            else:
                failures.append(one)
    return failures


def _convert_one(waiting: _Waiting, *, task: Task, target: Target) -> Written | Failure:
    job, test = waiting.job, waiting.test
    prefix = f"Case {job.case.id}: "
    try:
        scan = job.read()
        if scan.image is not None and scan.image.channels != len(task.channels):
            raise DataError(
                f"{prefix}{scan.image.channels} channels were found where the data set has {len(task.channels)} "
                f"({', '.join(task.channels)}); correct its files."
            )
        if scan.label is not None:
            task.relabelling.source.encode(scan.label.array)
        done = target.write(replace(scan, test=test), task, target.folders)
    except DataError as error:
        text = str(error)
        return Failure(id=job.case.id, message=text if text.startswith("Case ") else prefix + text)
    except MemoryError:
        return Failure(id=job.case.id, message=f"{prefix}the memory of this machine is used up.")
    return done.model_copy(update={"digest": _digest(scan.image)})


def _digest(image: Volume | None) -> str:
    """Of the voxels, without the header; '' for a constant image, such as an empty slice."""
    if image is None or image.array.min() == image.array.max():
        return ""
    # In the order in which files hold voxels, so that channels are not copied.
    flat = [channel.ravel(order="F").view(np.uint8) for channel in image.array]
    return content_hash(str(image.geometry.shape).encode(), *(part.data for part in flat))


def _workers(waiting: Sequence[_Waiting], source: Source) -> int:
    if needed := max((one.job.bytes_needed for one in waiting), default=0):
        return workers_within(needed)
    files = [one.job.case.images[0] for one in waiting if one.job.case.images]
    return scan_workers(files, channels=len(source.channels))


# --- after the work ----------------------------------------------------------------------------------------


def _remarks(
    request: ConvertRequest,
    mapped: Relabelling,
    final: Relabelling,
    written: Sequence[Written],
) -> list[str]:
    remarks = [one.remark for one in written if one.remark]
    idle = [flag for name, flag in _OF_PNG.items() if getattr(request, name) != getattr(ConvertRequest, name)]
    if idle and request.to != "png":
        remarks.append(f"Without effect, for --to png alone takes it: {listed(idle)}.")
    shared = Counter[str]()
    for one in written:
        shared.update(one.overlaps)
    if shared:
        pairs = [f"{pair}: {plural(count, 'voxel')}" for pair, count in shared.most_common()]
        remarks.append(f"Masks share voxels, which were given to the later name: {listed(pairs, 6)}.")
    if mapped.changes:
        remarks.append(f"Label values were changed as asked: {mapped.text()}.")
    kept = {region.name for region in mapped.target.regions}
    if lost := [region.name for region in mapped.source.regions if region.name not in kept]:
        remarks.append(
            f"Regions that the mapping made empty or the same as others are left out: {', '.join(lost)}."
        )
    layout_own = unchanged(mapped.target).renumbered(
        {old: new for new, old in _original(mapped, final).items()}
    )
    if layout_own.changes:
        remarks.append(f"Label values were changed as '{request.to}' wants them: {layout_own.text()}.")
    out_name = expanded(request.out).resolve().name
    if request.to == "nnunet" and not re.fullmatch(r"Dataset\d{3}_.+", out_name):
        remarks.append(
            "nnU-Net wants the folder to be called DatasetXXX_Name, such as Dataset101_Heart; rename it before use."
        )
    return remarks


def _left_over(source: Source, written: Sequence[Written]) -> list[str]:
    """What to say of cases of an earlier run that the source does not hold any more."""
    there = {job.case.id for job in source.jobs}
    if not (gone := [one.id for one in written if one.id not in there]):
        return []
    return [
        f"Converted earlier, still here and no longer in the data: {listed(gone, 6, ' and ')}; if they are to go, "
        "convert into a new folder."
    ]


def _record(
    request: ConvertRequest, final: Relabelling, written: Sequence[Written], result: ConvertResult
) -> None:
    """conversion.json: where everything came from and what was changed."""
    names = {label.value: label.name for label in final.target.labels}
    write_json(
        request.out / _SUMMARY,
        {
            "vesal": __version__,
            "source": str(request.data),
            "read_as": result.read_as,
            "to": request.to,
            "labels": {
                "values": [
                    {"name": label.name, "from": label.value, "to": final.into[label.value]}
                    | {"into": names.get(final.into[label.value], "background")}
                    for label in final.source.labels
                ],
                "map": list(request.mapping),
                "merge": request.merge,
            },
            "split": None if request.split is None else {"share": request.split, "seed": request.seed},
            "cases": {
                one.id: {"patient": one.patient, "part": "test" if one.test else "training"}
                | ({} if one.annotated is None else {"annotated": list(one.annotated)})
                for one in written
            },
            "failed": {failure.id: failure.message for failure in result.failures},
            "remarks": list(result.remarks),
        },
    )
