"""The memory that this process may take (--max-ram): one limit, known here alone, and arrays that are kept out of it.

Whoever needs a large array asks `array` for it. Without a limit that is numpy's. Under a limit an array that would take
more than a share of what is left lies in a file instead, and what is computed from it is the same. The file has no
name: however the process ends, nothing is left of it.

The system counts the pages of such a file to the process that looked at them. `breathe` gives them up where they are
about to fill the limit; they stay in the system's own cache as long as nobody else needs the room.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import re
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesal.errors import DataError, UsageError, VesalError

if TYPE_CHECKING:
    # Imported where it is needed: who asks for --help does not wait for it.
    import numpy as np
    from numpy.typing import NDArray

#: Of what is left an array in memory may take so much.
_ARRAY_SHARE = 1 / 4
#: Of what is left what is worked on at once, with all temporary arrays, may take so much.
_SLAB_SHARE = 1 / 3
#: Pages of files are given up where less than this share of the limit is left: more than what is worked on at once.
_BREATH_SHARE = 1 / 2
#: A program that has imported torch takes about so much before it does anything.
LEAST_BYTES = 300_000_000

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_STATE = Path("/proc/self/statm")


@dataclass(frozen=True)
class _Limit:
    """`most_bytes` of this process, and the folder of the files that hold what is too much."""

    most_bytes: int
    folder: Path


_limit: _Limit | None = None
_MAPPINGS: list[weakref.ref[mmap.mmap]] = []


def parse_size(text: str) -> int:
    """Bytes of a size such as '4G' or '500 MB', by powers of ten.

    >>> parse_size("4G"), parse_size("1.5 GB"), parse_size("800m")
    (4000000000, 1500000000, 800000000)

    Raises:
        UsageError: it is none.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise UsageError(f"'{text}' is no size of memory; give it as 4G or 500M.")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def in_words(size: float) -> str:
    """Bytes as a person says them.

    >>> in_words(3_456_000_000), in_words(20_000_000)
    ('3.5 GB', '20 MB')
    """
    return f"{size / 1e9:.2g} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


@contextlib.contextmanager
def limited(most_bytes: int | None, folder: Path | None = None) -> Iterator[None]:
    """Within the block this process, with all of its threads, keeps to `most_bytes`; None changes nothing.

    Raises:
        UsageError: as `keep_within`.
    """
    before = _limit
    try:
        if most_bytes is not None:
            keep_within(most_bytes, folder)
        yield
    finally:
        _set(before)


def keep_within(most_bytes: int, folder: Path | None = None) -> None:
    """From here on this process, and those that are forked from it, keep to `most_bytes` of memory.

    Args:
        most_bytes: of the whole process.
        folder: on a disk, for what is too much for it; the system's folder for temporary files if None.

    Raises:
        UsageError: the program alone takes more, or the system does not say how much a process takes.
    """
    if not _STATE.exists():
        raise UsageError("--max-ram is kept on Linux alone; leave it out.")
    if most_bytes < max(LEAST_BYTES, held_bytes()):
        raise UsageError(
            f"--max-ram {in_words(most_bytes)} is less than the program itself takes "
            f"({in_words(max(LEAST_BYTES, held_bytes()))}); give it more."
        )
    _set(_Limit(most_bytes, Path(tempfile.gettempdir()) if folder is None else folder))


def _set(limit: _Limit | None) -> None:
    global _limit
    _limit = limit


def limit() -> int | None:
    """Bytes that this process may take; None without a limit."""
    return None if _limit is None else _limit.most_bytes


def folder_of_limit() -> Path | None:
    """Of the files that hold what is too much; None without a limit."""
    return None if _limit is None else _limit.folder


def held_bytes() -> int:
    """Bytes of this process in memory, pages of mapped files included; 0 where the system does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(_STATE.read_text().split()[1]) * mmap.PAGESIZE
    return 0


def room() -> int | None:
    """Bytes that are left of the limit when all pages of files have been given up, as is done; None without a limit."""
    if _limit is None:
        return None
    release()
    return max(0, _limit.most_bytes - held_bytes())


def require(size: float, what: str, fix: str) -> None:
    """Refuse what the limit has no room for.

    Args:
        size: bytes that it takes beside what there is now.
        what: takes them.
        fix: another way than a higher limit, such as 'leave out --overlay'.

    Raises:
        DataError: with the estimate and the fix.
    """
    left = room()
    if left is not None and _limit is not None and size > left:
        needed = in_words(_limit.most_bytes - left + size)
        raise DataError(
            f"{what} takes about {needed} of memory where --max-ram allows {in_words(_limit.most_bytes)}; "
            f"allow more, or {fix}."
        )


def rows_at_once(rows: int, row_bytes: float, anyway_bytes: float = 0.0) -> int:
    """How many of an array's rows are worked on at once: all without a limit, else at least one.

    Args:
        rows: there are.
        row_bytes: of one of them, with all that is made of it meanwhile.
        anyway_bytes: that are taken however many they are.
    """
    left = room()
    if left is None:
        return max(1, rows)
    return max(1, min(rows, int((_SLAB_SHARE * left - anyway_bytes) / max(1.0, row_bytes))))


# --- arrays ----------------------------------------------------------------------------------------------


def array(shape: Sequence[int], dtype: Any, *, slow_axis: int = 0, zeros: bool = False) -> NDArray[Any]:
    """An array in memory, or under a limit that has no room for it in a file.

    Args:
        shape: of the array.
        dtype: of its values.
        slow_axis: of an array in a file the axis whose rows lie one behind the other, as they are worked on.
        zeros: whether it is filled with 0; else it holds anything.

    Raises:
        VesalError: the disk has no room for it.
    """
    import numpy as np

    size = math.prod(shape) * np.dtype(dtype).itemsize
    left = room()
    if left is None:
        return np.zeros(shape, dtype) if zeros else np.empty(shape, dtype)
    if size <= _ARRAY_SHARE * left:
        made = np.empty(shape, dtype)
        made.fill(0)  # what nobody has written to does not count yet, and what follows would rely on its room
        return made
    order = (slow_axis, *(axis for axis in range(len(shape)) if axis != slow_axis))
    flat = np.frombuffer(_file(size), dtype)
    return np.transpose(flat.reshape([shape[axis] for axis in order]), np.argsort(order))


def array_like(other: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """As numpy's empty_like, the axes in the same order of memory; under a limit perhaps in a file."""
    import numpy as np

    if _limit is None:
        return np.empty_like(other, dtype=dtype)
    order = sorted(range(other.ndim), key=lambda axis: -abs(other.strides[axis]))
    made = array([other.shape[axis] for axis in order], dtype)
    return np.transpose(made, np.argsort(order))


def mapped(path: Path, dtype: np.dtype[Any], count: int, offset: int) -> NDArray[Any]:
    """`count` values of a file, from byte `offset` on, which are read when they are looked at; not to be written.

    Raises:
        OSError: the file cannot be mapped.
        ValueError: it is shorter.
    """
    import numpy as np

    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _note(pages)
    return np.frombuffer(pages, dtype, count, offset)


def adopt(values: np.memmap[Any, Any]) -> None:
    """Have the pages of an array that numpy has mapped given up like those of the others."""
    pages = values._mmap  # type: ignore[attr-defined]
    if _limit is not None and pages is not None:
        _note(pages)


def breathe() -> None:
    """Give up the pages of files where they are about to fill the limit. To be called between two pieces of work."""
    if (
        _limit is not None
        and _MAPPINGS
        and _limit.most_bytes - held_bytes() < _BREATH_SHARE * _limit.most_bytes
    ):
        release()


def release() -> None:
    """Give up all pages of files; whoever looks at them again gets the same values."""
    for reference in tuple(_MAPPINGS):
        if (pages := reference()) is None:
            with contextlib.suppress(ValueError):
                _MAPPINGS.remove(reference)
        else:
            pages.madvise(mmap.MADV_DONTNEED)


def _file(size: int) -> mmap.mmap:
    """A file without a name, in memory page by page as it is looked at; it holds zeros."""
    assert _limit is not None
    try:
        _limit.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=_limit.folder) as file:
            # A disk that is full later would end the process without a word.
            os.posix_fallocate(file.fileno(), 0, size)
            pages = mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise VesalError(
            f"What --max-ram has no room for needs {in_words(size)} in {_limit.folder} ({error.strerror or error}); "
            "free some space there, or allow more memory."
        ) from error
    _note(pages)
    return pages


def _note(pages: mmap.mmap) -> None:
    _MAPPINGS.append(weakref.ref(pages))
