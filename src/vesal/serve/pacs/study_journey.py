"""A study's way from an archive through a model and back, a durable step at a time; one that fails stops no other."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from vesal.errors import DataError, UsageError, VesalError
from vesal.serve.pacs.pacs_jobs import UNFINISHED, StudyJob, StudyJobs, StudyState
from vesal.serve.pacs.pacs_objects import ResultObject, file_name, result_object
from vesal.serve.pacs.pacs_settings import JourneySettings
from vesal.serve.pacs.retries import Stopped, Unreachable, wait_before
from vesal.volume.dicom.identity import pseudonym

_LOG = logging.getLogger(__name__)

#: Below a study's folder: what was fetched, and what was made of it.
_SCANS, _RESULTS = "scans", "results"
#: What is done next to a study of a state.
_NEXT = {StudyState.FOUND: "fetched", StudyState.FETCHED: "predicted", StudyState.PREDICTED: "stored"}
#: Before an archive that does not answer, or a file of studies that cannot be written, is tried again.
_OUTAGE_S = 30.0


class Predict(Protocol):
    """Makes results of a folder of series, and returns the DICOM objects that are to be stored.

    Called again after a crash, with what it had written in `out`; its objects must then have the same identifiers. A
    `DataError` or `UsageError` sets the study aside at once, for it would come again; another error is tried again.
    `vesal.serve.pacs.retries.Stopped` ends `StudyJourney.run` and leaves the study as it is.
    """

    def __call__(self, folder: Path, out: Path) -> list[Path]: ...


class Origin(Protocol):
    """Where studies come from: `vesal.serve.pacs.archive.Archive` or `vesal.serve.pacs.dicom_node.DicomNode`."""

    def fetch(self, study: str, series: Sequence[str], folder: Path) -> object:
        """Put the series' files below a folder; those that are there stay."""

    def reachable(self) -> bool:
        """Whether it answers."""


class Destination(Protocol):
    """Where results go: `vesal.serve.pacs.archive.Archive` or `vesal.serve.pacs.dicom_sender.DicomSender`."""

    def missing(self, objects: Sequence[ResultObject]) -> list[ResultObject]:
        """Those that it does not hold, as far as it tells."""

    def store(self, objects: Sequence[ResultObject]) -> None:
        """Store them; one that is there already counts as stored."""

    def reachable(self) -> bool:
        """Whether it answers."""


class StudyJourney:
    """Works on the studies that are noted, one after the other.

    Attributes:
        jobs: the studies.
        stop: set by whoever wants it to end; what is done is kept.
    """

    def __init__(
        self,
        jobs: StudyJobs,
        folder: Path,
        origin: Origin,
        predict: Predict,
        destination: Destination,
        settings: JourneySettings | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Deletes what a crash left of studies that are at their end.

        Args:
            jobs: the studies.
            folder: holds their scans and results as long as they are worked on.
            origin, predict, destination: see there.
            settings: how failures are met.
            stop: set by whoever wants it to end.

        Raises:
            VesalError: the folder cannot be written.
        """
        self.jobs = jobs
        self.stop = stop or threading.Event()
        self._folder = folder
        self._origin, self._predict, self._destination = origin, predict, destination
        self._settings = settings or JourneySettings()
        self._news = threading.Event()
        # Patients lie there: nobody else's business.
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise VesalError(f"Cannot write {folder} ({error.strerror or error}); give another.") from error
        needed = {self._of(job) for job in jobs.jobs(*UNFINISHED)}
        for left in set(folder.glob("study-*")) - needed:
            shutil.rmtree(left, ignore_errors=True)

    def wake(self) -> None:
        """Look for studies now: one was noted."""
        self._news.set()

    def end(self) -> None:
        """Let `run` return as soon as the step that is being done ends."""
        self.stop.set()
        self._news.set()

    def work(self) -> bool:
        """Do the next step that is due; False where none is.

        Raises:
            VesalError: the file of studies cannot be written.
        """
        job = self.jobs.next_due()
        if job is None:
            return False
        try:
            self._step(job)
        except Stopped:
            raise
        except Exception as error:
            self._failed(job, error)
        return True

    def run(self, every: Callable[[], float | None] | None = None) -> None:
        """Work until `stop` is set.

        Args:
            every: called in between, such as to look for new studies; returns after how many seconds at the latest it
                wants to be called again.
        """
        while not self.stop.is_set():
            self._news.clear()
            try:
                wait_s = self._round(every)
            except Stopped:
                return
            except Exception as error:
                # Such as of a full disk, which ends: nobody would begin this thread again.
                why = str(error) if isinstance(error, VesalError) else type(error).__name__
                _LOG.error("The work on studies stands still for a moment: %s", why)
                wait_s = _OUTAGE_S
            # `wake` and `end` end it early.
            self._news.wait(wait_s)

    def _round(self, every: Callable[[], float | None] | None) -> float:
        """Do all steps that are due; returns after how many seconds there may be others."""
        again = every() if every is not None else None
        while not self.stop.is_set() and self.work():
            if every is not None:
                again = every()
        return min(one for one in (again, self.jobs.wait_s(), 3600.0) if one is not None)

    def _step(self, job: StudyJob) -> None:
        folder = self._of(job)
        if job.state is StudyState.FOUND:
            self._origin.fetch(job.study, job.series, folder / _SCANS)
            self._advance(job, StudyState.FETCHED)
        elif job.state is StudyState.FETCHED:
            if not (folder / _SCANS).is_dir():
                # Somebody cleared the folder away.
                self.jobs.advance(job, StudyState.FOUND)
                return
            results = self._predict(folder / _SCANS, folder / _RESULTS)
            for one in results:
                _belongs(result_object(one), job)
            self._advance(job, StudyState.PREDICTED, results)
        else:
            self._store(job)
            self._advance(job, StudyState.STORED)
            shutil.rmtree(folder, ignore_errors=True)

    def _store(self, job: StudyJob) -> None:
        paths = self.jobs.to_store(job)
        if not all(path.is_file() for path in paths):
            self.jobs.advance(job, StudyState.FOUND)
            raise VesalError("Results that were to be stored are gone; they are made again.")
        objects = [result_object(path) for path in paths]
        missing = self._destination.missing(objects)
        self.jobs.note_stored(job, [one.path for one in objects if one not in missing])
        if missing:
            self._destination.store(missing)
            self.jobs.note_stored(job, [one.path for one in missing])

    def _advance(self, job: StudyJob, state: StudyState, results: Sequence[Path] = ()) -> None:
        self.jobs.advance(job, state, results)
        _LOG.info("%s: %s.", pseudonym("study", job.study), state)

    def _failed(self, job: StudyJob, error: Exception) -> None:
        """Try again later, or set the study aside."""
        # What other errors say may hold anything, names of patients too.
        unexpected = f"An unexpected {type(error).__name__} while it was to be {_NEXT[job.state]}."
        reason = str(error) if isinstance(error, VesalError) else unexpected
        name = pseudonym("study", job.study)
        if isinstance(error, Unreachable) and not self._side(job).reachable():
            # Nothing is wrong with the study, and all others would fail as well.
            self.jobs.postpone(job, reason, _OUTAGE_S, counts=False)
            _LOG.warning("%s waits: %s", name, reason)
            return
        settings = self._settings
        sure = isinstance(error, DataError | UsageError) and job.state is StudyState.FETCHED
        if sure or job.tries + 1 >= settings.tries:
            self.jobs.set_aside(job, reason)
            _LOG.error("%s was set aside: %s", name, reason)
            shutil.rmtree(self._of(job), ignore_errors=True)
            return
        self.jobs.postpone(job, reason, wait_before(job.tries + 1, settings.wait_s, settings.most_wait_s))
        _LOG.warning("%s is tried again: %s", name, reason)

    def _of(self, job: StudyJob) -> Path:
        return self._folder / f"{file_name(job.study, 'study')}-{job.content[:12]}"

    def _side(self, job: StudyJob) -> Origin | Destination:
        return self._origin if job.state is StudyState.FOUND else self._destination


def _belongs(one: ResultObject, job: StudyJob) -> None:
    """Raise where a result is another study's: it would stand in another patient's record."""
    if one.study != job.study:
        raise DataError(f"{one.path} belongs to another study than was predicted; nothing of it was stored.")
