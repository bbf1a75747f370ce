"""A prediction by the workers of an engine: each loads the model once, and the record says how every case ended."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vesal.data.dataset import Case
from vesal.engine.one_item import worker_name
from vesal.engine.outcome import Engine
from vesal.errors import VesalError
from vesal.infer.backends import openvino
from vesal.infer.model import Model
from vesal.infer.predictor import load_model
from vesal.memory_limit import keep_within
from vesal.outputs import OutputFolder
from vesal.text import listed, plural
from vesal.workflow.prediction.case_predictor import CasePredictor, CaseResult, Entry
from vesal.workflow.prediction.cohort_record import FAILED, CohortRecord, digest_of
from vesal.workflow.prediction.quality_files import QualityFiles
from vesal.workflow.requests.predict_options import PredictOptions


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from, for every process that loads it.

    Attributes:
        path: a model file, or a run folder.
        device, backend, precision, postprocess: as of `load_model`.
    """

    path: Path
    device: str = "auto"
    backend: str = "auto"
    precision: str = "auto"
    postprocess: bool = True

    def load(self) -> Model:
        """The model.

        Raises:
            UsageError, VesalError: as of `load_model`.
        """
        return load_model(
            self.path,
            device=self.device,
            backend=self.backend,
            precision=self.precision,
            postprocess=self.postprocess,
        )

    def load_same(self, digest: str) -> Model:
        """The model, in a worker.

        Args:
            digest: that it had where the prediction was begun.

        Raises:
            VesalError: it cannot be loaded, or is another one here.
        """
        model = self.load()
        if model.digest != digest:
            raise VesalError(
                f"{self.path} is another model for {worker_name()} than where the prediction was begun, or computes in "
                "another precision there; copy the file, or give --precision 32."
            )
        return model


@dataclass(frozen=True)
class PredictTask:
    """What a worker prepares: the model, and the record of the files that it writes.

    Attributes:
        source: of the model.
        digest: that it must have, wherever the worker runs.
        options: of the prediction.
        estimates: whether the quality is estimated.
        folder: for the results.
    """

    source: ModelSource
    digest: str
    options: PredictOptions
    estimates: bool
    folder: Path

    def __call__(self) -> CasePredictor:
        """Ready for cases.

        Raises:
            VesalError: the model cannot be loaded, or is another one here.
        """
        model = self.source.load_same(self.digest)
        if self.options.max_ram is not None:
            keep_within(self.options.max_ram, self.folder)
        # A record of its own: several processes, perhaps of several machines, write into the folder. It stays open as
        # long as the process lives.
        OutputFolder(self.folder, writer=worker_name().replace(":", "-")).__enter__()
        return CasePredictor(model, self.options, self.estimates, measures=True)


@dataclass
class Cohort:
    """Predicts by the workers of an engine.

    Args:
        engine: that has them.
        source: of the model.
        shard: (number from 1, of how many): only every so-manieth case is predicted here, others elsewhere.
    """

    engine: Engine
    source: ModelSource
    shard: tuple[int, int] | None = None
    backend: str = ""
    _model: Model | None = None
    _options: PredictOptions = field(default_factory=PredictOptions)
    _output: OutputFolder | None = None
    _record: CohortRecord | None = None
    _made_of: dict[str, Any] = field(default_factory=dict)
    _cases: tuple[str, ...] = ()

    def begin(
        self,
        output: OutputFolder,
        model: Model,
        options: PredictOptions,
        made_of: dict[str, Any],
        entries: Sequence[Entry],
    ) -> None:
        """Open the record in the folder of the results.

        Args:
            output: that folder.
            model: that predicts.
            options: how.
            made_of: what every label map depends on.
            entries: all cases that are asked for.

        Raises:
            UsageError: a file of the record is there and is not Vesal's.
            VesalError: the folder cannot be written.
        """
        self._output, self._model, self._options, self._made_of = output, model, options, made_of
        self._cases = tuple(case.id for case, _ in entries)
        finished = {case.id: output.finished(target.label.name) for case, target in entries}
        self._record = CohortRecord(output.folder, model.labels.classes, self.shard and self.shard[0])
        self._record.keep_true({case: done and done.made_of for case, done in finished.items()})
        self._record.begin(output, self._cases)
        self.source = settled(self.source, model)
        self.backend = f"{self.source.backend} in {self.engine.described}"

    def recall(self, quality: QualityFiles) -> None:
        """Give the estimates of earlier starts."""
        assert self._record is not None
        self._record.recall(quality)

    @property
    def writer(self) -> str:
        """The name of a record of files of its own, which a shard has; '' where the folder's is taken."""
        return "" if self.shard is None else f"shard-{self.shard[0]}"

    def own(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Those that are predicted here."""
        if self.shard is None:
            return entries
        number, count = self.shard
        return entries[number - 1 :: count]

    def predict(
        self, waiting: Sequence[Entry], estimates: bool
    ) -> Generator[tuple[Entry, float, CaseResult | str], None, None]:
        """Yield each case with its seconds, and its result or why there is none, in whatever order.

        Raises:
            VesalError: no worker can begin, or results cannot be written.
        """
        assert self._model is not None
        assert self._output is not None
        assert self._record is not None
        self._record.wait_for(case.id for case, _ in waiting)
        digest, folder = self._model.digest, self._output.folder
        task = PredictTask(self.source, digest, self._options, estimates, folder)
        with closing(self.engine.run(task, waiting)) as outcomes:
            for outcome in outcomes:
                if outcome.hopeless:
                    raise VesalError(outcome.reason)
                entry, found = waiting[outcome.number], outcome.result
                made_of = None
                if isinstance(found, CaseResult):
                    made_of = made_of_case(self._made_of, entry[0]) | {"scan": found.scan}
                self._record.add(entry[0].id, outcome, made_of=digest_of(made_of))
                yield entry, outcome.seconds, outcome.reason or outcome.result

    def end(self) -> str:
        """Write the tables, and take over what the workers noted; a sentence about both."""
        assert self._output is not None
        assert self._record is not None
        files = self._record.save(self._cases)
        if self.shard is None:
            self._output.absorb()
        rows = [self._record.row(case) for case in self._cases]
        failed = sum(row["status"] == FAILED for row in rows)
        seconds = sum(row.get("seconds") or 0.0 for row in rows)
        found = f"{plural(len(rows), 'case')}, {failed} failed, {seconds:.0f} s of work"
        if self.shard is not None:
            number, count = self.shard
            others = "the same command with --resume and without --shard puts them together"
            return f"Shard {number} of {count}: {found}; {others}"
        return f"{found}; each in {listed([path.name for path in files])} of {self._output.folder}"


def made_of_case(made_of: dict[str, Any], case: Case) -> dict[str, Any]:
    """With the channels that a case lacks: the same files may come back as other channels."""
    return made_of | ({"lacking channels": list(case.lacking)} if case.lacking else {})


def settled(source: ModelSource, model: Model) -> ModelSource:
    """The source with a backend that is the same for every case, whichever worker gets it.

    By itself a process turns to OpenVINO after some work, and the last bits of the logits with it.
    """
    if source.backend != "auto":
        return source
    narrow = any(getattr(network, "in_bfloat16", False) for network in model.networks)
    fast = model.device.type == "cpu" and not narrow and openvino.installed() is not None
    return ModelSource(
        source.path, source.device, "openvino" if fast else "torch", source.precision, source.postprocess
    )
