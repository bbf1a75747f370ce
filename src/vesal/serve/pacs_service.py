"""Studies from an archive or a node, through the server's jobs, and their results back."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vesal.errors import DataError, UsageError, VesalError
from vesal.files import content_hash, file_digest, link_or_copy
from vesal.serve.jobs.job import Job, JobOptions, Status
from vesal.serve.jobs.job_service import JobService
from vesal.serve.jobs.uploads import UploadError
from vesal.serve.pacs.archive import Archive
from vesal.serve.pacs.archive_watch import ArchiveWatch, note_studies
from vesal.serve.pacs.dicom_node import DicomNode
from vesal.serve.pacs.dicom_sender import DicomSender
from vesal.serve.pacs.pacs_jobs import StudyJobs
from vesal.serve.pacs.retries import Stopped, Unreachable
from vesal.serve.pacs.study_journey import Destination, StudyJourney
from vesal.serve.pacs.study_query import parse_query
from vesal.serve.pacs_options import PacsSettings
from vesal.volume.dicom.identity import pseudonym

_LOG = logging.getLogger(__name__)

#: Where studies come from.
_ARCHIVE, _NODE = "archive", "node"
#: Seconds between two looks at a job.
_LOOK_S = 0.2
#: Seconds until an archive that did not answer is asked again.
_AGAIN_S = 10.0
#: Seconds between two looks for received studies that need not be kept.
_EXPIRE_S = 600.0


class PredictStudy:
    """Segments a study as a job of the server, with its limits; `vesal.serve.pacs.study_journey.Predict`.

    A study that is segmented again after a crash finds the job that it had begun; one whose files are others by now, as
    after a correction of the patient's name, or whose model is, does not.

    Args:
        service: that does the job.
        model: its name.
        to: kinds of objects.
        stop: set when the server ends.
        made_by: digest of what makes the results.
    """

    def __init__(
        self,
        service: JobService,
        model: str,
        to: tuple[str, ...],
        stop: threading.Event,
        made_by: str = "",
    ) -> None:
        self._service, self._model, self._to, self._stop = service, model, to, stop
        self._made_by = made_by

    def __call__(self, folder: Path, out: Path) -> list[Path]:
        """Segment the series below a folder.

        Returns:
            The objects, in `out`.

        Raises:
            DataError: the job failed, and would again.
            VesalError: the job failed.
            Stopped: the server ends.
        """
        files = file_digest(*sorted(path for path in folder.rglob("*") if path.is_file()))
        made_of = (folder.parent.name, files, self._made_by, self._model, *self._to)
        id_ = content_hash("\n".join(made_of).encode())
        job = self._service.get(id_)
        if job is not None and job.status.ended and job.status is not Status.FINISHED:
            # An earlier try; the journey says how often there is another.
            self._service.remove(id_)
            job = None
        if job is None:
            options = JobOptions(to=("nifti", *self._to))
            job = self._service.accept_folder(folder, id_, self._model, options)
        return self._taken(self._ended(job), out)

    def _ended(self, job: Job) -> Job:
        while not self._stop.wait(_LOOK_S):
            now = self._service.get(job.id)
            if now is None:
                raise VesalError("The job was removed before it had ended; it is begun again.")
            if now.status.ended:
                return now
        raise Stopped("The server ends.")

    def _taken(self, job: Job, out: Path) -> list[Path]:
        if job.status is not Status.FINISHED:
            failure = DataError if job.refused else VesalError
            raise failure(job.error or "The job was cancelled.")
        out.mkdir(parents=True, exist_ok=True)
        taken = []
        for file in job.outcome.results:
            if file.kind in self._to:
                # The job's own files expire.
                target = out / file.name
                target.unlink(missing_ok=True)
                try:
                    link_or_copy(self._service.results(job) / file.name, target)
                except OSError as error:
                    self._service.remove(job.id)
                    raise VesalError("Results of the job are gone; they are made again.") from error
                taken.append(target)
        return taken


class PacsService:
    """Works on studies beside the server's own requests, from `start` to `stop`.

    Args:
        settings: where studies come from and go to.
        service: does the jobs.
        folder: for studies and their list.
        made_by: digest of the model; studies that are asked for are segmented again where it is another.

    Raises:
        UsageError: another process uses the folder, a query is none, or the extra `serve` is not installed.
        VesalError: the folder cannot be written.
    """

    def __init__(self, settings: PacsSettings, service: JobService, folder: Path, made_by: str = "") -> None:
        self._made_by = content_hash("\n".join([made_by, *settings.to]).encode())
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sources: dict[str, StudyJourney] = {}
        self._stack = contextlib.ExitStack()
        predict = PredictStudy(service, settings.model, settings.to, self._stop, self._made_by)
        self._archive = archive = None if settings.archive is None else Archive(settings.archive, self._stop)
        sender = None if settings.send is None else DicomSender(settings.send, self._stop)
        destination: Destination | None = sender or archive
        assert destination is not None
        if archive is not None:
            self._stack.callback(archive.close)
            self._of_archive(settings, archive, predict, destination, folder / "archive")
        if settings.node is not None:
            self._of_node(settings, predict, destination, folder / "node")

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the step that is being done."""
        self._stop.set()
        for journey in self._sources.values():
            journey.end()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._stack.close()

    def studies(self) -> list[dict[str, Any]]:
        """The studies of all sources, the newest first, under pseudonyms."""
        rows = [(source, job) for source, journey in self._sources.items() for job in journey.jobs.jobs()]
        return [
            {
                "name": pseudonym("study", job.study),
                "source": source,
                "state": str(job.state),
                "tries": job.tries,
                "reason": job.reason,
                "changed": datetime.fromtimestamp(job.changed, UTC),
            }
            for source, job in sorted(rows, key=lambda row: -row[1].changed)
        ]

    def note(self, query: str) -> int:
        """Note the archive's studies that a query means; what was set aside of them is taken up again.

        Returns:
            How many were not being worked on.

        Raises:
            UploadError: there is no archive, or it does not answer or refuses.
        """
        if self._archive is None:
            raise UploadError("This server works beside no archive; start it with --pacs URL.")
        journey = self._sources[_ARCHIVE]
        try:
            parsed = parse_query(query)
            again = sum(journey.jobs.again(study) for study in self._archive.studies(parsed))
            noted = note_studies(self._archive, journey.jobs, parsed, self._made_by) + again
        except UsageError as error:
            raise UploadError(str(error), 400) from error
        except VesalError as error:
            raise UploadError(str(error), 502) from error
        journey.wake()
        return noted

    def _of_archive(
        self,
        settings: PacsSettings,
        archive: Archive,
        predict: PredictStudy,
        destination: Destination,
        folder: Path,
    ) -> None:
        jobs = self._stack.enter_context(StudyJobs(folder / "studies.sqlite"))
        journey = StudyJourney(jobs, folder, archive, predict, destination, stop=self._stop)
        watch = settings.watch
        looks = None if watch is None else ArchiveWatch(archive, jobs, watch, self._made_by)
        asked = [parse_query(text) for text in settings.studies]

        def every() -> float | None:
            # In the journey's thread, for an archive that starts after this server.
            while asked and not self._stop.is_set():
                try:
                    note_studies(archive, jobs, asked[0], self._made_by)
                except Unreachable as error:
                    _LOG.warning("The studies that were asked for wait: %s", error)
                    return _AGAIN_S
                except Stopped:
                    return 0.0
                except VesalError as error:
                    _LOG.error("Studies that were asked for are left out: %s", error)
                asked.pop(0)
            return None if looks is None else looks()

        self._add(_ARCHIVE, journey, every)

    def _of_node(
        self, settings: PacsSettings, predict: PredictStudy, destination: Destination, folder: Path
    ) -> None:
        assert settings.node is not None
        jobs = self._stack.enter_context(StudyJobs(folder / "studies.sqlite"))

        def wake() -> None:
            # The node receives from its start on, a moment before its journey is there.
            if _NODE in self._sources:
                self._sources[_NODE].wake()

        node = DicomNode(settings.node, folder, jobs, wake)
        self._stack.enter_context(node)
        journey = StudyJourney(jobs, folder, node, predict, destination, stop=self._stop)

        def expire() -> float:
            node.expire()
            return _EXPIRE_S

        self._add(_NODE, journey, expire)

    def _add(self, source: str, journey: StudyJourney, every: Callable[[], float | None] | None) -> None:
        self._sources[source] = journey
        self._threads.append(threading.Thread(target=journey.run, args=(every,), name="studies"))
