"""The jobs of a server: its folders, its list, and the thread that has one after the other computed.

The folder of a server holds `jobs.sqlite`; `incoming/`, uploads that are not whole yet; `jobs/ID/` with `upload/`,
which goes when the job has ended, and `results/`, which goes when it has expired; and what the supervisor keeps.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from vesal.errors import UsageError, VesalError
from vesal.files import link_or_copy, read_json, write_json
from vesal.serve.jobs.job import TEMPORARY, Job, JobOptions, ResultFile, Status
from vesal.serve.jobs.job_store import JobStore
from vesal.serve.jobs.supervisor import Ended, JobOrder, Supervisor
from vesal.serve.jobs.uploads import Upload, UploadError, arrange
from vesal.serve.serve_settings import ServeSettings

_LOG = logging.getLogger("vesal.serve")

#: Seconds between two looks for what has expired, where no job is computed.
_SWEEP_S = 30.0
#: Before what the disk did not take is written again.
_AGAIN_S = 5.0
_INPUTS = "inputs.json"
#: By its list a folder of a server is known; beside it a lock, and on a disk of its own what the system put there.
_LIST, _LOCK, _OF_THE_SYSTEM = "jobs.sqlite", ".lock", "lost+found"


class _Stopping(Exception):
    """The server ends before the end of a job could be noted."""


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        share: 0 to 1.
        stage: what is being done; '' where nothing is.
        ahead: jobs before it.
    """

    share: float
    stage: str
    ahead: int


class JobService:
    """Accepts jobs, has them computed and keeps what they made.

    Args:
        settings: of the server.

    Raises:
        UsageError: another server uses the folder, or it holds something else.
        VesalError: the folder cannot be used.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._settings, self.limits = settings, settings.limits
        self._state = settings.state
        self._incoming, self._jobs = self._state / "incoming", self._state / "jobs"
        self._lock = _lock(self._state)
        self._store = JobStore(self._state / _LIST)
        self._supervisor = Supervisor(settings.limits, settings.device, settings.backend, self._state)
        # As they were described to clients: another file of the same name has other labels.
        self._models = {name: _files_of(path) for name, path in settings.models.items()}
        self._waiting = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs")
        #: Are called with each job that has ended.
        self.on_end: list[Callable[[Job], None]] = []

    def start(self) -> None:
        """Clear away what a server that died left half done, and begin to compute."""
        shutil.rmtree(self._incoming, ignore_errors=True)
        for folder in (self._incoming, self._jobs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = self._store.ids()
        for folder in self._jobs.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
        self._waiting.set()
        self._thread.start()

    def stop(self) -> None:
        """End; a job that is being computed is begun again by the next server."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._waiting.set()
        self._supervisor.stop()
        if self._thread.is_alive():
            self._thread.join()
        self._store.close()
        # Uploads that did not come to their end.
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._lock.release()

    @property
    def restarts(self) -> int:
        """How often a process of jobs was begun."""
        return self._supervisor.restarts

    def ready(self) -> str:
        """Why no job would be computed now; '' where one would."""
        if self._stopping.is_set() or not self._thread.is_alive():
            return "the server is starting or stopping"
        if self.free() < self.limits.room_bytes:
            return "the disk is nearly full"
        if all(self._is_another(name) for name in self._models):
            return "the files of all models are gone or replaced; restart the server"
        return ""

    def _is_another(self, name: str) -> bool:
        """Whether a model's file is gone or another than when this server started."""
        return _files_of(self._settings.models[name]) != self._models[name]

    def free(self) -> int:
        """Bytes that are left on the disk."""
        return shutil.disk_usage(self._state).free

    def counts(self) -> Counter[str]:
        """Status -> jobs."""
        return self._store.counts()

    # --- accepting -------------------------------------------------------------------------------------------

    def begin_upload(self) -> Upload:
        """A place for an upload; it is given up by `discard`.

        Raises:
            UploadError: too many are coming, or too many jobs wait.
        """
        if len(list(self._incoming.iterdir())) >= self.limits.uploads:
            raise UploadError("Too many uploads at the same time; try again in a moment.", 503)
        self._refuse_full()
        folder = self._incoming / uuid.uuid4().hex
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise UploadError(f"The upload cannot be stored ({error.strerror or error}).", 507) from error
        return Upload(folder, self.limits)

    def discard(self, upload: Upload) -> None:
        """The upload is not wanted any more, or has been accepted."""
        upload.close()
        shutil.rmtree(upload.folder, ignore_errors=True)

    def accept(self, upload: Upload, model: str, options: JobOptions, channels: int) -> Job:
        """Make a job of an upload that is whole.

        Args:
            upload: from `begin_upload`.
            model: name of one of the settings' models.
            options: of the prediction.
            channels: that the model wants.

        Raises:
            UploadError: it holds no scan, or too many jobs wait.
        """
        self._refuse_full()
        inputs = arrange(upload.files, upload.folder / "upload", channels)
        write_json(upload.folder / _INPUTS, [path.relative_to(upload.folder).as_posix() for path in inputs])
        return self._add(upload.folder, upload.folder.name, model, options)

    def accept_folder(self, folder: Path, id_: str, model: str, options: JobOptions) -> Job:
        """Make a job of a folder on this disk, whose files are linked or copied; a full line does not hold it up.

        Args:
            folder: with one study.
            id_: of the job; 32 hexadecimal digits.
            model, options: as of `accept`.

        Raises:
            VesalError: there is no room for it.
        """
        begun = self._incoming / id_
        for left in (begun, self._jobs / id_):
            shutil.rmtree(left, ignore_errors=True)
        try:
            shutil.copytree(folder, begun / "upload" / "study", copy_function=link_or_copy)
        except (OSError, shutil.Error) as error:
            shutil.rmtree(begun, ignore_errors=True)
            raise VesalError(f"The study cannot be copied ({error}); free some space.") from error
        write_json(begun / _INPUTS, ["upload/study"])
        return self._add(begun, id_, model, options)

    def _add(self, begun: Path, id_: str, model: str, options: JobOptions) -> Job:
        folder = self._jobs / id_
        begun.rename(folder)
        try:
            job = self._store.add(model, options, id_)
        except VesalError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._waiting.set()
        return job

    def _refuse_full(self) -> None:
        if self._store.counts()[Status.QUEUED] >= self.limits.queue:
            raise UploadError(
                f"{self.limits.queue} jobs wait already, as many as this server takes; try again later.", 503
            )

    # --- asking ----------------------------------------------------------------------------------------------

    def get(self, id_: str) -> Job | None:
        """A job; None where there is none of that name."""
        return self._store.get(id_)

    def newest(self, most: int) -> list[Job]:
        """The last jobs, the newest first."""
        return self._store.newest(most)

    def progress(self, job: Job) -> Progress:
        """How far a job is."""
        running = self._supervisor.running
        if job.status is Status.QUEUED:
            return Progress(0.0, "Waiting", self._store.ahead(job.id))
        if job.status is Status.RUNNING and running is not None and running.id == job.id:
            return Progress(running.share, running.stage, 0)
        return Progress(1.0 if job.status is Status.FINISHED else 0.0, "", 0)

    def result(self, job: Job, name: str) -> tuple[ResultFile, Path] | None:
        """A file that a job made, and where it is; None where it made none of that name."""
        found = next((file for file in job.outcome.results if file.name == name), None)
        return None if found is None else (found, self._jobs / job.id / "results" / found.name)

    def results(self, job: Job) -> Path:
        """The folder of what a job made."""
        return self._jobs / job.id / "results"

    # --- ending ----------------------------------------------------------------------------------------------

    def cancel(self, id_: str) -> Job | None:
        """A job that waits or is computed is not; None where it had ended."""
        job = self._store.cancel(id_, self.limits.kept)
        if job is not None:
            self._supervisor.cancel(id_)
            self._ended(job)
        return job

    def remove(self, id_: str) -> None:
        """Forget a job that has ended, and delete what it made."""
        # The files first: a server that dies between the two finds the job and no file, and removes it again.
        shutil.rmtree(self._jobs / id_, ignore_errors=True)
        self._store.remove(id_)

    # --- computing -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._waiting.clear()
                # What a server that died was computing, or this thread when it failed below: it has no other job now.
                for failed in self._store.begin_again(self.limits.kept):
                    self._ended(failed)
                while (job := self._next()) is not None:
                    self._compute(job)
                    # Not when the line is empty: under load it never is.
                    self._sweep()
                self._sweep()
            except Exception as error:
                # Without this thread every job would wait for ever; others' texts may hold anything.
                why = str(error) if isinstance(error, VesalError) else type(error).__name__
                _LOG.error("jobs stand still for a moment: %s", why)
            self._waiting.wait(_SWEEP_S)

    def _next(self) -> Job | None:
        """The job that is to be computed; None where none waits, or where nothing is begun."""
        if self._stopping.is_set():
            return None
        if self.free() < self.limits.room_bytes:
            # What it makes would take the room that is left to the list of jobs, and to others on this disk.
            if waiting := self._store.counts()[Status.QUEUED]:
                _LOG.warning("jobs wait (%d): the disk is nearly full; free some space", waiting)
            return None
        return self._store.claim()

    def _sweep(self) -> None:
        for job in self._store.expired():
            self.remove(job.id)

    def _compute(self, job: Job) -> None:
        root = self._jobs / job.id
        # What an earlier try left.
        for name in (TEMPORARY, "results"):
            shutil.rmtree(root / name, ignore_errors=True)
        model = self._settings.models.get(job.model)
        if model is None:
            ended = Ended(error=f"The model {job.model} is not served any more; send the scan for another.")
        elif self._is_another(job.model):
            ended = Ended(
                error=f"The file of the model {job.model} is gone or another than when this server started; restart it."
            )
        elif not (root / _INPUTS).is_file():
            ended = Ended(error="The upload is gone; send it again.")
        else:
            inputs = tuple(root / str(name) for name in read_json(root / _INPUTS))
            room = self.limits.room_bytes
            ended = self._supervisor.compute(JobOrder(job, model, inputs, root / "results", root, room))
        if self._stopping.is_set() and ended.outcome is None and ended.error is None:
            # Not ended: the next server begins it again, and this try does not count.
            if not self._store.put_back(job):
                self._clear(job.id)
            return
        try:
            after = self._noted(job, ended)
        except _Stopping:
            # The next server begins it again.
            return
        if after is None:
            # Cancelled meanwhile: what was made of it goes.
            self._clear(job.id)
            return
        self._ended(after)

    def _noted(self, job: Job, ended: Ended) -> Job | None:
        """The job as it ended, written down as soon as the disk takes it; None where it was cancelled meanwhile."""
        while True:
            try:
                if ended.outcome is not None:
                    return self._store.finish(job.id, ended.outcome, self.limits.kept)
                if ended.error is not None:
                    return self._store.fail(job.id, ended.error, self.limits.kept, refused=ended.refused)
                return None
            except VesalError as error:
                _LOG.error("the end of job %s cannot be noted yet: %s", job.id, error)
                if self._stopping.wait(_AGAIN_S):
                    raise _Stopping from error

    def _ended(self, job: Job) -> None:
        """Clear away what is not kept of a job, and tell who asked to be."""
        self._clear(job.id, results=job.status is not Status.FINISHED)
        _LOG.info("job %s %s", job.id, job.status)
        for listener in self.on_end:
            listener(job)

    def _clear(self, id_: str, *, results: bool = True) -> None:
        for name in ("upload", TEMPORARY, "results") if results else ("upload", TEMPORARY):
            shutil.rmtree(self._jobs / id_ / name, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self._jobs / id_ / _INPUTS).unlink(missing_ok=True)


def _files_of(model: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of the change of a model's files; none where they are gone."""
    files = sorted(model.rglob("*.vesal")) if model.is_dir() else [model]
    with contextlib.suppress(OSError):
        return [(file.name, (state := file.stat()).st_size, state.st_mtime_ns) for file in files]
    return []


def _lock(state: Path) -> FileLock:
    """The folder of a server, which is made for its user alone, held by this process.

    Raises:
        UsageError: another server holds it, or it is a folder of something else: what a server finds in its own and
            does not know, it deletes.
        VesalError: it cannot be made.
    """
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        others = sorted({path.name for path in state.iterdir()} - {_LOCK, _OF_THE_SYSTEM})
        if others and _LIST not in others:
            raise UsageError(
                f"{state} is no folder of a server and holds other things, such as {others[0]}; name a new or empty "
                "folder with --state."
            )
        if os.name == "posix":
            state.chmod(0o700)
        lock = FileLock(state / _LOCK)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(
            f"Another server uses {state}; stop it, or name another folder with --state."
        ) from error
    except OSError as error:
        raise VesalError(
            f"The folder {state} cannot be used ({error.strerror or error}); name another with --state."
        ) from error
    return lock
