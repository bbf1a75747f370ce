"""Where DICOM objects lie: a folder with all below it, or a single file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vesal.errors import DataError
from vesal.files import expanded

#: A study with more objects is none; large cardiac MRI has 20,000.
_MOST_OBJECTS = 200_000

#: Where a DICOM file says that it is one (PS3.10 7.1).
PREAMBLE, MAGIC = 128, b"DICM"


@dataclass(frozen=True)
class Source:
    """The files of a folder, or a file.

    Attributes:
        path: the folder.
        names: of the files below it, sorted.
    """

    path: Path
    names: tuple[str, ...]

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A file's bytes.

        Raises:
            DataError: it is gone or cannot be read.
        """
        try:
            with self.file(name).open("rb") as stream:
                yield stream
        except OSError as error:
            raise DataError(
                f"{self.file(name)} cannot be read ({error.strerror or error}); copy or send the study again."
            ) from error

    def file(self, name: str) -> Path:
        """Where it lies."""
        return self.path / name


def open_source(path: Path, *, below: bool = True) -> Source:
    """What a person named: a folder, or a single file.

    A DICOMDIR stands for what lies beside it: the objects themselves are read, so that nothing which it forgot is lost.

    Args:
        path: the folder or file.
        below: with the folders below it.

    Raises:
        DataError: it is not there, cannot be read, or holds more files than any study.
    """
    path = expanded(path).absolute()
    if path.name.upper() == "DICOMDIR" and path.is_file():
        path = path.parent
    if path.is_file():
        return Source(path.parent, (path.name,))
    if not path.is_dir():
        raise DataError(f"There is no {path}; check the path.")
    try:
        names = sorted(_files(path, below=below))
    except OSError as error:
        raise DataError(f"Cannot read the folder {path}: {error.strerror or error}.") from error
    if len(names) > _MOST_OBJECTS:
        raise DataError(f"{path} holds more than {_MOST_OBJECTS:,} files; give the folder of one study.")
    return Source(path, tuple(names))


def is_dicom(stream: BinaryIO) -> bool:
    """Whether the bytes are those of a DICOM object, also of one without the preamble that files should have."""
    head = stream.read(PREAMBLE + len(MAGIC))
    stream.seek(0)
    if head[PREAMBLE:] == MAGIC:
        return True
    # A data set without a preamble begins with a group of its own: 0002 or 0008, in either order of bytes.
    return head[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08") and head[2:4] != b"\x00\x00" and len(head) > 8


def is_dicom_file(path: Path) -> bool:
    """Whether a file is a DICOM object, by its content."""
    try:
        # A pipe would wait for its writer.
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return is_dicom(stream)
    except OSError:
        return False


def _files(folder: Path, *, below: bool) -> Iterator[str]:
    for path in folder.rglob("*") if below else folder.iterdir():
        name = path.relative_to(folder).as_posix()
        if not any(part.startswith(".") or part == "__MACOSX" for part in name.split("/")) and path.is_file():
            yield name
