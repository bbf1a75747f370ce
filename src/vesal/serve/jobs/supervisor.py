"""Lets one process compute the jobs one after the other, and ends it when it takes too long or too much memory."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import IO, Any

from vesal.engine.memory import memory_of
from vesal.serve.jobs.job import Job, Outcome
from vesal.serve.serve_settings import PACS_PASSWORD_VARIABLE, PACS_TOKEN_VARIABLE, TOKEN_VARIABLE, Limits

_LOG = logging.getLogger("vesal.serve")

#: Seconds between two looks at the process.
_LOOK_S = 0.1
#: A process may take so long to import what it needs.
_START_S = 180.0
_MODULE = "vesal.serve.jobs.worker"
#: Below the server's folder: what the process prints, and what it unpacks.
_LOG_FILE, _TEMPORARY = "worker.log", "temporary"
#: What the processes printed is kept up to so many bytes, and as many of before.
_LOG_BYTES = 5_000_000
#: Variables of the server that are nobody else's: a process that reads what strangers send has no use for them.
_SECRETS = (TOKEN_VARIABLE, PACS_TOKEN_VARIABLE, PACS_PASSWORD_VARIABLE)


@dataclass(frozen=True)
class JobOrder:
    """A job as its process gets it.

    Attributes:
        job: that is to be computed.
        model: file or run folder.
        inputs: scans.
        folder: for the results.
        root: of everything that belongs to the job.
        room_bytes: that must stay free on the disk.
    """

    job: Job
    model: Path
    inputs: tuple[Path, ...]
    folder: Path
    root: Path
    room_bytes: int = 0

    def line(self) -> str:
        """As JSON."""
        return json.dumps(
            {
                "id": self.job.id,
                "model": str(self.model),
                "inputs": [str(path) for path in self.inputs],
                "folder": str(self.folder),
                "root": str(self.root),
                "room_bytes": self.room_bytes,
                "options": self.job.options.to_dict(),
            }
        )


@dataclass(frozen=True)
class Ended:
    """How a job's computation ended: with an outcome, with the reason of a failure, or cancelled (neither).

    Attributes:
        refused: the failure would come again.
    """

    outcome: Outcome | None = None
    error: str | None = None
    refused: bool = False


@dataclass
class Running:
    """The job that is being computed.

    Attributes:
        share: 0 to 1, how far it is.
        stage: what is being done.
        cancelled: somebody does not want it any more.
    """

    id: str
    share: float = 0.0
    stage: str = "Starting"
    cancelled: threading.Event = field(default_factory=threading.Event)


class _Process:
    """The worker, and the thread that reads what it says."""

    def __init__(self, device: str, backend: str, folder: Path, most_bytes: int) -> None:
        log = folder / _LOG_FILE
        if log.is_file() and log.stat().st_size > _LOG_BYTES:
            log.replace(folder / f"{_LOG_FILE}.1")
        self._log = log.open("ab")
        self._temporary = folder / _TEMPORARY
        # Left by a process of a server that was killed.
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir(mode=0o700, exist_ok=True)
        own = {key: value for key, value in os.environ.items() if key not in _SECRETS}
        self._process = subprocess.Popen(
            [sys.executable, "-m", _MODULE, device, backend, str(most_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=own | {"TMPDIR": str(self._temporary)},
            # A group of its own: it is ended with whatever it started, and Ctrl-C reaches the server alone.
            start_new_session=True,
        )
        self.said: Queue[dict[str, Any] | None] = Queue()
        assert self._process.stdout is not None
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()

    def _read(self, stream: IO[bytes]) -> None:
        for line in stream:
            try:
                self.said.put(json.loads(line))
            except ValueError:
                _LOG.warning("the process of jobs said what is no JSON")
        self.said.put(None)

    def send(self, order: JobOrder) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order.line()}\n".encode())
        self._process.stdin.flush()

    @property
    def pid(self) -> int:
        return self._process.pid

    def lives(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def code(self) -> int:
        """Its exit status, once it has ended."""
        return self._process.wait()

    def end(self) -> None:
        """Kill it, with all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        # A killed process clears nothing away, and patients lie in what it unpacked.
        shutil.rmtree(self._temporary, ignore_errors=True)


class Supervisor:
    """Computes jobs in a process that may die without harm.

    Args:
        limits: of time and memory.
        device, backend: as of `vesal predict`.
        folder: of the server, for what the process prints and unpacks.
    """

    def __init__(self, limits: Limits, device: str, backend: str, folder: Path) -> None:
        self._limits, self._device, self._backend, self._folder = limits, device, backend, folder
        self._process: _Process | None = None
        self._stopping = threading.Event()
        self.running: Running | None = None
        self.restarts = 0

    def compute(self, order: JobOrder) -> Ended:
        """Compute a job; however its process ends, this returns how."""
        self.running = running = Running(order.job.id)
        try:
            return self._compute(order, running)
        finally:
            self.running = None

    def cancel(self, id_: str) -> None:
        """The job is not wanted any more; nothing happens where it is not being computed."""
        running = self.running
        if running is not None and running.id == id_:
            running.cancelled.set()

    def stop(self) -> None:
        """End the process; a job that is being computed counts as cancelled here."""
        self._stopping.set()
        self._end()

    def _compute(self, order: JobOrder, running: Running) -> Ended:
        if self._process is not None and not self._process.lives():
            # It died while nobody used it, which is no fault of this job.
            self._end()
        process = self._process or self._begin()
        if process is None:
            return self._failed(
                running, "The process of jobs does not start; worker.log in the server's folder says why."
            )
        began = time.monotonic()
        try:
            process.send(order)
        except (OSError, ValueError):
            # It is gone, or `stop` has closed its input.
            self._end()
            return self._failed(running, _died(process.code()))
        while True:
            for message in _said(process.said):
                if message is None:
                    code = process.code()
                    self._end()
                    return self._failed(running, _died(code))
                if message.get("id") != order.job.id:
                    continue
                if "done" in message:
                    return Ended(outcome=Outcome.model_validate(message["done"]))
                if "failed" in message:
                    return Ended(error=str(message["failed"]), refused=bool(message.get("refused")))
                running.share, running.stage = float(message["progress"]), str(message["stage"])
            if why := self._why_end(process, running, time.monotonic() - began):
                self._end()
                return self._failed(running, why)

    def _unwanted(self, running: Running) -> bool:
        return running.cancelled.is_set() or self._stopping.is_set()

    def _why_end(self, process: _Process, running: Running, seconds: float) -> str:
        """Why the process must end now; '' where it need not."""
        if self._unwanted(running):
            return "cancelled"
        if seconds > self._limits.job_s:
            return (
                f"The job took longer than the {self._limits.job_s:g} s that this server allows; send less."
            )
        used = memory_of(process.pid)
        if used > self._limits.job_bytes:
            return (
                f"The job needed more than the {self._limits.job_bytes / 1e9:.3g} GB of memory that this server "
                "allows; send a smaller scan."
            )
        return ""

    def _begin(self) -> _Process | None:
        """A process that is ready; None where none gets so far."""
        process = _Process(self._device, self._backend, self._folder, self._limits.job_bytes)
        self._process = process
        self.restarts += 1
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and not self._stopping.is_set():
            for message in _said(process.said):
                if message is not None and "ready" in message:
                    return process
                if message is None:
                    self._end()
                    return None
        self._end()
        return None

    def _failed(self, running: Running, why: str) -> Ended:
        """A failure; nothing where nobody waits for the job any more."""
        return Ended() if self._unwanted(running) else Ended(error=why)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()


def _said(queue: Queue[dict[str, Any] | None]) -> Iterator[dict[str, Any] | None]:
    """What there is to read, after waiting for a moment."""
    with contextlib.suppress(Empty):
        yield queue.get(timeout=_LOOK_S)
        while True:
            yield queue.get_nowait()


def _died(code: int) -> str:
    if code == -signal.SIGKILL:
        return "The system killed the job, as it does where memory is short; send a smaller scan."
    how = f"signal {-code}" if code < 0 else f"exit status {code}"
    return f"The job's process died ({how}); worker.log in the server's folder has more."
