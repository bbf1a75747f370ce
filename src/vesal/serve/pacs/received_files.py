"""Objects as they come from a sender: onto the disk piece by piece, within limits, and into their place whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import BinaryIO

#: Free bytes that are left to others on the disk.
_SPARE = 256 << 20
#: Of an object its beginning is kept in memory: enough to say whose it is.
_HEAD = 1 << 16


class Space:
    """How many bytes lie in a folder, of all threads together.

    Attributes:
        most: at most so many.
        most_of_one: of one object.
    """

    def __init__(self, folder: Path, most: int, most_of_one: int) -> None:
        """Counts what is there."""
        self.folder, self.most, self.most_of_one = folder, most, most_of_one
        self._lock = threading.Lock()
        self.used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    def take(self, size: int) -> bool:
        """Whether there is room for so many bytes more, which then count."""
        with self._lock:
            if self.used + size > self.most or shutil.disk_usage(self.folder).free < _SPARE + size:
                return False
            self.used += size
            return True

    def give_back(self, size: int) -> None:
        """So many bytes are gone."""
        with self._lock:
            self.used -= size


class ReceivedFile:
    """A file that is being received, as pynetdicom uses one: what is too large is counted and not kept.

    Attributes:
        name: its path.
        file: itself; pynetdicom flushes that.
        overflowed: something did not fit.
        head: its first bytes, also where they did not fit.
    """

    def __init__(self, folder: Path, space: Space) -> None:
        """Begins an empty file."""
        handle, self.name = tempfile.mkstemp(dir=folder, suffix=".dcm")
        self._stream: BinaryIO = os.fdopen(handle, "wb")
        self._space = space
        self.size = 0
        self.overflowed = False
        self.head = b""
        self._kept = False

    @property
    def file(self) -> ReceivedFile:
        """Itself."""
        return self

    def write(self, data: bytes) -> int:
        """Keep a piece, or nothing of it where there is no room."""
        self.head += data[: _HEAD - len(self.head)]
        if self.overflowed:
            return len(data)
        if self.size + len(data) > self._space.most_of_one or not self._space.take(len(data)):
            self.overflowed = True
            return len(data)
        self.size += len(data)
        # An association that is cut off closes the file while its last piece is on the way.
        with contextlib.suppress(ValueError):
            self._stream.write(data)
        return len(data)

    def flush(self) -> None:
        """Hand over what is held back."""
        if not self._stream.closed:
            self._stream.flush()

    def close(self) -> None:
        """End the file; one that is in no place of its own is deleted."""
        self._stream.close()
        if not self._kept and os.path.exists(self.name):
            os.unlink(self.name)
            self._space.give_back(self.size)

    def keep(self, path: Path) -> None:
        """Put the file, whole and synced, into its place; one that is there is replaced."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.stat().st_size if path.exists() else 0
        os.replace(self.name, path)
        self._kept = True
        self._space.give_back(before)
