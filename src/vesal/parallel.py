"""Work on many items by threads, in order, with progress."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Called with (done, total) after each finished item.
Progress = Callable[[int, int], None]


def cpu_count() -> int:
    """The number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in the items' order, worked on by `workers` threads.

    Reading, decompression and most of numpy release the interpreter lock, so threads keep all cores busy
    without a second interpreter's start-up. At most twice as many items as workers are in flight, so memory
    stays bounded however slowly the results are taken. The first exception is raised at its item's turn.

    >>> list(map_in_order(len, ["a", "bb", "ccc"], workers=2))
    [1, 2, 3]
    """
    workers = workers or cpu_count()
    total = len(items)
    if workers == 1 or total <= 1:
        for done, item in enumerate(items, start=1):
            result = function(item)
            if progress is not None:
                progress(done, total)
            yield result
        return
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[Result]] = deque()
        queue = iter(items)
        done = 0
        try:
            while True:
                for item in islice(queue, 2 * workers - len(pending)):
                    pending.append(pool.submit(function, item))
                if not pending:
                    return
                result = pending.popleft().result()
                done += 1
                if progress is not None:
                    progress(done, total)
                yield result
        finally:
            for future in pending:
                future.cancel()


def read_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int = 1
) -> Iterator[Result]:
    """Yield `function(item)` in order, computed by one thread `ahead` items before they are wanted.

    While the caller works on a result the next is being read; no more than `ahead + 1` are in memory.

    >>> list(read_ahead(len, ["a", "bb"]))
    [1, 2]
    """
    with ThreadPoolExecutor(1) as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
