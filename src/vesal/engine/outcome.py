"""What becomes of an item that an engine was given, and what engines have in common."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from vesal.cpus import cpu_count

#: Begins the work in a worker, once, and gives what does an item; both are pickled, and items and results with them.
Prepare = Callable[[], Callable[[Any], Any]]

#: An item whose worker died is tried again elsewhere; it may be what kills them, and is set aside after so many.
MOST_TRIES = 2

#: So many workers in a row that die before they have done anything: none will ever begin.
MOST_FAILED_STARTS = 3


@runtime_checkable
class Bounded(Protocol):
    """A `Prepare` that knows for how many of its items at once the memory of a machine is enough."""

    def workers(self, items: Sequence[Any]) -> int:
        """Of this machine, at least 1."""
        ...


def at_once(prepare: Prepare, items: Sequence[Any]) -> int:
    """How many items this machine may work on at once: what the work says, or one for each CPU."""
    return prepare.workers(items) if isinstance(prepare, Bounded) else cpu_count()


@dataclass(frozen=True)
class Outcome:
    """How the work on an item ended.

    Attributes:
        number: of the item.
        result: what was made of it; None where it failed.
        reason: why it failed, in a sentence; '' where it did not.
        detail: of a failure that nobody foresaw: the traceback, or the last words of the worker.
        hopeless: the failure is none of the item: the others would end so, too (a full disk).
        seconds: that the last try took.
        peak_bytes: most memory of the worker meanwhile, as far as it is known.
        worker: the host and process of it.
        tries: how often it was begun.
    """

    number: int
    result: Any = None
    reason: str = ""
    detail: str = ""
    hopeless: bool = False
    seconds: float = 0.0
    peak_bytes: int = 0
    worker: str = ""
    tries: int = 1

    @property
    def failed(self) -> bool:
        """Whether there is no result."""
        return bool(self.reason)


class Engine(Protocol):
    """Works on items by workers that each prepare once.

    A failure of one item is its outcome and harms no other. A worker that dies is replaced, and its item tried again.
    """

    def run(self, prepare: Prepare, items: Sequence[Any]) -> Generator[Outcome, None, None]:
        """Yield what becomes of each item as soon as it is known, in whatever order.

        Raises:
            VesalError: the work cannot be prepared, so that no item would be done.
        """
        ...

    @property
    def described(self) -> str:
        """The workers in a few words."""
        ...

    @property
    def threads(self) -> int:
        """That each worker computes with."""
        ...


def too_large(most_bytes: int) -> str:
    """The reason of an item whose worker was ended because it took more memory than is allowed."""
    return (
        f"it needs more than the {most_bytes / 1e9:.3g} GB of memory that a worker may take; give it more "
        "(--worker-ram) or take a larger machine."
    )


def died(how: str, tries: int, peak_bytes: int) -> str:
    """The reason of an item whose workers died.

    >>> died("signal 9", 2, 3_000_000_000)
    'its worker died 2 times (signal 9; 3 GB of memory when it was last looked at); it is not tried again.'
    """
    memory = f"; {peak_bytes / 1e9:.3g} GB of memory when it was last looked at" if peak_bytes else ""
    return f"its worker died {tries} times ({how}{memory}); it is not tried again."
