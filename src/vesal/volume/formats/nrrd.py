"""NRRD, with its voxels inside (.nrrd) or in a second file of the same folder (.nhdr).

The header is parsed and written by pynrrd. A header that names no space, or one that is no patient's, counts in
LPS, as ITK reads it.
"""

from __future__ import annotations

import bz2
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vesal.errors import DataError
from vesal.volume.formats.raw_bytes import (
    beside,
    count_voxels,
    inflate,
    read_bytes,
    refuse_beyond_memory,
    storable,
    text_voxels,
    voxels,
)
from vesal.volume.geometry import Array, Geometry
from vesal.volume.segments import Segment
from vesal.volume.volume import Volume

_WORLDS = {
    "right-anterior-superior": "RAS",
    "left-anterior-superior": "LAS",
    "left-posterior-superior": "LPS",
    "ras": "RAS",
    "las": "LAS",
    "lps": "LPS",
}
#: Kinds of an axis along which the patient extends; any other known kind is one of channels.
_SPATIAL_KINDS = frozenset({"domain", "space", "none", "???"})
#: numpy's type -> the format's names for it.
_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": (
        "longlong",
        "long long",
        "long long int",
        "signed long long",
        "signed long long int",
        "int64",
        "int64_t",
    ),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_TEXT = ("ascii", "text", "txt")
#: A segment that 3D Slicer names.
_SEGMENT = re.compile(r"Segment(\d+)_ID")
#: What a header says of where a segment's voxels are.
_PLACE = ("LabelValue", "Layer", "Extent")
#: Longer headers than this are no headers.
_HEAD_BYTES = 1 << 20


def read(path: Path, data: bytes) -> Volume:
    """Read an image: (C, X, Y, Z) or (C, X, Y), in the file's own type; one non-spatial axis is the channels.

    Raises:
        DataError: not NRRD, damaged, cut off, of several non-spatial axes, or its data file lies elsewhere.
    """
    header = _header(path, data)
    sizes, channel_axis, geometry = _layout(path, header)
    encoding = str(header.get("encoding", "")).lower()
    dtype = _dtype(path, header)
    body = _body(path, header, data)
    size = count_voxels(sizes, path) * dtype.itemsize
    skip = _number(path, header, "byte skip", "byteskip")
    lines = max(_number(path, header, "line skip", "lineskip"), 0)
    parts = body.split(b"\n", lines)
    body = parts[lines] if len(parts) > lines else b""
    if encoding in ("gzip", "gz"):
        body = inflate(body, path, size + max(skip, 0))
    elif encoding in ("bzip2", "bz2"):
        body = _unpack_bz2(body, path, size + max(skip, 0))
    elif encoding not in (*_TEXT, "raw"):
        raise DataError(f"{path} has the unknown encoding '{encoding}'; write it again with gzip or raw.")
    if encoding in _TEXT:
        array = text_voxels(body[max(skip, 0) :], path, dtype, sizes)
    else:
        array = voxels(body, path, dtype, sizes, max(0, len(body) - size) if skip == -1 else skip)
    array = array[None] if channel_axis is None else np.moveaxis(array, channel_axis, 0)
    return Volume(array, geometry)


def segments(path: Path, data: bytes) -> tuple[Segment, ...]:
    """The segments that 3D Slicer names in a header, from its bytes; none where it is no segmentation of such.

    Files of older versions have each segment in a layer of its own, with the value 1, and do not say so.

    Raises:
        DataError: not NRRD, or damaged.
    """
    header = _header(path, data)
    numbers = sorted(int(found[1]) for key in header if (found := _SEGMENT.fullmatch(str(key))))
    try:
        return tuple(
            Segment(
                name=str(header.get(f"Segment{number}_Name", header[f"Segment{number}_ID"])).strip(),
                value=int(header.get(f"Segment{number}_LabelValue", 1)),
                layer=int(header.get(f"Segment{number}_Layer", number)),
                colour=_colour(str(header.get(f"Segment{number}_Color", ""))),
                more=_more(header, f"Segment{number}_"),
            )
            for number in numbers
        )
    except ValueError as error:
        raise _damaged(path, error) from error


def _more(header: Mapping[str, Any], start: str) -> dict[str, str]:
    """What else a header says of a segment: its tags, its exact colour."""
    return {
        key.removeprefix(start): str(value)
        for key, value in header.items()
        if key.startswith(start) and key.removeprefix(start) not in _PLACE
    }


def _colour(text: str) -> str:
    """'1 0.5 0' -> '#ff8000'; '' where it is none."""
    words = text.split()
    try:
        parts = [round(255 * min(max(float(word), 0.0), 1.0)) for word in words]
    except ValueError:
        return ""
    return "#" + "".join(f"{part:02x}" for part in parts) if len(parts) == 3 else ""


def data_file(path: Path, data: bytes) -> Path | None:
    """The file that holds the voxels, if it is another than the header's, from the header's bytes.

    Raises:
        DataError: not NRRD, damaged, or its data file lies elsewhere.
    """
    header = _header(path, data)
    name = header.get("data file", header.get("datafile"))
    return None if name is None else beside(path, str(name))


def read_geometry(path: Path) -> Geometry:
    """The grid, from the header alone.

    Raises:
        DataError: not NRRD, or damaged.
    """
    return _layout(path, _header(path, read_bytes(path, _HEAD_BYTES)))[2]


def read_channels(path: Path) -> int:
    """How many channels, from the header alone.

    Raises:
        DataError: not NRRD, or damaged.
    """
    sizes, axis, _ = _layout(path, _header(path, read_bytes(path, _HEAD_BYTES)))
    return 1 if axis is None else sizes[axis]


def encode(path: Path, volume: Volume, segments: Sequence[Segment] = ()) -> bytes:
    """The bytes of an image's file: gzip inside, space LPS, channels (more than one) on the first axis; of a
    segmentation, whose channels are layers, with the segments as 3D Slicer names them.

    Raises:
        DataError: a type that NRRD cannot hold.
    """
    import nrrd

    array, geometry = storable(volume.array, path, "NRRD", _TYPES), volume.geometry
    spacing, origin, direction = geometry.to_lps()
    directions = (direction * np.asarray(spacing)).T
    kinds = ["domain"] * geometry.ndim
    if volume.channels == 1:
        array = array[0]
    else:
        directions = np.vstack([np.full((1, geometry.ndim), np.nan), directions])
        kinds.insert(0, "list" if segments else "vector")
    header: dict[str, Any] = {"encoding": "gzip", "kinds": kinds}
    if geometry.ndim == 3:
        header["space"] = "left-posterior-superior"
    else:
        header["space dimension"] = 2
    header["space directions"] = directions
    header["space origin"] = np.asarray(origin)
    extent = " ".join(f"0 {size - 1}" for size in geometry.shape)
    for number, one in enumerate(segments):
        said = {"ID": f"Segment_{number + 1}", **one.more, "Name": one.name}
        said |= {"LabelValue": str(one.value), "Layer": str(one.layer), "Extent": extent}
        header |= {f"Segment{number}_{key}": text for key, text in said.items()}
    stream = io.BytesIO()
    nrrd.write(stream, array, header, compression_level=1, index_order="F")
    return stream.getvalue()


def _header(path: Path, data: bytes) -> Mapping[str, Any]:
    import nrrd

    if not data.startswith(b"NRRD"):
        raise DataError(f"{path} is not an NRRD file; check what it is, or copy or download it again.")
    end = min((at for at in (data.find(b"\n\n"), data.find(b"\n\r\n")) if at >= 0), default=len(data))
    lines = data[: min(end, _HEAD_BYTES)].decode("utf-8", "replace").splitlines()
    try:
        with np.errstate(all="ignore"):
            return dict(nrrd.read_header(lines))
    except Exception as error:  # a damaged header makes pynrrd raise whatever it stumbles over
        raise _damaged(path, error) from error


def _layout(path: Path, header: Mapping[str, Any]) -> tuple[tuple[int, ...], int | None, Geometry]:
    """(sizes of all axes, the axis of channels or None, geometry) of a header."""
    try:
        sizes = tuple(int(size) for size in header["sizes"])
        count_voxels(sizes, path)
        if header.get("dimension") != len(sizes):
            raise ValueError(f"dimension {header.get('dimension')} and sizes {sizes}")
        spatial = _spatial_axes(header, len(sizes))
        others = [axis for axis in range(len(sizes)) if axis not in spatial]
        if len(spatial) not in (2, 3) or len(others) > 1:
            raise DataError(
                f"{path} has {len(spatial)} axes in space and {len(others)} others, no image in 2D or 3D "
                "with channels; split it up."
            )
        shape = tuple(sizes[axis] for axis in spatial)
        world = str(header.get("space", "")).lower().removesuffix("-time")
        geometry = Geometry.from_world(shape, _affine(header, spatial), _WORLDS.get(world, "LPS"))
    except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise _damaged(path, error) from error
    return sizes, others[0] if others else None, geometry


def _spatial_axes(header: Mapping[str, Any], ndim: int) -> list[int]:
    if (directions := header.get("space directions")) is not None:
        rows = np.asarray(directions, dtype=float)
        if rows.ndim != 2 or len(rows) != ndim:
            raise ValueError(f"space directions of {len(rows)} axes where there are {ndim}")
        return [axis for axis in range(ndim) if np.isfinite(rows[axis]).all()]
    kinds = header.get("kinds")
    if kinds is not None and len(kinds) == ndim:
        return [axis for axis in range(ndim) if str(kinds[axis]).lower() in _SPATIAL_KINDS]
    return list(range(ndim))


def _affine(header: Mapping[str, Any], spatial: list[int]) -> Array:
    count = len(spatial)
    affine = np.eye(count + 1)
    if (directions := header.get("space directions")) is None:
        spacings = np.asarray(header.get("spacings", np.ones(max(spatial) + 1)), dtype=float)[spatial]
        affine[:count, :count] = np.diag(np.where(np.isfinite(spacings), spacings, 1.0))
        affine[:count, count] = _first_centres(header, spatial, spacings)
        return affine
    rows = np.asarray(directions, dtype=float)[spatial]
    if rows.shape[1] != count:
        if rows.shape[1] < count:
            raise ValueError(f"space directions of {rows.shape[1]} numbers for {count} axes")
        # A plane in a 3D space: a 2D image keeps its spacing.
        affine[:count, :count] = np.diag(np.sqrt((rows**2).sum(axis=1)))
        return affine
    affine[:count, :count] = rows.T
    origin = np.asarray(header.get("space origin", np.zeros(count)), dtype=float)
    affine[:count, count] = np.where(np.isfinite(origin), origin, 0.0)
    return affine


def _first_centres(header: Mapping[str, Any], spatial: list[int], spacings: Array) -> Array:
    """Where the first voxel lies by "axis mins", which older files have in place of a space; 0 where they do not say.

    A sample is centred in its cell where its axis does not say otherwise (teem, nrrdOriginCalculate; so does ITK).
    """
    mins = np.asarray(header.get("axis mins", header.get("axismins", np.nan)), dtype=float)
    lowest = mins[spatial] if mins.ndim else mins
    if not (np.isfinite(lowest).all() and np.isfinite(spacings).all()):
        return np.zeros(len(spatial))
    centred = header.get("centerings", header.get("centers", ["cell"] * (max(spatial) + 1)))
    half = np.array([0.0 if str(centred[axis]).lower() == "node" else 0.5 for axis in spatial])
    return np.asarray(lowest + half * spacings)


def _dtype(path: Path, header: Mapping[str, Any]) -> np.dtype:
    name = str(header.get("type", "")).lower()
    code = next((code for code, names in _TYPES.items() if name in names), None)
    if code is None:
        raise DataError(
            f"{path} holds '{name}', no known type of number; convert it to integers or real numbers."
        )
    if code[1] == "1" or str(header.get("encoding", "")).lower() in _TEXT:
        return np.dtype(code)
    order = {"little": "<", "big": ">"}.get(str(header.get("endian", "")).lower())
    if order is None:
        raise DataError(f"{path} does not say whether its bytes are little or big endian; write it again.")
    return np.dtype(order + code)


def _body(path: Path, header: Mapping[str, Any], data: bytes) -> bytes:
    """The bytes after the header, or those of the data file."""
    name = header.get("data file", header.get("datafile"))
    if name is not None:
        return read_bytes(beside(path, str(name)))
    ends = [at + len(gap) for gap in (b"\n\n", b"\n\r\n") if (at := data.find(gap)) >= 0]
    return data[min(ends) :] if ends else b""


def _number(path: Path, header: Mapping[str, Any], *names: str) -> int:
    for name in names:
        if name in header:
            number = int(header[name])
            if not -1 <= number <= _HEAD_BYTES * 1024:
                raise DataError(f"{path} has the impossible '{name}' {number}; write it again.")
            return number
    return 0


def _unpack_bz2(body: bytes, path: Path, most: int) -> bytes:
    # Unlike gzip's, its streams may unpack to any multiple of their length.
    refuse_beyond_memory(most, path)
    try:
        return bz2.BZ2Decompressor().decompress(body, most)
    except (OSError, EOFError) as error:
        raise DataError(f"{path} holds damaged compressed data ({error}); copy it again.") from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} has a damaged NRRD header ({error!r}); copy or download it again.")
