"""The results of all items in order, by an engine: what a pool of processes gives, but that a worker may die."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vesal.engine.outcome import Engine, Outcome, Prepare, at_once
from vesal.errors import VesalError
from vesal.memory_limit import folder_of_limit, keep_within, limit
from vesal.parallel import Progress

Item = TypeVar("Item")


def map_by(
    engine: Engine,
    prepare: Prepare,
    items: Sequence[Item],
    failed: Callable[[Item, Outcome], Any],
    *,
    progress: Progress | None = None,
) -> list[Any]:
    """What becomes of each item, in the items' order.

    Where this process keeps to a limit of memory (`vesal.memory_limit`), each worker keeps to the same by itself.

    Args:
        engine: that has the workers.
        prepare: gives what does an item.
        items: to work on.
        failed: the result of an item that was set aside, such as a record of the reason.
        progress: called with (done, total).

    Raises:
        VesalError: the work cannot be prepared, or a failure is one that the other items share, such as a full disk.
    """
    found: dict[int, Any] = {}
    if (most_bytes := limit()) is not None:
        prepare = _Within(prepare, most_bytes, folder_of_limit())
    with closing(engine.run(prepare, items)) as outcomes:
        for outcome in outcomes:
            if outcome.hopeless:
                raise VesalError(outcome.reason)
            number = outcome.number
            found[number] = failed(items[number], outcome) if outcome.failed else outcome.result
            if progress is not None:
                progress(len(found), len(items))
    return [found[number] for number in range(len(items))]


@dataclass(frozen=True)
class _Within:
    """Prepares a worker that keeps to `most_bytes`, and to `folder` for what is too much."""

    prepare: Prepare
    most_bytes: int
    folder: Path | None

    def __call__(self) -> Callable[[Any], Any]:
        if limit() is None:  # of an engine within the process the limit is known already
            keep_within(self.most_bytes, self.folder)
        return self.prepare()

    def workers(self, items: Sequence[Any]) -> int:
        """As of `Bounded`."""
        return at_once(self.prepare, items)
