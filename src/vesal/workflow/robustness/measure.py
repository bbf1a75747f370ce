"""A robustness benchmark case by case: read a scan once, corrupt it in every condition, segment, score.

The network takes most of the time. Beside one on a GPU, other threads corrupt and prepare the next scans, and another
one scores what was segmented. On a CPU a case is one thread's work, and cases are shared among processes
(`vesal.workflow.robustness.benchmark_run`). What preparation turns into the clean scan again is not segmented again.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.augment.artifacts.benchmark import Artifact, Corruption, artifact_seed, corrupt
from vesal.data.case import VOXEL_BYTES, RawCase, read_case
from vesal.data.dataset import Case
from vesal.data.fingerprint import Failure
from vesal.data.labels import IGNORE, LabelSet
from vesal.errors import DataError, VesalError, out_of_memory
from vesal.evaluate.case_scores import ClassScore, score_case
from vesal.evaluate.robustness.degradation import CLEAN, ArtifactScore, WorstCase
from vesal.infer.model import Model
from vesal.infer.windows import Windows
from vesal.journal import JournalEntry
from vesal.memory_limit import limit, require
from vesal.parallel import map_in_order, workers_within
from vesal.preprocessing.prepare import Prepared
from vesal.report.figures.robustness_charts import CorruptedScan
from vesal.train.logs.rows import memory_mb
from vesal.volume.io import read_geometry
from vesal.workflow.prediction.case_memory import window_bytes
from vesal.workflow.robustness.benchmark_cases import translation, truth_of

#: Copies of a scan that corrupting one needs, in float32 and complex numbers: motion takes the most of them.
_COPIES = 8
#: Libraries take so much more when they first compute: Fourier transforms, distances, charts.
_LIBRARY_BYTES = 100_000_000
#: Of the largest files so many headers are looked into.
_LOOKED_INTO = 16

#: The largest step between neighbouring numbers of the 16 bits in which prepared images are kept, as a share of them.
_STEP = 2.0**-10


class Measured(JournalEntry):
    """One case through the whole benchmark.

    Attributes:
        rows: of every condition that could be measured.
        failures: what could not.
        undone: conditions that preparation undoes: they have the clean scan's prediction.
        predictions: scans that were segmented.
        seconds: until it was done, from the end of the case before, whichever process that was in.
        memory_mb: peak of the process until then; None if unknown.
        processes: that shared the cases.
        weights: digests of those of the models that segmented it; empty for bare networks.
    """

    rows: tuple[ArtifactScore, ...]
    failures: tuple[Failure, ...] = ()
    undone: tuple[str, ...] = ()
    predictions: int = 0
    seconds: float = 0.0
    memory_mb: float | None = None
    processes: int = 1
    weights: tuple[str, ...] = ()


@dataclass(eq=False)
class _Subject:
    """A case with its truth in the model's contiguous labels; what the clean scan gave, once it is segmented."""

    case: Case
    raw: RawCase
    truth: NDArray[np.uint8]
    clean: Prepared | None = None
    clean_prediction: NDArray[np.uint8] | None = None
    clean_scores: dict[str, ClassScore] = field(default_factory=dict)
    undone: list[str] = field(default_factory=list)


#: A scan ready for the network, and how it was corrupted (None: not).
_Scan = tuple[Prepared, Corruption | None]


@dataclass(frozen=True, eq=False)
class RobustnessRunner:
    """A model and the conditions in which it segments scans.

    Attributes:
        model: segments them.
        labels: of the data set's label maps.
        artifacts: every condition but the clean one.
        seed: of what is drawn.
        mirror: average over mirrored copies, as `vesal predict --tta`.
    """

    model: Model
    labels: LabelSet
    artifacts: tuple[Artifact, ...]
    seed: int = 0
    mirror: bool = False

    @cached_property
    def table(self) -> NDArray[np.uint8]:
        """(256,) the data's contiguous values -> the model's.

        Raises:
            DataError: the data do not hold what the model predicts.
        """
        return translation(self.labels, self.model.labels)

    @property
    def _windows(self) -> Windows:
        return self.model.windows(mirror=self.mirror)

    def measure(self, cases: Sequence[Case], tick: Callable[[], None]) -> Iterator[Measured]:
        """Yield one labelled case after the other; what fails in one stops no other.

        `tick` is called after every prediction, also where it failed.
        """
        # A second thread of work beside a network on the CPU makes torch's threads wait for each other: on two cores a
        # prediction then takes five times as long, and OpenVINO's no less than without.
        on_cpu = self.model.device.type == "cpu"
        workers = 1 if on_cpu else workers_within(scan_bytes(cases))
        weights = tuple(package.weights_digest for package in self.model.packages)
        with _AtOnce() if on_cpu else ThreadPoolExecutor(1) as scorer:
            for case in cases:
                found = self._measured(case, workers, scorer, tick)
                memory = memory_mb(self.model.device).get("memory_mb")
                yield found.model_copy(update={"memory_mb": memory, "weights": weights})

    def scan(self, case: Case, worst: WorstCase) -> CorruptedScan:
        """A case clean and in one condition, as `measure` saw them; the same seed corrupts a scan alike.

        Raises:
            VesalError: it cannot be read or segmented.
        """
        artifact = next(one for one in self.artifacts if one.title == worst.condition)
        subject = self._read(case)
        clean, corrupted = (self._corrupted(subject, condition) for condition in (None, artifact))
        if isinstance(clean, str) or isinstance(corrupted, str):
            raise DataError(f"{case.id}: {clean if isinstance(clean, str) else corrupted}")
        corruption = corrupted[1]
        assert corruption is not None
        return CorruptedScan(
            worst=worst,
            scans=(subject.raw.image, corruption.volume),
            # What turns a label map back turns it there, too.
            truths=(subject.truth, np.ascontiguousarray(corruption.restore(subject.truth))),
            predictions=(self._segment(clean[0]), self._segment(corrupted[0])),
        )

    # --- corrupt, segment, score -------------------------------------------------------------------------

    def _measured(self, case: Case, workers: int, scorer: Executor, tick: Callable[[], None]) -> Measured:
        """A case in every condition; time and memory are not in it yet."""
        conditions: tuple[Artifact | None, ...] = (None, *self.artifacts)
        rows: list[ArtifactScore] = []
        failures: list[Failure] = []
        try:
            subject = self._read(case)
        except (VesalError, MemoryError, RuntimeError) as error:
            for _ in conditions:
                tick()
            # Once, and not for every condition.
            return Measured(id=case.id, rows=(), failures=(Failure(id=case.id, message=_reason(error)),))
        results: list[Future[list[ArtifactScore]] | str] = []
        corrupted = map_in_order(partial(self._corrupted, subject), conditions, workers=workers)
        for artifact, scan in zip(conditions, corrupted, strict=True):
            results.append(self._segmented(subject, artifact, scan, scorer))
            tick()
        for artifact, result in zip(conditions, results, strict=True):
            try:
                if not isinstance(result, str):
                    rows += result.result()
                    continue
                reason = result
            except (VesalError, MemoryError) as error:
                reason = _reason(error)
            title = CLEAN if artifact is None else artifact.title
            failures.append(Failure(id=f"{case.id}, {title}", message=reason))
        predictions = sum(not isinstance(result, str) for result in results) - len(subject.undone)
        return Measured(
            id=case.id,
            rows=tuple(rows),
            failures=tuple(failures),
            undone=tuple(subject.undone),
            predictions=predictions,
        )

    def _read(self, case: Case) -> _Subject:
        if limit() is not None:
            require(_case_bytes(case), f"To corrupt {case.id}", "leave this scan out")
            require(
                window_bytes(self.model, self._windows), "The network", "take a model with smaller windows"
            )
        raw = read_case(case)
        return _Subject(case, raw, truth_of(raw, self.labels, self.table))

    def _corrupted(self, subject: _Subject, artifact: Artifact | None) -> _Scan | str:
        """A scan ready for the network, or why there is none."""
        try:
            if artifact is None:
                return self.model.prepare(subject.raw.image, mirror=self.mirror), None
            seed = artifact_seed(self.seed, subject.case.id, artifact.name)
            corruption = corrupt(subject.raw.image, artifact, seed)
            return self.model.prepare(corruption.volume, mirror=self.mirror), corruption
        except (VesalError, MemoryError, RuntimeError) as error:
            return _reason(error)

    def _segmented(
        self, subject: _Subject, artifact: Artifact | None, scan: _Scan | str, scorer: Executor
    ) -> Future[list[ArtifactScore]] | str:
        """The scores to come, or why there are none."""
        if isinstance(scan, str):
            return scan
        prepared, corruption = scan
        try:
            if subject.clean_prediction is not None and _alike(subject.clean, prepared):
                prediction = subject.clean_prediction
                subject.undone.append(CLEAN if artifact is None else artifact.title)
            else:
                prediction = self._segment(prepared)
        except (VesalError, MemoryError, RuntimeError) as error:
            return _reason(error)
        if artifact is None:
            subject.clean, subject.clean_prediction = prepared, prediction
        return scorer.submit(self._score, subject, artifact, corruption, prediction)

    def _segment(self, prepared: Prepared) -> NDArray[np.uint8]:
        """Contiguous labels, as `vesal predict` would write them."""
        label = self.model.segment(prepared, self._windows)
        return self.model.labels.encode(label.array)

    def _score(
        self,
        subject: _Subject,
        artifact: Artifact | None,
        corruption: Corruption | None,
        prediction: NDArray[np.uint8],
    ) -> list[ArtifactScore]:
        if artifact is None or corruption is None:
            subject.clean_scores = self._scores(subject, prediction)
            return [ArtifactScore.of(score, score) for score in subject.clean_scores.values()]
        if subject.clean_prediction is None:
            # Without the clean scan nothing can be compared; why it failed is in the clean scan's failure.
            return []
        hidden, clean = corruption.hidden, subject.clean_scores
        prediction = np.ascontiguousarray(corruption.restore(prediction))
        if hidden is not None:
            # What the corrupted scan does not show is judged in neither.
            clean = self._scores(subject, subject.clean_prediction, hidden)
        same = np.array_equal(prediction, subject.clean_prediction)
        scores = clean if same else self._scores(subject, prediction, hidden)
        return [ArtifactScore.of(score, clean[name], artifact) for name, score in scores.items()]

    def _scores(
        self, subject: _Subject, prediction: NDArray[np.uint8], hidden: NDArray[np.bool_] | None = None
    ) -> dict[str, ClassScore]:
        truth = subject.truth if hidden is None else np.where(hidden, np.uint8(IGNORE), subject.truth)
        scores = score_case(
            subject.case.id,
            prediction,
            truth,
            subject.raw.image.geometry,
            self.model.labels,
            annotated=self._annotated(subject.case),
        )
        return {score.class_name: score for score in scores}

    def _annotated(self, case: Case) -> set[str] | None:
        """The model's labels that were drawn in a case, which names them as the data do; None for all."""
        if case.annotated is None:
            return None
        drawn = [
            self.table[value]
            for value, name in enumerate(self.labels.names, start=1)
            if name in case.annotated
        ]
        return {self.model.labels.names[value - 1] for value in drawn if value}


class _AtOnce(Executor):
    """Does what is submitted to it there and then."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def scan_bytes(cases: Sequence[Case]) -> int:
    """What corrupting and preparing one of the scans takes in memory: by the size of the largest file, or under a limit
    of memory by the headers of the largest ones.

    A packed voxel is a byte or more.
    """
    if limit() is None:
        return _COPIES * 8 * max(map(_file_bytes, cases), default=0)
    found = 0
    for case in sorted(cases, key=_file_bytes, reverse=True)[:_LOOKED_INTO]:
        # What cannot be read is told when its turn has come.
        with contextlib.suppress(DataError, OSError):
            found = max(found, _case_bytes(case))
    return found


def _file_bytes(case: Case) -> int:
    return sum(path.stat().st_size for path in case.images if path.exists())


def _case_bytes(case: Case) -> int:
    """The same of one scan, with what is kept of it meanwhile, by its headers."""
    voxels = sum(math.prod(read_geometry(path).shape) for path in case.images)
    return _LIBRARY_BYTES + (_COPIES * 8 + VOXEL_BYTES) * voxels


def _alike(clean: Prepared | None, other: Prepared) -> bool:
    """Whether a network gets the same from both: no voxel differs by more than rounding to 16 bits may make it."""
    if clean is None or clean.image.shape != other.image.shape:
        return False
    if (clean.crop.crop_start, clean.crop.crop_stop) != (other.crop.crop_start, other.crop.crop_stop):
        return False
    for before, after in zip(clean.image, other.image, strict=True):
        # Around 0, where a share of the value is nothing, a share of the image's spread.
        limit = _STEP * (np.abs(before) + before.std())
        if not (np.abs(after - before) <= limit).all():
            return False
    return True


def _reason(error: Exception) -> str:
    if isinstance(error, VesalError):
        return str(error)
    if out_of_memory(error):
        return "the memory does not suffice for this scan; measure it on a larger machine."
    raise error
