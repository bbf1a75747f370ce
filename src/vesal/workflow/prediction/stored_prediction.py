"""A prediction of scans that lie at addresses, into an address: fetched one by one, results put up whole.

A worker holds one scan and its results on its own disk, never more. The record at the address says what is done
(`stored_record`); a path of this machine may stand for either address.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vesal.data.fingerprint import Failure
from vesal.engine.outcome import Engine, Outcome
from vesal.errors import DataError, UsageError, VesalError
from vesal.files import scratch_folder, sweep_scratch
from vesal.infer.model import Model
from vesal.memory_limit import keep_within, limit, limited
from vesal.parallel import Progress
from vesal.text import listed, plural
from vesal.volume.io import is_image
from vesal.workflow.predict import list_classes, made_of_model
from vesal.workflow.prediction.case_predictor import CasePredictor, CaseResult
from vesal.workflow.prediction.predict_targets import plan_targets
from vesal.workflow.prediction.stored_files import StoredFile, StoredFolder, masked
from vesal.workflow.prediction.stored_record import StoredRecord
from vesal.workflow.prediction.stored_scans import StoredScan, scans_at
from vesal.workflow.prediction.worker_prediction import ModelSource, settled
from vesal.workflow.requests.predict_options import PredictOptions


@dataclass(frozen=True)
class Stored:
    """What became of a scan.

    Attributes:
        found: in it.
        files: name below the results' address -> as it is there.
    """

    found: CaseResult
    files: dict[str, StoredFile]


@dataclass(frozen=True)
class StoredTask:
    """What a worker prepares: the model.

    Attributes:
        source, digest: of the model, as of `PredictTask`.
        options: of the prediction.
        estimates: whether the quality is estimated.
        out: where results go.
    """

    source: ModelSource
    digest: str
    options: PredictOptions
    estimates: bool
    out: StoredFolder

    def __call__(self) -> Callable[[StoredScan], Stored]:
        """Ready for scans.

        Raises:
            VesalError: the model cannot be loaded, or is another one here.
        """
        model = self.source.load_same(self.digest)
        if self.options.max_ram is not None and limit() is None:
            keep_within(self.options.max_ram)
        sweep_scratch()
        predictor = CasePredictor(model, self.options, self.estimates, measures=True)
        return lambda scan: self._predict(predictor, scan)

    def _predict(self, predictor: CasePredictor, scan: StoredScan) -> Stored:
        with scratch_folder() as folder:
            scans, results = folder / "scan", folder / "results"
            scans.mkdir()
            case = scan.fetch(scans)
            (target,) = plan_targets([case], results, self.options, predictor.model.labels.classes).of
            try:
                found = predictor((case, target))
            except DataError as error:
                # In the words of the address, for here it is gone.
                raise DataError(str(error).replace(str(scans), repr(scan.source))) from None
            put = {}
            # The label map comes last: where it is, all others are.
            for file in reversed([*target.files()]):
                name = file.relative_to(results).as_posix()
                put[name] = self.out.put(file, name)
        return Stored(found, put)


@dataclass
class StoredPrediction:
    """The result of such a prediction.

    Attributes:
        out: where results are, as it may be shown.
        scans: how many were asked for here.
        done: case -> names of its files, of those that were predicted now.
        kept: cases whose results were there already.
        failures: cases that failed.
        backend: what computed the network.
        remarks: what else is to be known.
    """

    out: str
    scans: int
    backend: str
    done: dict[str, list[str]] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**vars(self), "failures": [failure.model_dump() for failure in self.failures]}

    def text(self) -> str:
        """What was done and what was kept."""
        there = len(self.done) + len(self.kept)
        kept = f" ({len(self.kept)} kept, {len(self.done)} new)" if self.kept else ""
        lines = [
            f"{there} of {plural(self.scans, 'scan')} segmented in {self.out}{kept}; network by {self.backend}"
        ]
        return "\n".join([*lines, *self.remarks])


def predict_stored(
    source: ModelSource,
    inputs: Sequence[str],
    out: str,
    options: PredictOptions,
    engine: Engine,
    *,
    shard: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> StoredPrediction:
    """Predict scans at addresses into an address.

    Args:
        source: of the model, which lies on a disk.
        inputs: folders of scans or scans, as addresses or paths.
        out: the folder for the results, as an address or a path.
        options: how.
        engine: whose workers fetch, predict and put up.
        shard: (number from 1, of how many): only every so-manieth scan is predicted here, others elsewhere.
        progress: called with (done, total).

    Raises:
        UsageError: there is no scan, a storage is not known, or a file would be replaced that Vesal did not put up.
        VesalError: a storage does not answer, or results cannot be put up.
    """
    if is_image(out):
        raise UsageError(f"{masked(out)} names a file; name the folder for the results.")
    into, model = StoredFolder.of(out), source.load()
    estimates = options.quality and model.quality_estimator is not None
    remarks: list[str] = []
    with limited(options.max_ram), scratch_folder() as scratch:
        scans = scans_at(inputs, len(model.plan.channels), model.labels, scratch / "names", remarks.append)
        if shard is not None:
            scans = scans[shard[0] - 1 :: shard[1]]
        _check(engine, [into, *(scan.source for scan in scans)])
        same = settled(source, model)
        backend = f"{same.backend} in {engine.described}"
        task = StoredTask(same, model.digest, replace(options, resume=False), estimates, into)
        job = _Job(task, scans, made_of_model(model, options) | {"estimates": estimates})
        job.begin(model, scratch, shard, resume=options.resume)
        result = StoredPrediction(repr(into), len(scans), backend, kept=job.kept, remarks=remarks)
        try:
            job.run(engine, result, progress)
        finally:
            job.record.end(list(job.names))
        result.remarks.append(job.tables(shard))
    return result


@dataclass(eq=False)
class _Job:
    """The scans of a prediction, and what is kept of them.

    Attributes:
        names: case -> names of its files.
        waiting: scans that are to be predicted.
    """

    task: StoredTask
    scans: Sequence[StoredScan]
    made_of_model: dict[str, Any]
    names: dict[str, list[str]] = field(default_factory=dict)
    waiting: list[StoredScan] = field(default_factory=list)

    def begin(self, model: Model, scratch: Path, shard: tuple[int, int] | None, *, resume: bool) -> None:
        """Find out what is to be done, and note it at the address.

        Raises:
            UsageError: a file would be replaced that Vesal did not put up.
            VesalError: the record cannot be read or written.
        """
        copy, classes, out = scratch / "results", model.labels.classes, self.task.out
        copy.mkdir()
        plan = plan_targets([scan.case for scan in self.scans], copy / "planned", self.task.options, classes)
        self.names = {
            scan.case.id: [file.relative_to(plan.folder).as_posix() for file in target.files()]
            for scan, target in zip(self.scans, plan.of, strict=True)
        }
        self.record = StoredRecord(out, copy, classes, shard)
        self.waiting = [scan for scan in self.scans if not resume or self._why_unfinished(scan)]
        planned = [name for scan in self.waiting for name in self.names[scan.case.id]]
        described = plan.classes_file.relative_to(plan.folder).as_posix()
        waiting = [scan.case.id for scan in self.waiting]
        self.record.begin(list(self.names), [*planned, *([described] if plan.folders else [])], waiting)
        if plan.folders:
            text = json.dumps(list_classes(model.labels, plan.folders), indent=2) + "\n"
            out.write(text.encode(), described, scratch)

    @property
    def kept(self) -> list[str]:
        """Cases whose results are there."""
        new = {scan.case.id for scan in self.waiting}
        return [case for case in self.names if case not in new]

    def run(self, engine: Engine, result: StoredPrediction, progress: Progress | None) -> None:
        """Have them predicted.

        Raises:
            VesalError: no worker can begin, or results cannot be put up.
        """
        with closing(engine.run(self.task, self.waiting)) as outcomes:
            for done, outcome in enumerate(outcomes, start=1):
                self._note(result, self.waiting[outcome.number], outcome)
                if progress is not None:
                    progress(done, len(self.waiting))

    def tables(self, shard: tuple[int, int] | None) -> str:
        """Where the rows of the cases are, in a sentence."""
        if shard is None:
            return f"Each in {listed(self.record.tables)} of {self.task.out!r}"
        part = f"Shard {shard[0]} of {shard[1]}"
        return f"{part}; the same command with --resume and without --shard puts them together"

    def _made_of(self, scan: StoredScan) -> dict[str, Any]:
        return self.made_of_model | {"scan": scan.stamp}

    def _why_unfinished(self, scan: StoredScan) -> str | None:
        return self.record.why_unfinished(scan.case.id, self._made_of(scan), self.names[scan.case.id])

    def _note(self, result: StoredPrediction, scan: StoredScan, outcome: Outcome) -> None:
        if outcome.hopeless:
            raise VesalError(masked(outcome.reason))
        stored: Stored | None = outcome.result
        shown = replace(
            outcome,
            result=None if stored is None else stored.found,
            reason=masked(outcome.reason),
            detail=masked(outcome.detail),
        )
        self.record.add(scan.case.id, shown, self._made_of(scan), {} if stored is None else stored.files)
        if stored is None:
            result.failures.append(Failure(id=scan.case.id, message=shown.reason))
        else:
            result.done[scan.case.id] = [*stored.files]


def _check(engine: Engine, folders: Sequence[StoredFolder]) -> None:
    # Here, for a worker needs none of it.
    from vesal.engine.in_process import InProcess

    if any(folder.in_this_process for folder in folders) and not isinstance(engine, InProcess):
        raise UsageError("memory:// is seen by this process alone; leave --engine out.")
