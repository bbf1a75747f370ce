"""NIfTI that is never in memory as a whole: read from the disk where it is looked at, written slab by slab.

What is read and written is what `vesal.volume.formats.nifti` reads and writes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from vesal import memory_limit
from vesal.errors import DataError
from vesal.text import times
from vesal.volume.formats.nifti import HEAD_BYTES, described, encode_header, scaled
from vesal.volume.formats.raw_bytes import MOST_RATIO, count_voxels, is_gzip, read_bytes, storable
from vesal.volume.geometry import Array
from vesal.volume.volume import Volume

#: Bytes that are read, unpacked or packed at once.
_PIECE = 1 << 22
#: Voxels that are written at once.
_SLAB_VOXELS = 1 << 21


def open_on_disk(path: Path) -> Volume | None:
    """As `nifti.read`, under a limit of memory: voxels lie in the file itself, or in one without a name where they have
    to be unpacked or scaled. None of coloured voxels, which are no scan.

    Raises:
        DataError: as `nifti.read`.
        VesalError: the disk has no room for what is unpacked.
    """
    data = read_bytes(path, HEAD_BYTES)
    found = described(path, data)
    if found.coloured:
        return None
    shape = (*found.geometry.shape, found.channels)
    count = count_voxels(shape, path)
    if is_gzip(data):
        if count * found.dtype.itemsize > MOST_RATIO * path.stat().st_size:
            raise DataError(
                f"{path} promises {times(shape)} voxels and cannot hold them; copy or download it again."
            )
        flat = memory_limit.array((count,), found.dtype)
        there = _unpack(path, flat.view(np.uint8), found.offset) // found.dtype.itemsize
        if there < count:
            raise DataError(
                f"{path} promises {times(shape)} = {count} voxels and holds {there}; copy or download it again."
            )
    else:
        try:
            flat = memory_limit.mapped(path, found.dtype, count, found.offset)
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} promises {times(shape)} = {count} voxels and cannot be read so far ({error}); copy or "
                "download it again."
            ) from error
    array = np.moveaxis(flat.reshape(shape, order="F"), -1, 0)
    return Volume(_scaled_by_slabs(found.header, array), found.geometry)


def write(path: Path, volume: Volume, *, packed: bool) -> None:
    """Write the bytes of an image's file slab by slab; `packed` as .nii.gz.

    Raises:
        DataError: a type that NIfTI cannot hold.
        OSError: the file cannot be written.
    """
    dtype = storable(volume.array[(slice(0, 1),) * volume.array.ndim], path, "NIfTI").dtype
    with path.open("wb") as file:
        if not packed:
            _write(file, volume, dtype)
            return
        with igzip.IGzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0) as stream:
            _write(stream, volume, dtype)


def _write(stream: BinaryIO, volume: Volume, dtype: np.dtype[Any]) -> None:
    stream.write(encode_header(volume, dtype))
    for slab in _slabs(volume.array):
        stream.write(slab.astype(dtype, copy=False).tobytes(order="F"))
        memory_limit.breathe()


def _slabs(array: Array) -> Iterator[Array]:
    """Views of (C, *S) in the order of the file: channel by channel, along the last axis."""
    rows = max(1, _SLAB_VOXELS // max(1, math.prod(array.shape[1:-1])))
    for channel in array:
        for first in range(0, channel.shape[-1], rows):
            yield channel[..., first : first + rows]


def _scaled_by_slabs(header: Any, array: Array) -> Array:
    few = (0,) * array.ndim
    sample = array[few].reshape((1,) * array.ndim)
    if scaled(header, sample) is sample:
        return array
    kind = scaled(header, sample).dtype
    out = memory_limit.array_like(array, kind)
    for slab, target in zip(_slabs(array), _slabs(out), strict=True):
        target[...] = scaled(header, slab)
        memory_limit.breathe()
    return out


def _unpack(path: Path, out: NDArray[np.uint8], offset: int) -> int:
    """Unpack a file of gzip (several members, too) into `out`, without its first `offset` bytes; how many there were.

    Raises:
        DataError: the stream is damaged or ends too early.
    """
    done, skip = 0, offset
    try:
        with path.open("rb") as file:
            for piece in _unpacked(file, path):
                wanted = piece[skip:] if skip else piece
                skip -= min(skip, len(piece))
                wanted = wanted[: len(out) - done]
                out[done : done + len(wanted)] = np.frombuffer(wanted, np.uint8)
                done += len(wanted)
                memory_limit.breathe()
                if done == len(out):
                    break
    except (isal_zlib.IsalError, EOFError) as error:  # type: ignore[misc]  # isal's stub declares no class
        raise DataError(
            f"{path} holds damaged compressed data ({error}); copy or download it again."
        ) from error
    return done


def _unpacked(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """The content, some MB at a time."""
    stream, data = isal_zlib.decompressobj(wbits=31), file.read(_PIECE)
    while data:
        part = stream.decompress(data, _PIECE)
        if part:
            yield part
        if stream.eof:
            data = stream.unused_data or file.read(_PIECE)
            if not is_gzip(data):
                return
            stream = isal_zlib.decompressobj(wbits=31)
        else:
            data = stream.unconsumed_tail or file.read(_PIECE)
    raise DataError(f"{path} is cut off inside its compressed data; copy or download it again.")
