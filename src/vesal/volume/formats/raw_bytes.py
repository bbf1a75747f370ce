"""The bytes of an image file: read, unpacked no further than the header promises, and made into voxels.

A damaged or hostile header may promise terabytes. Nothing here allocates what a header promises before the
bytes behind it were found to be there.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from pathlib import Path

import numpy as np
from isal import isal_zlib

from vesal.errors import DataError
from vesal.parallel import available_memory
from vesal.text import times
from vesal.volume.geometry import Array

#: No DEFLATE stream unpacks to more than 1032 times its length (zlib's technical notes); some slack on top.
MOST_RATIO = 1100
#: So much is unpacked without asking how much memory there is.
_SMALL = 1 << 26


def read_bytes(path: str | Path, most: int | None = None) -> bytes:
    """The file's bytes, or its first `most`.

    Raises:
        DataError: the file is absent, empty, a folder, or may not be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            data = stream.read() if most is None else stream.read(most)
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}; check the path.") from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder where one image file was expected; name a file.") from error
    except PermissionError as error:
        raise DataError(f"{path} may not be read (permission denied); change its permissions.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); check the path and the disk.") from error
    if not data:
        raise DataError(f"{path} is empty (0 bytes); copy or download it again.")
    return data


def beside(path: Path, name: str) -> Path:
    """The file that the header at `path` names, in the header's own folder (as data stores do, by a link, too).

    Raises:
        DataError: the name leads elsewhere, or stands for many files.
    """
    plain = Path(name).name == name and "\\" not in name and "\0" not in name
    if not plain or name in ("", ".", "..") or "%" in name or name.split()[0].upper() == "LIST":
        raise DataError(
            f"{path} keeps its voxels in '{name}'; only a single file in the header's own folder is read, "
            "so convert it to one file."
        )
    return path.parent / name


def is_nifti(path: Path) -> bool:
    """Whether the name is that of a NIfTI file."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def is_gzip(data: bytes) -> bool:
    """Whether the bytes begin as gzip does."""
    return data[:2] == b"\x1f\x8b"


def inflate(data: bytes, path: Path, most: int, *, partial: bool = False) -> bytes:
    """Unpack a zlib or gzip stream (several members, too) to at most `most` bytes; bytes beyond them are left.

    With `partial`, `data` may be only the beginning of the file, and no end is asked for.

    Raises:
        DataError: the stream is damaged or ends too early, or there is not the memory for it.
    """
    wbits = 31 if is_gzip(data) else 15
    parts: list[bytes] = []
    room = min(most, MOST_RATIO * len(data) + 1024) + 1
    refuse_beyond_memory(room, path)
    try:
        while True:
            stream = isal_zlib.decompressobj(wbits=wbits)
            part = stream.decompress(data, room)
            parts.append(part)
            room -= len(part)
            if room <= 0 or (partial and not stream.eof):
                break
            if not stream.eof:
                raise DataError(f"{path} is cut off inside its compressed data; copy or download it again.")
            data = stream.unused_data
            if not is_gzip(data):
                break
    except (isal_zlib.IsalError, EOFError) as error:  # type: ignore[misc]  # isal's stub declares no class
        raise DataError(
            f"{path} holds damaged compressed data ({error}); copy or download it again."
        ) from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def refuse_beyond_memory(size: int, path: Path) -> None:
    """Refuse to unpack more bytes than there is memory for.

    Raises:
        DataError: there is less.
    """
    if size > _SMALL and size > (available := available_memory()):
        raise DataError(
            f"{path} would unpack to {size / 1e9:.3g} GB where {available / 1e9:.3g} GB of memory are free; "
            "if its header is right, read it on a larger machine."
        )


def count_voxels(shape: Sequence[int], path: Path) -> int:
    """The product of the sizes.

    Raises:
        DataError: a size is not positive.
    """
    if (least := min(shape, default=1)) < 1:
        raise DataError(f"{path} has an axis of {least} voxels (shape {tuple(shape)}); write it again.")
    return math.prod(int(size) for size in shape)


def storable(array: Array, path: Path, form: str, types: Container[str] | None = None) -> Array:
    """The array in native byte order and a type that the format has: bool as uint8, float16 as float32.

    Args:
        array: to be written.
        path: where to.
        form: the format's name.
        types: numpy's codes of its types, such as "u1"; all integers and floats of at most 8 bytes if None.

    Raises:
        DataError: the format has no such type.
    """
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    known = array.dtype.kind in "uif" and array.dtype.itemsize <= 8
    if not known or (types is not None and array.dtype.str[1:] not in types):
        raise DataError(
            f"Cannot write {path}: {form} has no place for type {array.dtype}; convert the array."
        )
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def voxels(data: bytes, path: Path, dtype: np.dtype, shape: Sequence[int], offset: int = 0) -> Array:
    """The array (first axis fastest) that starts at byte `offset`: native byte order, its own memory.

    Raises:
        DataError: there are fewer bytes than the shape needs.
    """
    count = count_voxels(shape, path)
    there = max(0, len(data) - offset) // dtype.itemsize
    if there < count:
        raise DataError(
            f"{path} promises {times(shape)} = {count} voxels and holds {there}; copy or download it again."
        )
    flat = np.frombuffer(data, dtype=dtype, count=count, offset=offset)
    return flat.reshape(tuple(shape), order="F").astype(dtype.newbyteorder("="), order="K", copy=True)


def text_voxels(data: bytes, path: Path, dtype: np.dtype, shape: Sequence[int]) -> Array:
    """The array (first axis fastest) written as decimal numbers.

    Raises:
        DataError: there are fewer numbers than the shape needs, or something that is none.
    """
    count = count_voxels(shape, path)
    if count > len(data):
        raise DataError(f"{path} promises {count} voxels in {len(data)} bytes; copy or download it again.")
    try:
        words = data.split()[:count]
        values = np.array(words, dtype=np.float64 if dtype.kind == "f" else np.int64).astype(dtype)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path} holds text that is no number ({error}); write the file again.") from error
    if values.size < count:
        raise DataError(f"{path} promises {count} voxels and holds {values.size}; copy it again.")
    return values.reshape(tuple(shape), order="F")
