"""How much memory this process may still use."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

#: Where the system does not tell.
_UNKNOWN = 4 << 30


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


def _of_machine() -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return _UNKNOWN
