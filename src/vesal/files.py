"""Files that are whole or absent: written beside their place and renamed into it."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import secrets
import shutil
import socket
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from isal import isal_zlib

from vesal.errors import DataError, VesalError

#: Begin the names of what is being written, and of folders for a while.
_TEMPORARY, _SCRATCH = ".writing-", "vesal-scratch-"


@contextlib.contextmanager
def atomic_path(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it onto `path` when the block ends well.

    The temporary name keeps the whole ending of `path` (".nii.gz"), for writers that look at it. When the
    block raises, nothing is left behind and an older `path` stays as it was.

    With `durable` the content is on the disk before it takes the name: a power cut leaves the old file or the
    new one. Without, that holds for the death of the process alone.

    Raises:
        VesalError: the folder cannot be written or went away (`Place`), the disk is full, or `before_replacing`
            forbids it.
    """
    path = Path(path)
    suffix = "".join(path.suffixes[-2:])
    check_place(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep_once(path.parent)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_own_prefix(), suffix=suffix)
    except OSError as error:
        raise cannot_write(path, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, _FILE_MODE)
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        for ask in tuple(_ASKED):
            ask(temporary, path)
        os.replace(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        # What cannot be removed is swept by the next start: the reason of the failure counts more.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


class Place:
    """A folder that must stay the one that it is.

    Where a drive or a network folder goes away, its mount point stays as an empty folder of the disk below: what is
    written on would lie where nobody looks for it, and under the drive once it is back. A folder that somebody removed
    would come back with the later half of the results.

    It is held open, so that the system does not give its number to another, until nobody refers to this object.

    Attributes:
        folder: need not be there yet; until it is, the folder that it will be made in must stay.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.abspath(folder))
        #: What is held open, and its path; set at once, for several threads write.
        self._held: tuple[int, Path] | None = None
        self._note()

    def _note(self) -> None:
        for there in (self.folder, *self.folder.parents):
            # Windows has no O_DIRECTORY, and opens no folders.
            with contextlib.suppress(OSError, AttributeError):
                handle = os.open(there, os.O_RDONLY | os.O_DIRECTORY)
                weakref.finalize(self, os.close, handle).atexit = False
                self._held = handle, there
                return

    def check(self, path: Path) -> None:
        """Raise where `path` lies below the folder, and that is another by now or gone.

        Raises:
            VesalError: it says so.
        """
        if self._held is None or not os.path.abspath(path).startswith(f"{self.folder}{os.sep}"):
            return
        handle, there = self._held
        try:
            same = os.path.samestat(os.stat(there), os.fstat(handle))
        except OSError:
            same = False
        if not same:
            raise VesalError(
                f"{there} was removed, replaced or unmounted while it was written to; bring it back and start "
                "again, or choose another output folder."
            )
        if there != self.folder and self.folder.exists():
            self._note()


@contextlib.contextmanager
def staying(*places: Place) -> Iterator[None]:
    """Within the block nothing is written into one of these folders once it is no longer the folder that it was."""
    _PLACES.extend(places)
    try:
        yield
    finally:
        for place in places:
            _PLACES.remove(place)


def expanded(path: Path) -> Path:
    """The path with the home folder in place of a leading ~ or ~user; as it is where nobody is called so.

    >>> expanded(Path("~nobody is called so")).name
    '~nobody is called so'
    """
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def check_place(path: Path) -> None:
    """Raise where a file would be written into a folder that is not the one any more that is `staying`.

    Raises:
        VesalError: it says so.
    """
    for place in tuple(_PLACES):
        place.check(path)


@contextlib.contextmanager
def before_replacing(ask: Callable[[Path | None, Path], None]) -> Iterator[None]:
    """Within the block, call `ask(written, path)` before a file that was written whole takes the name `path`.

    `written` is None where `path` is to be deleted (`remove`). What is raised leaves the older `path` as it was. It is
    called in whatever thread writes.
    """
    _ASKED.append(ask)
    try:
        yield
    finally:
        _ASKED.remove(ask)


def remove(path: Path) -> None:
    """Delete a file of an earlier state, unless `before_replacing` forbids it; one that is not there is no error."""
    if os.path.lexists(path):
        for ask in tuple(_ASKED):
            ask(None, path)
        path.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: str | Path, data: bytes | memoryview) -> None:
    """Write `data` to `path`, whole or not at all, power cuts included."""
    with atomic_path(path, durable=True) as temporary:
        temporary.write_bytes(data)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file in UTF-8, -16 or -32, with or without a byte order mark.

    Raises:
        DataError: the file is absent, is not JSON, or gives an object one key twice, of which one would be lost.
    """
    try:
        return parse_json(Path(path).read_bytes(), object_pairs_hook=_unique)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}); correct it.") from error


def parse_json(text: str | bytes, **options: Any) -> Any:
    """What `json.loads` gives.

    Raises:
        ValueError: it is not JSON, or nested deeper than Python's reader goes (RecursionError there).
    """
    try:
        return json.loads(text, **options)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"'{key}' is given twice in one object")
        found[key] = value
    return found


def read_json_lines(path: str | Path) -> list[dict[str, Any]]:
    """The objects of a file that holds one a line; none where it is absent, and no line that a kill cut off."""
    rows = []
    if Path(path).is_file():
        for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                rows.append(parse_json(line))
    return [row for row in rows if isinstance(row, dict)]


def temporary_name(folder: Path) -> Path:
    """A name in `folder` that no other process takes, on whatever machine; what a killed one leaves there is swept."""
    return folder / f"{_own_prefix()}{secrets.token_hex(8)}"


def is_temporary(path: Path) -> bool:
    """Whether `path` is being written, or was when its process was killed."""
    return path.name.startswith(_TEMPORARY)


def sweep(folder: Path, *, older_than_s: float = 3600.0, below: bool = True) -> None:
    """Delete what killed processes left half written in `folder`, and in its subfolders where `below` is true.

    Others may be writing at the same time: what was touched in the last `older_than_s` seconds stays, unless it is of
    a process of this machine that is no more.
    """
    pattern = f"{_TEMPORARY}*"
    for stale in folder.rglob(pattern) if below else folder.glob(pattern):
        # Gone, of somebody else, or no file: nobody needs to know.
        with contextlib.suppress(OSError):
            if _orphaned(stale.name) or time.time() - stale.stat().st_mtime >= older_than_s:
                stale.unlink()


@functools.lru_cache(maxsize=1024)
def _sweep_once(folder: Path) -> None:
    """Whatever verb was killed, its next start clears away: before a process first writes into a folder."""
    with contextlib.suppress(OSError):
        sweep(folder, below=False)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder beside the system's temporary files, removed when the block ends."""
    own = f"{_SCRATCH}{_machine()}-{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=own, ignore_cleanup_errors=True) as name:
        yield Path(name)


def sweep_scratch() -> None:
    """Remove the scratch folders that killed processes of this machine left behind."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        if _orphaned(folder.name, _SCRATCH):
            shutil.rmtree(folder, ignore_errors=True)


def _orphaned(name: str, kind: str = _TEMPORARY) -> bool:
    """Whether the process that wrote a temporary file ran on this machine and has ended."""
    machine, pid, *_ = [*name.removeprefix(kind).split("-"), "", ""]
    if machine != _machine() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
        # Where nobody asks how it ended, as in a container without an init, an ended process keeps its number.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False


def _own_prefix() -> str:
    return f"{_TEMPORARY}{_machine()}-{os.getpid()}-"


@functools.cache
def _machine() -> str:
    """Eight digits for where the numbers of processes mean what they mean here: this start of this machine, and the
    container within it. A network folder is written from several."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def link_or_copy(file: str | Path, to: str | Path) -> None:
    """Put a file at a second place, without a second set of its bytes where the file system can.

    Args:
        file: is not changed by anybody later on.
        to: not there yet.

    Raises:
        OSError: it can neither be linked nor copied.
    """
    try:
        os.link(file, to)
    except OSError:
        shutil.copyfile(file, to)


def content_hash(*parts: bytes | memoryview) -> str:
    """A 128-bit BLAKE2b digest of the parts, in hexadecimal.

    >>> content_hash(b"scan") == content_hash(b"sc", b"an")
    True
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def file_digest(*paths: Path) -> str:
    """`content_hash` of the bytes of files, read piece by piece."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def file_checksum(path: Path) -> int:
    """The CRC-32 of a file's bytes: finds what a disk or a copy damaged, at several GB/s; no defence against intent."""
    found = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            found = isal_zlib.crc32(piece, found)
    return found


_ASKED: list[Callable[[Path | None, Path], None]] = []
_PLACES: list[Place] = []
#: What the system says where a file system went away.
_GONE = {errno.ENOENT, errno.ENODEV, errno.EIO, errno.ESTALE, errno.ENOTCONN}


def _file_mode() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


# mkstemp makes private files; ours get the permissions of any other file. Asked once: umask is the process's.
_FILE_MODE = _file_mode()


def cannot_write(path: Path, error: OSError) -> VesalError:
    """What is raised where the system does not take a file."""
    reason = error.strerror or str(error)
    fix = "free some space or choose another output folder"
    if error.errno in _GONE:
        fix = "see that its folder and drive are there, and start again"
    return VesalError(f"Cannot write {path}: {reason}; {fix}.")
