"""Work on many items by threads, in order, with progress; and how many threads the memory is enough for."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from vesal.cpus import control_groups, cpu_count
from vesal.memory_limit import room

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Called with (done, total) after each finished item.
Progress = Callable[[int, int], None]

#: Makes the progress of a named stage of the work; None where nobody looks.
StageProgress = Callable[[str], Progress | None]

#: Files of a control group: its limit of memory, and what is held.
_OF_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")
#: Where the system does not tell.
_UNKNOWN = 4 << 30

#: More threads than this wait for the disk and for memory, not for processors.
_MOST_WORKERS = 16


def no_progress(title: str) -> None:
    """A `StageProgress` that shows nothing."""


def map_in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Generator[Result, None, None]:
    """Yield `function(item)` for each item, in the items' order, worked on by `workers` threads.

    Reading, decompression and most of numpy release the interpreter lock, so threads keep all cores busy
    without a second interpreter's start-up. At most twice as many items as workers are in flight, so memory
    stays bounded however slowly the results are taken. The first exception is raised at its item's turn. Where one is
    raised here, no thread is at work any more; a caller that raises one itself closes the generator for that.

    >>> list(map_in_order(len, ["a", "bb", "ccc"], workers=2))
    [1, 2, 3]
    """
    workers = workers or cpu_count()
    total = len(items)
    alone = workers == 1 or total <= 1
    results: Generator[Result, None, None]
    if alone:
        results = (function(item) for item in items)
    else:
        results = read_ahead(function, items, 2 * workers - 1, workers=workers)
    with contextlib.closing(results):
        for done, result in enumerate(results, start=1):
            if progress is not None:
                progress(done, total)
            yield result


def read_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], ahead: int = 1, *, workers: int = 1
) -> Generator[Result, None, None]:
    """Yield `function(item)` in order, computed by threads up to `ahead` items before they are wanted.

    While the caller works on a result the next are being made; no more than `ahead + 1` are in memory.

    >>> list(read_ahead(len, ["a", "bb"]))
    [1, 2]
    """
    with ThreadPoolExecutor(workers) as pool:
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


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that can be allocated without swapping: the least of what the machine, the control groups of this process
    (a container's, a job's) and --max-ram have left.

    Args:
        root: of the file system that the system is asked by.

    >>> available_memory() > 1 << 20
    True
    """
    available = min([_of_machine(root), *_of_control_groups(root)])
    left = room()
    return available if left is None else min(available, left)


def workers_within(bytes_each: int) -> int:
    """Threads that each need so many bytes at once: as many as there are CPUs (at most 16) and memory; at least 1.

    >>> workers_within(1 << 60)
    1
    """
    return max(1, min(cpu_count(), _MOST_WORKERS, available_memory() // max(1, bytes_each)))


def _of_control_groups(root: Path) -> Iterator[int]:
    for version, group in control_groups("memory", root):
        names = ("memory.max", "memory.current") if version == 2 else _OF_VERSION_1
        with contextlib.suppress(OSError, ValueError):
            # 'max' is no limit, and no number.
            most, held = (int((group / name).read_text()) for name in names)
            state = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            # Files that were read count as held, until somebody needs the room.
            prefix = "" if version == 2 else "total_"
            cached = sum(int(state.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))
            yield max(0, most - max(0, held - cached))


def _of_machine(root: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return _UNKNOWN
