"""MetaImage: .mha with its voxels inside, .mhd with them in a second file of the same folder.

The header is lines of `Key = Value`, the last of which is ElementDataFile; TransformMatrix holds the direction
of one axis after the other (the transpose of ITK's direction), in LPS (Insight Toolkit, MetaIO documentation).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vesal.errors import DataError
from vesal.volume.formats.raw_bytes import (
    beside,
    count_voxels,
    inflate,
    read_bytes,
    storable,
    text_voxels,
    voxels,
)
from vesal.volume.geometry import Geometry
from vesal.volume.volume import Volume

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_NAMES = {code: name for name, code in _TYPES.items() if "LONG" not in name or "LONG_LONG" in name}
#: Longer headers than this are no headers.
_HEAD_BYTES = 1 << 16
_ORIGIN = ("Offset", "Position", "Origin")
_DIRECTION = ("TransformMatrix", "Rotation", "Orientation")


def read(path: Path, data: bytes) -> Volume:
    """Read an image: (C, X, Y, Z) or (C, X, Y), in the file's own type.

    The channels are those of each voxel, or the fourth axis.

    Raises:
        DataError: not MetaImage, damaged, cut off, or its data file lies elsewhere.
    """
    header, start = _header(path, data)
    sizes, channels, geometry = _layout(path, header)
    dtype = _dtype(path, header)
    shape = (channels, *sizes)
    size = count_voxels(shape, path) * dtype.itemsize
    name = header["ElementDataFile"]
    body = data[start:] if name.upper() == "LOCAL" else read_bytes(beside(path, name))
    if _flag(header, "CompressedData"):
        body = inflate(body, path, size)
    if header.get("BinaryData", "True").lower().startswith("f"):
        array = text_voxels(body, path, dtype, shape)
    else:
        try:
            skip = int(header.get("HeaderSize", "0"))
        except ValueError as error:
            raise DataError(f"{path} has a damaged HeaderSize ({error}); write it again.") from error
        # -1 means that the voxels are the last bytes.
        array = voxels(body, path, dtype, shape, max(len(body) - size if skip == -1 else skip, 0))
    if len(sizes) == 4:
        array = np.moveaxis(array[0], -1, 0)
    return Volume(array, geometry)


def data_file(path: Path, data: bytes) -> Path | None:
    """The file that holds the voxels, if it is another than the header's, from the header's bytes.

    Raises:
        DataError: not MetaImage, damaged, or its data file lies elsewhere.
    """
    name = _header(path, data)[0]["ElementDataFile"]
    return None if name.upper() == "LOCAL" else beside(path, name)


def read_geometry(path: Path) -> Geometry:
    """The grid, from the header alone.

    Raises:
        DataError: not MetaImage, or damaged.
    """
    header, _ = _header(path, read_bytes(path, _HEAD_BYTES))
    return _layout(path, header)[2]


def read_channels(path: Path) -> int:
    """How many channels, from the header alone.

    Raises:
        DataError: not MetaImage, or damaged.
    """
    header, _ = _header(path, read_bytes(path, _HEAD_BYTES))
    return _layout(path, header)[1]


def encode(path: Path, volume: Volume) -> bytes:
    """The bytes of an image's file: compressed, inside the file, channels together at each voxel.

    Raises:
        DataError: a type that MetaImage cannot hold.
    """
    array, geometry = storable(volume.array, path, "MetaImage", _NAMES), volume.geometry
    spacing, origin, direction = geometry.to_lps()
    content = zlib.compress(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes(order="F"), 1)
    lines = {
        "ObjectType": "Image",
        "NDims": str(geometry.ndim),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(len(content)),
        "TransformMatrix": _numbers_out(direction.T.ravel()),
        "Offset": _numbers_out(origin),
        "CenterOfRotation": _numbers_out([0] * geometry.ndim),
        "ElementSpacing": _numbers_out(spacing),
        "DimSize": " ".join(str(size) for size in geometry.shape),
        "ElementNumberOfChannels": str(volume.channels),
        "ElementType": _NAMES[array.dtype.str[1:]],
        "ElementDataFile": "LOCAL",
    }
    if volume.channels == 1:
        del lines["ElementNumberOfChannels"]
    head = "".join(f"{key} = {value}\n" for key, value in lines.items())
    return head.encode("ascii") + content


def _header(path: Path, data: bytes) -> tuple[Mapping[str, str], int]:
    """(key -> value, the byte after the header)."""
    header: dict[str, str] = {}
    place = 0
    while place < min(len(data), _HEAD_BYTES):
        end = data.find(b"\n", place, _HEAD_BYTES)
        end = end if end >= 0 else min(len(data), _HEAD_BYTES)
        line = data[place:end].decode("latin-1")
        place = end + 1
        key, equals, value = line.partition("=")
        if not equals and line.strip():
            break
        header[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            if "DimSize" in header and "ElementType" in header:
                return header, place
            raise DataError(f"{path} has a MetaImage header without DimSize or ElementType; write it again.")
    if "NDims" in header or "ObjectType" in header:
        raise DataError(f"{path} has a damaged MetaImage header; copy or download it again.")
    raise DataError(f"{path} is not a MetaImage file; check what it is, or copy or download it again.")


def _layout(path: Path, header: Mapping[str, str]) -> tuple[tuple[int, ...], int, Geometry]:
    """(sizes of all axes, channels of a voxel, geometry) of a header."""
    try:
        sizes = tuple(int(word) for word in header["DimSize"].split())
        channels = int(header.get("ElementNumberOfChannels", "1"))
        count_voxels((channels, *sizes), path)
        if int(header.get("NDims", len(sizes))) != len(sizes):
            raise ValueError(f"NDims {header.get('NDims')} and DimSize {header['DimSize']}")
        if len(sizes) not in (2, 3) and not (len(sizes) == 4 and channels == 1):
            raise DataError(f"{path} has shape {sizes}, no image in 2D or 3D with channels; split it up.")
        ndim = min(len(sizes), 3)
        full = len(sizes)
        spacing = _numbers(header, ("ElementSpacing", "ElementSize"), np.ones(full))[:ndim]
        origin = _numbers(header, _ORIGIN, np.zeros(full))[:ndim]
        matrix = _numbers(header, _DIRECTION, np.eye(full).ravel()).reshape(full, full)
        with np.errstate(all="ignore"):
            geometry = Geometry.from_lps(
                sizes[:ndim], spacing.tolist(), origin.tolist(), matrix[:ndim, :ndim].T
            )
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{path} has a damaged MetaImage header ({error}); copy or download it again."
        ) from error
    return sizes, channels, geometry


def _numbers(header: Mapping[str, str], names: tuple[str, ...], default: np.ndarray) -> np.ndarray:
    for name in names:
        if name in header:
            values = np.array([float(word) for word in header[name].split()])
            if len(values) != len(default):
                raise ValueError(f"{name} has {len(values)} numbers where {len(default)} are needed")
            return values
    return default


def _numbers_out(values: object) -> str:
    return " ".join(repr(float(value)) for value in np.asarray(values, dtype=float))


def _flag(header: Mapping[str, str], *names: str) -> bool:
    return any(header.get(name, "").lower().startswith(("t", "1", "y")) for name in names)


def _dtype(path: Path, header: Mapping[str, str]) -> np.dtype:
    code = _TYPES.get(header["ElementType"].removesuffix("_ARRAY"))
    if code is None:
        raise DataError(f"{path} has the unknown ElementType '{header['ElementType']}'; convert the file.")
    big = _flag(header, "BinaryDataByteOrderMSB", "ElementByteOrderMSB")
    return np.dtype((">" if big else "<") + code)
