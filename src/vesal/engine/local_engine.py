"""Workers on this machine: processes that are watched, ended where they take too much memory, and replaced."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from vesal.engine.local_worker import serve
from vesal.engine.memory import memory_of, peak_of
from vesal.engine.outcome import MOST_FAILED_STARTS, Outcome, Prepare, died, too_large
from vesal.engine.start import start_context
from vesal.engine.waiting import Waiting
from vesal.errors import VesalError
from vesal.files import scratch_folder
from vesal.text import plural

#: Seconds between two looks at the memory of the workers.
_LOOK_S = 0.1
#: How long a process that was asked to end may take (s) before it is killed.
_PATIENCE_S = 2.0
#: Bytes of what a worker printed last that are kept of one that died.
_LAST_WORDS = 4000


@dataclass(eq=False)
class _Worker:
    """A process.

    Attributes:
        words: what it prints.
        number: of the item that it works on; None while it waits or prepares.
        peak_bytes: most memory that was seen since the item began.
        too_large: it was ended for its memory.
    """

    process: Any
    connection: Connection
    words: Path
    ready: bool = False
    number: int | None = None
    peak_bytes: int = 0
    too_large: bool = False

    def ended_by(self) -> str:
        """In words."""
        self.process.join(_PATIENCE_S)
        code = self.process.exitcode
        if code == -signal.SIGKILL:
            return "killed, as the system does where memory runs out"
        return f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"

    def last_words(self) -> str:
        """The end of what it printed."""
        with contextlib.suppress(OSError):
            return self.words.read_bytes()[-_LAST_WORDS:].decode(errors="replace").strip()
        return ""


@dataclass(frozen=True)
class LocalEngine:
    """Workers on this machine.

    Attributes:
        workers: how many processes.
        threads: that each computes with.
        most_bytes: of memory that each may take; None for no limit.
        patience_s: how long a worker that is asked to end may take to save what it is at (s).
    """

    workers: int
    threads: int = 1
    most_bytes: int | None = None
    patience_s: float = _PATIENCE_S

    @property
    def described(self) -> str:
        """The workers in a few words."""
        return f"{plural(self.workers, 'worker')} of this machine, with {plural(self.threads, 'thread')} each"

    def run(self, prepare: Prepare, items: Sequence[Any]) -> Generator[Outcome, None, None]:
        """As `Engine.run`.

        Raises:
            VesalError: the work cannot be prepared, or no worker lives until it is.
        """
        if not items:
            return
        with (
            scratch_folder() as folder,
            _Pool(self, prepare, items, folder) as pool,
        ):
            while not pool.waiting.over:
                yield from pool.step()


@dataclass(eq=False)
class _Pool:
    """The processes while they work."""

    engine: LocalEngine
    prepare: Prepare
    items: Sequence[Any]
    folder: Path
    workers: list[_Worker] = field(default_factory=list)
    failed_starts: int = 0
    begun: int = 0
    looked_s: float = 0.0

    def __post_init__(self) -> None:
        self.waiting = Waiting(deque(range(len(self.items))))

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.connection.close()
            worker.process.terminate()
        deadline = time.monotonic() + self.engine.patience_s
        for worker in self.workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def step(self) -> Generator[Outcome, None, None]:
        """Give work to who has none, wait for a moment, and yield what came to an end."""
        left = len(self.waiting.first) + len(self.waiting.again) + len(self.waiting.at_work)
        while len(self.workers) < min(self.engine.workers, left):
            self._start()
        for worker in self.workers:
            # One that is being ended for its memory may have answered just before.
            if worker.ready and worker.number is None and not worker.too_large and self.waiting.any_now:
                self._send(worker)
        known = {worker.connection: worker for worker in self.workers}
        for connection in wait(list(known), timeout=_LOOK_S):
            assert isinstance(connection, Connection)
            if (outcome := self._hear(known[connection])) is not None:
                yield outcome
        # Not after every answer: of many workers that would be most of the work here.
        if (now := time.monotonic()) - self.looked_s >= _LOOK_S:
            self.looked_s = now
            for worker in self.workers:
                self._look(worker)

    def _start(self) -> None:
        context = start_context(["vesal.engine.local_worker", type(self.prepare).__module__])
        ours, theirs = multiprocessing.Pipe()
        words = self.folder / f"{self.begun}.log"
        self.begun += 1
        process = context.Process(  # type: ignore[attr-defined]
            target=serve, args=(theirs, self.prepare, self.engine.threads, str(words)), daemon=True
        )
        process.start()
        theirs.close()
        self.workers.append(_Worker(process, ours, words))

    def _send(self, worker: _Worker) -> None:
        number = self.waiting.take()
        if number is None:
            return
        worker.number, worker.peak_bytes = number, 0
        # A worker that has died is noticed where its answer is read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            worker.connection.send((number, self.items[number]))

    def _hear(self, worker: _Worker) -> Outcome | None:
        try:
            answer = worker.connection.recv()
        except (EOFError, OSError):
            # It died, perhaps in the middle of its answer.
            return self._lost(worker)
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, Outcome):
            worker.ready, self.failed_starts = True, 0
            return None
        worker.number = None
        self.waiting.done(answer.number)
        return replace(
            answer,
            tries=self.waiting.tries[answer.number],
            peak_bytes=max(answer.peak_bytes, worker.peak_bytes),
        )

    def _lost(self, worker: _Worker) -> Outcome | None:
        """A worker died: what becomes of its item, where that is not tried again."""
        self.workers.remove(worker)
        worker.connection.close()
        how, number = worker.ended_by(), worker.number
        if number is None:
            if not worker.too_large:
                self._count_failed_start(worker, how)
            return None
        again = self.waiting.lost(number)
        if again and not worker.too_large:
            return None
        if again:
            # Alone it would need as much again.
            self.waiting.again.remove(number)
        tries = self.waiting.tries[number]
        reason = (
            too_large(self.engine.most_bytes or 0)
            if worker.too_large
            else died(how, tries, worker.peak_bytes)
        )
        return Outcome(
            number,
            reason=reason,
            detail=worker.last_words(),
            peak_bytes=worker.peak_bytes,
            worker=f"process {worker.process.pid}",
            tries=tries,
        )

    def _count_failed_start(self, worker: _Worker, how: str) -> None:
        self.failed_starts += 1
        if self.failed_starts >= MOST_FAILED_STARTS:
            words = worker.last_words()
            raise VesalError(
                f"{self.failed_starts} processes one after the other died before they could begin ({how}); end other "
                f"programs or take fewer --workers.{f' The last one said: {words}' if words else ''}"
            )

    def _look(self, worker: _Worker) -> None:
        if worker.number is None:
            return
        pid = worker.process.pid
        worker.peak_bytes = max(worker.peak_bytes, peak_of(pid))
        most = self.engine.most_bytes
        if most is not None and memory_of(pid) > most and not worker.too_large:
            worker.too_large = True
            worker.process.kill()
