"""The results of all items in order, by an engine: what a pool of processes gives, but that a worker may die."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, TypeVar

from vesal.engine.outcome import Engine, Outcome, Prepare
from vesal.errors import VesalError
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
    with closing(engine.run(prepare, items)) as outcomes:
        for outcome in outcomes:
            if outcome.hopeless:
                raise VesalError(outcome.reason)
            number = outcome.number
            found[number] = failed(items[number], outcome) if outcome.failed else outcome.result
            if progress is not None:
                progress(len(found), len(items))
    return [found[number] for number in range(len(items))]
