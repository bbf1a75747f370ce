"""Archives of unknown origin: unpacked into one folder and nowhere else, whole or not at all."""

from __future__ import annotations

import contextlib
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

from vesal.errors import DataError, UsageError, VesalError
from vesal.parallel import Progress

#: An archive with more members is not a data set; BraTS 2021 has 7,500.
MOST_MEMBERS = 500_000

#: Unpacked bytes for each packed one. Scans come at 1 to 4, an uncompressed label map of few voxels at 1000, and
#: what is made to fill a disk at up to a million.
MOST_RATIO = 200

#: Up to so many bytes nothing can fill a disk, whatever the ratio.
HARMLESS = 256 * 1024**2

_CHUNK = 1024**2
_PADDING = 64 * _CHUNK  # more zeros than that behind the last file are not looked through
_PACKED = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")

#: What the readers raise, also where a damaged name is no text or a damaged length no sensible number.
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
    *(ValueError, LookupError, OverflowError, MemoryError, struct.error),
)


def is_archive(path: Path) -> bool:
    """Whether the name is that of a tar or zip archive.

    >>> is_archive(Path("Task02_Heart.tar")), is_archive(Path("la_003.nii.gz"))
    (True, False)
    """
    return path.name.lower().endswith(_PACKED)


def extract(archive: Path, folder: Path, *, progress: Progress | None = None, spare: int = 0) -> None:
    """Unpack a tar (also gz, bz2, xz) or zip archive into `folder`, which must not exist.

    A single folder that holds everything is left out: what lies in it lies in `folder`. macOS's own files (._x,
    __MACOSX, .DS_Store) are left out too. Permissions, owners and times are not taken over, and archives inside the
    archive stay packed.

    Args:
        archive: the file; its content says what it is.
        folder: comes into being when all is unpacked.
        progress: called with megabytes of the archive.
        spare: bytes that must stay free on the disk.

    Raises:
        UsageError: `archive` is not there, or `folder` is.
        DataError: it is no archive, damaged or encrypted; or it holds a path that leads out of its folder, a link, a
            device, a name twice, or much more than its size suggests.
        VesalError: the disk is full.
    """
    if not archive.is_file():
        raise UsageError(f"There is no file {archive}; check the path.")
    if folder.exists():
        raise UsageError(f"{folder} is already there; move it away, or choose another folder.")
    # Not random: what a killed process left is found again, and goes.
    temporary = folder.parent / f".unpacking-{folder.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        _unpack(archive, temporary, progress, spare)
        inner = list(temporary.iterdir())
        if not inner:
            raise DataError(f"{archive} is empty; download it again.")
        whole = inner[0] if len(inner) == 1 and inner[0].is_dir() else temporary
        whole.rename(folder)
    except OSError as error:
        raise VesalError(
            f"Cannot unpack {archive} into {folder}: {error.strerror or error}; "
            "free some space or choose another folder."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def safe_parts(name: str, archive: Path) -> tuple[str, ...]:
    """The parts of a member's path below its folder.

    >>> safe_parts("./Task02/imagesTr/la_003.nii.gz", Path("a.tar"))
    ('Task02', 'imagesTr', 'la_003.nii.gz')

    Raises:
        DataError: the path is absolute or leads out of the folder, on this system or another.
    """
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]
    absolute = name.startswith(("/", "\\"))
    if absolute or ".." in parts or "\0" in name or re.match("[A-Za-z]:", name):
        raise DataError(
            f"{archive} holds {name!r}, which leads out of its folder; "
            "nothing of it was unpacked, and it should not be trusted."
        )
    return tuple(parts)


def _unpack(archive: Path, folder: Path, progress: Progress | None, spare: int) -> None:
    packed = archive.stat().st_size
    total_mb = max(1, packed // 10**6)
    report = progress or (lambda done, total: None)
    total = 0
    with archive.open("rb") as file, _reading(archive):
        for count, (name, size, content) in enumerate(_members(archive, file)):
            if count >= MOST_MEMBERS:
                raise DataError(
                    f"{archive} holds more than {MOST_MEMBERS:,} files; that is no data set, and it was not unpacked."
                )
            parts = safe_parts(name, archive)
            if not parts or parts[-1].startswith("._") or parts[-1] == ".DS_Store" or "__MACOSX" in parts:
                continue
            target = folder.joinpath(*parts)
            if content is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            # The readers never give more than the declared size.
            total += size
            if total > (most := max(HARMLESS, MOST_RATIO * packed)):
                raise DataError(
                    f"{archive} would unpack to more than {most / 1e9:.1f} GB, over {MOST_RATIO} times its size or "
                    "what is harmless; it looks made to fill a disk and was not unpacked."
                )
            if size + spare > (free := shutil.disk_usage(folder).free):
                raise VesalError(
                    f"The disk of {folder.parent} has {free / 1e9:.1f} GB left, too little to unpack {archive}; "
                    "free some space or choose another folder."
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as out:
                while chunk := content.read(_CHUNK):
                    out.write(chunk)
                    report(min(file.tell() // 10**6, total_mb), total_mb)
    report(total_mb, total_mb)


def _members(archive: Path, file: IO[bytes]) -> Iterator[tuple[str, int, IO[bytes] | None]]:
    """Name, declared size in bytes, and what to read (None: a folder) of each file and folder."""
    # A tar of stored zips looks like a zip from its end, so the beginning is asked first.
    if _is_tar(file):
        with tarfile.open(fileobj=file, mode="r:*", tarinfo=_Member) as tar:
            for member in tar:
                if not member.isreg() and not member.isdir():
                    raise _special(archive, member.name, link=member.issym() or member.islnk())
                yield member.name, member.size, tar.extractfile(member)
            # A tar ends before its compression does, whose checksum comes last and is looked at on reading it.
            for _ in range(_PADDING // _CHUNK):
                if tar.fileobj is None or not tar.fileobj.read(_CHUNK):
                    break
        return
    file.seek(0)
    if not zipfile.is_zipfile(file):
        raise DataError(f"{archive} is no tar or zip archive, or it is incomplete; download it again.")
    with zipfile.ZipFile(file) as opened:
        for info in opened.infolist():
            mode = info.external_attr >> 16
            if info.is_dir():
                yield info.filename, 0, None
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise _special(archive, info.filename, link=stat.S_ISLNK(mode))
            elif info.flag_bits & 1:
                raise DataError(f"{archive} is encrypted; unpack it yourself and name the folder instead.")
            else:
                with opened.open(info) as content:
                    yield info.filename, info.file_size, content


class _Member(tarfile.TarInfo):
    """A tar's member whose damaged header is an error: Python takes it for the end, and drops what follows."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.HeaderError as error:
            # The first header decides whether it is a tar, and a block of zeros ends one.
            if tarfile_.offset == 0 or isinstance(error, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
                raise
            raise tarfile.ReadError(f"{error} behind the first {tarfile_.offset} bytes") from error


def _is_tar(file: IO[bytes]) -> bool:
    try:
        return tarfile.is_tarfile(file)
    except (OSError, *_DAMAGE):
        return False
    finally:
        file.seek(0)


def _special(archive: Path, name: str, *, link: bool) -> DataError:
    return DataError(
        f"{archive} holds the {'link' if link else 'device'} {name!r} where a data set has plain files; "
        "nothing of it was unpacked, and it should not be trusted."
    )


@contextlib.contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Whatever a damaged archive makes the readers raise becomes one sentence."""
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError(
            f"{archive} holds {Path(str(error.filename)).name!r} twice, or a file and a folder of that name; "
            "it is damaged or made to mislead, and it was not unpacked."
        ) from error
    except (*_DAMAGE, OSError, NotImplementedError, RuntimeError) as error:
        # gzip and bz2 say by an OSError without a number that their stream is damaged.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{archive} is damaged or incomplete ({error}); download it again.") from error
