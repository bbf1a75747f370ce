"""Work for engines that fails in every way that an item says; worker processes import it from here."""

from __future__ import annotations

import gc
import os
import signal
import struct
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from vesal.engine.in_process import InProcess
from vesal.engine.outcome import Outcome, Prepare, at_once
from vesal.errors import DataError, VesalError
from vesal.memory_limit import limit


@dataclass(frozen=True)
class Work:
    """Prepares once; `folder` is where it leaves marks."""

    folder: Path
    begins: str = "well"

    def __call__(self) -> Callable[[Any], Any]:
        if self.begins == "refused":
            raise VesalError("The model is damaged; copy it again.")
        if self.begins == "bug":
            raise ZeroDivisionError("nobody foresaw this")
        if self.begins == "dies":
            print("no such instruction", flush=True)
            os._exit(7)
        (self.folder / f"began-{os.getpid()}").touch()
        return self.work

    def work(self, item: Any) -> Any:
        name, _, how = str(item).partition(" ")
        with (self.folder / f"tried-{name}").open("a") as file:
            file.write("x")
        return WAYS[how](self, name) if how else name.upper()

    def dies_once(self, name: str) -> str:
        mark = self.folder / f"died-{name}"
        if not mark.exists():
            mark.touch()
            os._exit(3)
        return name.upper()

    def eats(self, _name: str) -> int:
        held = []
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            # Slowly: whoever looks at the memory must see it before the machine has none.
            held.append(b"\1" * (8 << 20))
            time.sleep(0.02)
        return len(held)


def _refused(_work: Work, _name: str) -> None:
    raise DataError("it has no voxels; name another file.")


def _bug(_work: Work, _name: str) -> None:
    raise KeyError("spacing")


def _memory(_work: Work, _name: str) -> None:
    raise MemoryError


def _disk(_work: Work, _name: str) -> None:
    raise VesalError("The disk is full; free some space.")


def _dies(_work: Work, _name: str) -> None:
    print("a library gave up", flush=True)
    os.kill(os.getpid(), signal.SIGABRT)


def _answers_half(work: Work, name: str) -> str:
    """The first time the worker dies while it sends: a length, and less than that."""
    mark = work.folder / f"died-{name}"
    if not mark.exists():
        mark.touch()
        (connection,) = (one for one in gc.get_objects() if isinstance(one, Connection) and one.writable)
        os.write(connection.fileno(), struct.pack("!i", 100) + b"half")
        os._exit(1)
    return name.upper()


def _unsendable(_work: Work, _name: str) -> Any:
    return lambda: None


WAYS: dict[str, Callable[[Work, str], Any]] = {
    "is refused": _refused,
    "meets a bug": _bug,
    "is too large": _memory,
    "finds a full disk": _disk,
    "kills": _dies,
    "kills once": Work.dies_once,
    "eats": Work.eats,
    "answers half": _answers_half,
    "cannot be sent": _unsendable,
    "takes a moment": lambda _, name: (time.sleep(0.15), name.upper())[1],
    "takes long": lambda _, name: (time.sleep(0.5), name.upper())[1],
}


class CountsThreads:
    """Work that says with how many threads it computes."""

    def __call__(self) -> Callable[[Any], Any]:
        return lambda _item: torch.get_num_threads()


@dataclass(frozen=True)
class Losing(InProcess):
    """An engine of this process that answers as one whose workers die of some items.

    Attributes:
        lost: their numbers.
    """

    lost: tuple[int, ...] = ()

    def run(self, prepare: Prepare, items: Sequence[Any]) -> Generator[Outcome, None, None]:
        for outcome in super().run(prepare, items):
            died = replace(
                outcome, result=None, reason="its worker died 2 times (signal 9).", peak_bytes=3_000_000
            )
            yield died if outcome.number in self.lost else outcome


@dataclass(frozen=True)
class LimitOfMemory:
    """Each item's result is the limit of memory that its worker keeps to."""

    def __call__(self) -> Callable[[Any], Any]:
        return lambda _item: limit()


@dataclass(frozen=True)
class BoundedWork(LimitOfMemory):
    """Says that there is room for as many items as the first one has letters."""

    def workers(self, items: Sequence[Any]) -> int:
        return len(items[0])


class AsksHowMany(InProcess):
    """An engine whose results are how many items it would work on at once."""

    def run(self, prepare: Prepare, items: Sequence[Any]) -> Generator[Outcome, None, None]:
        for number in range(len(items)):
            yield Outcome(number, at_once(prepare, items))
