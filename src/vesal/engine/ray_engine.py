"""Workers on a cluster of Ray, or on a Ray of this machine alone: actors that prepare once.

Ray places them where there are processors and GPUs, moves items and results, and says when a worker or its node is
gone; what is then done is the same as on one machine. Nothing is reported to anybody, and no dashboard is started.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import socket
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vesal.engine.local_worker import compute_with, failed_preparation
from vesal.engine.memory import memory_of
from vesal.engine.one_item import do
from vesal.engine.outcome import MOST_FAILED_STARTS, Outcome, Prepare, died, too_large
from vesal.engine.waiting import Waiting
from vesal.errors import UsageError, VesalError
from vesal.text import plural

#: Seconds to wait for an answer before the workers are looked at.
_LOOK_S = 0.5
#: Between two looks of a worker at its own memory.
_MEMORY_S = 0.05
#: Seconds in which a first worker must be placed, before it is said that the cluster has no room for one.
_ROOM_S = 120.0
#: Seconds in which the head of a cluster must answer.
_ANSWER_S = 20.0


class ItemWorker:
    """An actor.

    Args:
        threads: to compute with.
        most_bytes: of memory, above which it ends itself; None for no limit.
        name: under which it then leaves how much it was.
        folder: that relative paths begin in.
    """

    def __init__(self, threads: int, most_bytes: int | None, name: str, folder: str) -> None:
        self._threads, self._most_bytes, self._name, self._folder = threads, most_bytes, name, folder
        self._do: Callable[[Any], Any] | None = None

    def here(self) -> None:
        """Answers as soon as it has its place, whatever `begin` then takes."""

    def begin(self, prepare: Prepare) -> Exception | None:
        """Prepare; what kept it from that, or None."""
        with contextlib.suppress(OSError):
            os.chdir(self._folder)
        try:
            compute_with(self._threads)
            if self._most_bytes is not None:
                threading.Thread(target=_watch, args=(self._most_bytes, self._name), daemon=True).start()
            self._do = prepare()
        except Exception as error:
            return failed_preparation(error)
        return None

    def work(self, number: int, item: Any) -> Outcome:
        """Do an item."""
        assert self._do is not None
        return do(self._do, number, item)


def _watch(most_bytes: int, name: str) -> None:
    pid = os.getpid()
    while (found := memory_of(pid)) <= most_bytes:
        time.sleep(_MEMORY_S)
    # Ray says that a worker ended, and not why.
    with contextlib.suppress(Exception):
        _notes()._internal_kv_put(name.encode(), str(found).encode())
    os._exit(1)


def _notes() -> Any:
    """What the head of the cluster keeps by name."""
    from ray.experimental import internal_kv

    return internal_kv


@dataclass(frozen=True)
class RayEngine:
    """Workers on a cluster.

    Attributes:
        address: of its head ('auto' for that which this machine belongs to); None starts a Ray on this machine alone.
        workers: how many; None for as many as the cluster has processors, or GPUs, for.
        threads: that each computes with: so many processors it holds.
        gpus: that each holds; a fraction where several share one.
        most_bytes: of memory that each may take; None for no limit.
    """

    address: str | None = None
    workers: int | None = None
    threads: int = 1
    gpus: float = 0.0
    most_bytes: int | None = None

    @property
    def described(self) -> str:
        """The workers in a few words."""
        where = "Ray on this machine" if self.address is None else f"Ray at {self.address}"
        gpus = f" and {self.gpus:g} GPU" if self.gpus else ""
        count = "workers" if self.workers is None else plural(self.workers, "worker")
        return f"{count} of {where}, with {plural(self.threads, 'processor')}{gpus} each"

    def run(self, prepare: Prepare, items: Sequence[Any]) -> Generator[Outcome, None, None]:
        """As `Engine.run`.

        Raises:
            UsageError: Ray is not installed, or no cluster answers there.
            VesalError: the work cannot be prepared, the cluster has no room for a worker, or none lives until it is.
        """
        if not items:
            return
        with connected(self) as ray:
            pool = _Actors(self, ray, ray.put(prepare), items, self.workers or self._room(ray))
            try:
                while not pool.waiting.over:
                    yield from pool.step()
            finally:
                pool.end()

    def _room(self, ray: Any) -> int:
        """For how many workers the cluster has processors and GPUs, now."""
        there = ray.cluster_resources()
        by_processors = int(there.get("CPU", 0) // self.threads)
        by_gpus = int(there.get("GPU", 0) / self.gpus) if self.gpus else by_processors
        return max(1, min(by_processors, by_gpus))


@dataclass(eq=False)
class _Actor:
    """One of them.

    Attributes:
        number: of the item that it works on; None while it waits or prepares.
    """

    handle: Any
    name: str
    ready: bool = False
    number: int | None = None


@dataclass(eq=False)
class _Actors:
    """The actors while they work; `calls` holds what each is asked now, `places` what says that one has its place."""

    engine: RayEngine
    ray: Any
    prepare: Any
    items: Sequence[Any]
    wanted: int
    calls: dict[Any, _Actor] = field(default_factory=dict)
    idle: list[_Actor] = field(default_factory=list)
    places: list[Any] = field(default_factory=list)
    failed_starts: int = 0
    ever_ready: bool = False

    def __post_init__(self) -> None:
        self.waiting = Waiting(deque(range(len(self.items))))
        self.began = time.monotonic()

    def end(self) -> None:
        """None of them is needed any more."""
        for actor in [*self.calls.values(), *self.idle]:
            with contextlib.suppress(Exception):
                self.ray.kill(actor.handle)

    def step(self) -> Generator[Outcome, None, None]:
        """Give work to who has none, wait for a moment, and yield what came to an end."""
        left = len(self.waiting.first) + len(self.waiting.again) + len(self.waiting.at_work)
        while len(self.calls) + len(self.idle) < min(self.wanted, left):
            self._start()
        while self.idle and (number := self.waiting.take()) is not None:
            actor = self.idle.pop()
            actor.number = number
            self.calls[actor.handle.work.remote(number, self.items[number])] = actor
        ended, _ = self.ray.wait(list(self.calls), num_returns=1, timeout=_LOOK_S)
        for call in ended:
            if (outcome := self._hear(call, self.calls.pop(call))) is not None:
                yield outcome
        if not self.ever_ready and time.monotonic() - self.began > _ROOM_S and not self._any_placed():
            raise VesalError(
                f"The cluster had no room for a worker in {_ROOM_S:g} s; look at `ray status`, or ask for fewer "
                "--threads or --gpus-per-worker."
            )

    def _start(self) -> None:
        kind = self.ray.remote(num_cpus=self.engine.threads, num_gpus=self.engine.gpus, max_restarts=0)
        name = f"vesal-{uuid.uuid4().hex}"
        handle = kind(ItemWorker).remote(self.engine.threads, self.engine.most_bytes, name, os.getcwd())
        self.places.append(handle.here.remote())
        self.calls[handle.begin.remote(self.prepare)] = _Actor(handle, name)

    def _any_placed(self) -> bool:
        """Whether a worker has a place; on many nodes at once the libraries and the model may take minutes to load."""
        there, _ = self.ray.wait(self.places, num_returns=1, timeout=0)
        return bool(there)

    def _hear(self, call: Any, actor: _Actor) -> Outcome | None:
        try:
            answer = self.ray.get(call)
        except self.ray.exceptions.RayTaskError as error:
            # What was sent cannot be understood there, such as by another version of Vesal.
            if actor.number is None:
                raise RuntimeError(str(error)) from error
            self.idle.append(actor)
            return self._not_understood(actor, error)
        except (self.ray.exceptions.RayError, OSError) as error:
            return self._lost(actor, error)
        if isinstance(answer, Exception):
            raise answer
        self.idle.append(actor)
        if not isinstance(answer, Outcome):
            actor.ready, self.ever_ready, self.failed_starts = True, True, 0
            return None
        actor.number = None
        self.waiting.done(answer.number)
        return replace(answer, tries=self.waiting.tries[answer.number])

    def _not_understood(self, actor: _Actor, error: Exception) -> Outcome:
        number, actor.number = actor.number, None
        assert number is not None
        self.waiting.done(number)
        reason = f"it cannot be sent to a worker ({cause_of(str(error))})."
        return Outcome(number, reason=reason, detail=str(error), tries=self.waiting.tries[number])

    def _lost(self, actor: _Actor, error: Exception) -> Outcome | None:
        """A worker or its node is gone: what becomes of its item, where that is not tried again."""
        with contextlib.suppress(Exception):
            self.ray.kill(actor.handle)
        how = cause_of(str(error))
        if actor.number is None:
            self.failed_starts += 1
            if self.failed_starts >= MOST_FAILED_STARTS:
                raise VesalError(
                    f"{self.failed_starts} workers one after the other died before they could begin ({how}); the logs "
                    "of Ray on their nodes have more."
                ) from error
            return None
        number, peak = actor.number, self._too_large(actor.name)
        large, again = bool(peak), self.waiting.lost(number)
        if again and not large:
            return None
        if again:
            self.waiting.again.remove(number)
        tries = self.waiting.tries[number]
        reason = too_large(self.engine.most_bytes or 0) if large else died(how, tries, 0)
        return Outcome(number, reason=reason, detail=str(error), peak_bytes=peak, tries=tries)

    def _too_large(self, name: str) -> int:
        """The bytes of a worker that ended itself for its memory; 0 where another reason ended it."""
        with contextlib.suppress(Exception):
            return int(_notes()._internal_kv_get(name.encode()) or 0)
        return 0


def cause_of(message: str) -> str:
    """What Ray says of the end of a worker, in one line.

    >>> cause_of("The actor died.\\nWorker exit type: SYSTEM_ERROR Worker exit detail: It was killed.")
    'It was killed.'
    >>> cause_of("The actor died because its node has died. Node Id: abc\\n\\tip: 1.2.3.4")
    'The actor died because its node has died. Node Id: abc'
    """
    found = re.search(r"exit detail: ([^\n]+)", message)
    return found[1].strip() if found else message.strip().partition("\n")[0]


def _reachable(address: str) -> None:
    """Ray itself would try for many minutes.

    Raises:
        OSError: nobody listens there.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()


@contextlib.contextmanager
def connected(engine: RayEngine) -> Iterator[Any]:
    """Ray, connected until the block ends; a connection that is there already is used and kept.

    Raises:
        UsageError: it is not installed, or no cluster answers there.
    """
    # Before it is imported, and for the processes that it starts.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if engine.address is None and "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
        # Ray listens on every interface: from 2.52 on it asks each caller for a token.
        os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", secrets.token_hex(32)
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "Ray is not installed; pip install 'vesal[cluster]', or take --engine local."
        ) from error
    if ray.is_initialized():
        yield ray
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if engine.address is None:
            gpus = None if engine.gpus else 0
            # A worker may be wanted for more processors than there are, as on one machine.
            count = None if engine.workers is None else engine.workers * engine.threads
            # Not one that somebody else has started here.
            ray.init(address="local", num_cpus=count, num_gpus=gpus, include_dashboard=False, **quiet)
        else:
            _reachable(engine.address)
            ray.init(address=engine.address, **quiet)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        where = engine.address or "this machine"
        raise UsageError(
            f"No cluster of Ray answers at {where} ({str(error).partition(chr(10))[0]}); start one (ray start "
            "--head) or correct --ray-address."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()
