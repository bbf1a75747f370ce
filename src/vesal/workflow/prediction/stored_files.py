"""Files at addresses such as s3://bucket/folder: listed, fetched and put up by fsspec, whole or not at all.

Who may read and write there is the business of the library of that storage, which asks its usual files and variables of
the environment. An address may hold a password all the same, so that none is ever shown as it is.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from vesal.errors import DataError, UsageError, VesalError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(?:::[^/]*)?://")
#: Name and password of an address, which may hold signs that should have been escaped; a port is none.
_SECRET = re.compile(r"(?<=://)(?:[^\s/]*@|[^\s/:]*:(?!\d+(?:/|$))\S*@)")
#: Signatures and tokens stand behind the question mark.
_QUERY = re.compile(r"(?<=://)([^\s?'\"]*)\?[^\s'\"]*")

#: Storage where what is put up appears when it is whole. Elsewhere it is written under another name, and moved.
_WHOLE = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory")
#: Begins the name of what is being written.
WRITING = ".writing-"
#: What says, in the listings of several storages, that a file is another one.
_MARKS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")


def is_address(text: str) -> bool:
    """Whether a text is an address, and no path of this machine.

    >>> is_address("s3://bucket/scans"), is_address("C:/scans"), is_address("scans")
    (True, False, False)
    """
    return _ADDRESS.match(text) is not None


def any_address(inputs: Iterable[str], out: str) -> bool:
    """Whether scans or results lie at an address."""
    return any(map(is_address, (*inputs, out)))


def masked(text: str) -> str:
    """A text without the passwords and tokens of the addresses in it.

    >>> masked("Cannot read sftp://anna:secret@host/scans.")
    'Cannot read sftp://***@host/scans.'
    >>> masked("https://host/scan.nii?token=abc (gone), s3://bucket/a@b")
    'https://host/scan.nii?*** (gone), s3://bucket/a@b'
    """
    return _QUERY.sub(r"\1?***", _SECRET.sub("***@", text))


@dataclass(frozen=True)
class StoredFile:
    """A file as a listing has it.

    Attributes:
        size: in bytes.
        mark: changes with its content: the storage's digest, or a time.
    """

    size: int
    mark: str

    @property
    def stamp(self) -> list[Any]:
        """For JSON."""
        return [self.size, self.mark]


@dataclass(frozen=True)
class StoredFolder:
    """A folder at an address; it is pickled as such, and opened where it is used.

    Attributes:
        address: of the folder.
    """

    address: str

    def __repr__(self) -> str:
        """For messages and tracebacks."""
        return masked(self.address)

    @classmethod
    def of(cls, text: str) -> StoredFolder:
        """Of an address, or of a path of this machine.

        Raises:
            UsageError: there is no such storage, or its library is not installed.
        """
        folder = cls(text.rstrip("/") if is_address(text) else f"file://{Path(text).absolute().as_posix()}")
        if "::" in folder.address:
            raise UsageError(f"{folder!r} leads through another file; name the storage alone.")
        folder._open()
        return folder

    @property
    def in_this_process(self) -> bool:
        """Whether no other process sees what is there."""
        return self.address.startswith("memory:")

    def files(self) -> dict[str, StoredFile]:
        """All files below the folder by their names relative to it; none where it is not there.

        Raises:
            VesalError: the storage does not answer, or refuses.
        """
        fs, root = self._open()
        with _asking(f"list {self!r}"):
            fs.invalidate_cache()
            try:
                found: dict[str, dict[str, Any]] = fs.find(root, detail=True)
            except FileNotFoundError:
                return {}
        # A bucket's root is its name alone, a file that was named for a folder is itself.
        start = root.rstrip("/") + "/"
        return {
            name: _stored(info)
            for path, info in found.items()
            if path.startswith(start) and info.get("type", "file") == "file"
            if _is_plain(name := path.removeprefix(start))
        }

    def holds_file(self) -> bool:
        """Whether the address is that of one file.

        Raises:
            VesalError: the storage does not answer, or refuses.
        """
        fs, root = self._open()
        with _asking(f"look at {self!r}"):
            return bool(fs.isfile(root))

    def parent(self) -> tuple[StoredFolder, str]:
        """The folder around, and the name in it."""
        folder, _, name = self.address.rpartition("/")
        return StoredFolder(folder), name

    def fetch(self, name: str, to: Path, size: int | None = None) -> None:
        """Copy a file here.

        Args:
            name: below the folder.
            to: where it goes; its folder is made.
            size: in bytes, as it was listed.

        Raises:
            DataError: it is not there, cannot be read, or is of another size now.
        """
        fs, root = self._open()
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            with _asking(f"fetch {name} from {self!r}"):
                fs.get_file(f"{root}/{name}", str(to))
        except VesalError as error:
            raise DataError(str(error)) from None
        if size is not None and to.stat().st_size != size:
            raise DataError(
                f"{name} has {to.stat().st_size} bytes and was listed with {size}: it changes, or was cut off; run "
                "again."
            )

    def read(self, name: str) -> bytes:
        """The content of a small file.

        Raises:
            VesalError: it is not there, or cannot be read.
        """
        fs, root = self._open()
        with _asking(f"read {name} of {self!r}"):
            found: bytes = fs.cat_file(f"{root}/{name}")
            return found

    def put(self, file: Path, name: str) -> StoredFile:
        """Put a file up, in the place of one of that name; nobody ever finds a part of it there.

        Raises:
            VesalError: it cannot be written.
        """
        fs, root = self._open()
        place = PurePosixPath(root) / name
        with _asking(f"write {name} to {self!r}"):
            if self._protocol in _WHOLE:
                fs.put_file(str(file), str(place))
            else:
                fs.makedirs(str(place.parent), exist_ok=True)
                # The same name for whoever tries again, so that no kill leaves more than one of it.
                writing = str(place.with_name(f"{WRITING}{place.name}"))
                fs.put_file(str(file), writing)
                fs.mv(writing, str(place))
            return _stored(fs.info(str(place)))

    def write(self, data: bytes, name: str, scratch: Path) -> None:
        """`put` some bytes.

        Args:
            data: to be written.
            name: below the folder.
            scratch: a folder here.

        Raises:
            VesalError: they cannot be written.
        """
        file = scratch / PurePosixPath(name).name
        file.write_bytes(data)
        self.put(file, name)
        file.unlink()

    def remove(self, name: str) -> None:
        """Delete a file; one that is not there is no error.

        Raises:
            VesalError: it cannot be deleted.
        """
        fs, root = self._open()
        with _asking(f"delete {name} of {self!r}"), contextlib.suppress(FileNotFoundError):
            fs.rm_file(f"{root}/{name}")

    @property
    def _protocol(self) -> str:
        return self.address.partition("://")[0]

    def _open(self) -> tuple[Any, str]:
        """The file system, and the folder in it; fsspec keeps those that were opened."""
        try:
            from fsspec.core import url_to_fs

            fs, root = url_to_fs(self.address)
        except ImportError as error:
            raise UsageError(
                f"{self._protocol}:// needs a library that is not installed ({error}); pip install 'vesal[storage]'."
            ) from error
        except Exception as error:
            # Some log in at once, and fail with whatever their library raises.
            raise UsageError(
                f"{self!r} cannot be opened ({masked(str(error))}); correct the address."
            ) from error
        return fs, str(root).rstrip("/")


def _is_plain(name: str) -> bool:
    """Whether a name stays below its folder on a disk, too: a key may be any text, such as '../../notes'."""
    path = PurePosixPath(name)
    return path.as_posix() == name and not path.is_absolute() and ".." not in path.parts


def _stored(info: dict[str, Any]) -> StoredFile:
    mark = next((info[name] for name in _MARKS if info.get(name) is not None), "")
    mark = mark.timestamp() if isinstance(mark, datetime) else mark
    return StoredFile(int(info.get("size") or 0), str(mark))


@contextlib.contextmanager
def _asking(what: str) -> Iterator[None]:
    """Whatever a library of a storage raises is a sentence, without what the address hides.

    Raises:
        VesalError: something was raised within the block.
    """
    try:
        yield
    except VesalError:
        raise
    except Exception as error:
        # Each library has errors of its own, most of them no OSError.
        first = masked(str(error).strip().partition("\n")[0])
        reason = f"{type(error).__name__}: {first}" if first else type(error).__name__
        raise VesalError(
            f"Cannot {what} ({reason}); look at the address, the rights and the connection."
        ) from None
