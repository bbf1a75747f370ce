"""How much memory this process may still use, and how many threads it is enough for."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from vesal.parallel import cpu_count

#: Where the system does not tell.
_UNKNOWN = 4 << 30

#: More threads than this wait for the disk and for memory, not for processors.
_MOST_WORKERS = 16


def available_memory() -> int:
    """Bytes that can be allocated without swapping: the machine's, or the container's if that is less.

    >>> available_memory() > 1 << 20
    True
    """
    available = _of_machine()
    with contextlib.suppress(OSError, ValueError):
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit != "max":
            used = int(Path("/sys/fs/cgroup/memory.current").read_text())
            available = min(available, max(0, int(limit) - used))
    return available


def workers_within(bytes_each: int) -> int:
    """Threads that each need so many bytes at once: as many as there are CPUs (at most 16) and memory; at least 1.

    >>> workers_within(1 << 60)
    1
    """
    return max(1, min(cpu_count(), _MOST_WORKERS, available_memory() // max(1, bytes_each)))


def _of_machine() -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return _UNKNOWN
