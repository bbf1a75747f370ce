"""How much memory a process holds, and held at most."""

from __future__ import annotations

import contextlib
from pathlib import Path

_SELF = Path("/proc/self")


def memory_of(pid: int) -> int:
    """Bytes of a process in memory; 0 where it is gone or the system does not say."""
    return _of(Path(f"/proc/{pid}/status"), "VmRSS:")


def peak_of(pid: int) -> int:
    """Most bytes that a process had in memory since it began, or since its `forget_peak`; 0 where it is gone."""
    return _of(Path(f"/proc/{pid}/status"), "VmHWM:")


def peak() -> int:
    """Most bytes of this process in memory since it began, or since `forget_peak`; 0 where the system does not say."""
    return _of(_SELF / "status", "VmHWM:")


def forget_peak() -> None:
    """From here on `peak` counts anew; where the system does not let it, nothing happens."""
    with contextlib.suppress(OSError):
        (_SELF / "clear_refs").write_text("5")


def _of(file: Path, field: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return 0
