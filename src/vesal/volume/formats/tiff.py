"""TIFF: of one bit to real numbers, in gray, colour or palettes; several pages are the slices of a volume.

Pixels are what a viewer shows: WhiteIsZero is turned round, and so are the orientations of tag 274. ImageJ's own
calibration, which states its unit, is where pixels lie; a resolution alone (dpi) is not.
"""

from __future__ import annotations

import io
import json
import logging
import math
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vesal.errors import DataError
from vesal.volume.formats.picture import (
    KEY,
    PictureHeader,
    check_size,
    is_sane,
    pixel_size,
    upright,
    upright_shape,
    written_geometry,
)
from vesal.volume.formats.tiff_spacing import spacing_beside
from vesal.volume.geometry import Array, Geometry
from vesal.volume.volume import Volume

#: ExtraSamples that are alpha; an unspecified one is a channel.
_ALPHA = (1, 2)
#: ResolutionUnit: inch, centimetre.
_UNIT_MM = {2: 25.4, 3: 10.0}
#: In small letters; ImageJ writes µ as an escape.
_IMAGEJ_MM = {"mm": 1.0, "cm": 10.0, "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "\\u00b5m": 1e-3, "inch": 25.4}
#: PhotometricInterpretation: 0 is white; inks (cyan, magenta, yellow, black).
_WHITE_IS_ZERO, _INKS = 0, 5


def is_tiff(data: bytes) -> bool:
    """Whether these bytes begin as a TIFF or BigTIFF does."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_tiff(path: Path, data: bytes, mask: bool) -> Volume:
    """Read the first image (C, X, Y) of a TIFF, or its pages (C, X, Y, Z); `mask` keeps a palette's numbers.

    Raises:
        DataError: more axes than channels, slices, rows and columns; no numbers; or it promises too much.
    """
    file = _open(path, data)
    axes, sizes = _layout(path, file)
    series, page = file.series[0], file.series[0].keyframe
    check_size(path, data, math.prod(sizes) * np.dtype(series.dtype).itemsize)
    array = _shown(_stored(series, data, sizes), page, mask)
    if array.dtype.kind not in "uif":
        raise DataError(
            f"{path} holds numbers of type {array.dtype}; convert it to integers or real numbers."
        )
    channels = "S" if "S" in axes else "C"
    order = [axes.index(axis) for axis in (channels, "X", "Y") if axis in axes]
    order += [axis for axis in range(len(axes)) if axis not in order]
    array = array.astype(array.dtype.newbyteorder("="), copy=False).transpose(order)
    if channels not in axes:
        array = array[None]
    elif _has_alpha(page):
        array = array[:-1]
    if _is_cmyk(page, array.shape[0]) and array.dtype == np.uint8:
        array = _from_inks(array)
    if page.colormap is not None and array.shape[0] == 1:
        array = _from_palette(array, np.asarray(page.colormap), mask)
    geometry, placed = _geometry(path, file, axes, sizes)
    array = upright(array, _orientation(page))
    # A volume of one slice has lost its third axis.
    return Volume(array.reshape(array.shape[0], *geometry.shape), geometry, placed=placed)


def tiff_geometry(path: Path, data: bytes) -> Geometry:
    """The grid of a TIFF, without unpacking its pixels."""
    file = _open(path, data)
    return _geometry(path, file, *_layout(path, file))[0]


def tiff_header(path: Path) -> PictureHeader:
    """Channels and density of a TIFF, from its tags alone."""
    with path.open("rb") as stream:
        file = _opened(path, stream)
        axes, sizes = _layout(path, file)
        page = file.series[0].keyframe
        count = dict(zip(axes, sizes, strict=True)).get("S" if "S" in axes else "C", 1)
        if page.colormap is not None and count == 1:
            count = 1 if _is_gray(np.asarray(page.colormap)) else 3
        else:
            count -= _has_alpha(page)
            count = 3 if _is_cmyk(page, count) and np.dtype(page.dtype) == np.uint8 else count
        size, placed = _resolution(file), _geometry(path, file, axes, sizes)[1]
        return PictureHeader(count, None if placed else size, placed)


def encode_tiff(path: Path, volume: Volume) -> bytes:
    """The bytes of a compressed TIFF: (C, X, Y), or (1, X, Y, Z) as pages; the type is kept.

    Raises:
        DataError: TIFF cannot hold this array.
    """
    import tifffile

    geometry, array = volume.geometry, volume.array
    if geometry.ndim == 3 and volume.channels > 1:
        raise DataError(
            f"Cannot write {path}: a TIFF volume has one channel, not {volume.channels}; name it .nii.gz."
        )
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if array.dtype.kind not in "uif" or array.dtype.itemsize > 8:
        raise DataError(f"Cannot write {path}: TIFF has no place for type {array.dtype}; convert the array.")
    layout: dict[str, Any] = {"photometric": "minisblack"}
    if volume.channels == 1:
        pixels = array[0].T
    elif volume.channels == 3 and array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        pixels, layout = array.transpose(2, 1, 0), {"photometric": "rgb"}
    else:
        pixels = array.transpose(0, 2, 1)
        layout["planarconfig"] = "separate"
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        np.ascontiguousarray(pixels),
        compression="zlib",
        metadata=None,
        description=json.dumps({KEY: geometry.affine.tolist()}),
        resolution=tuple(10.0 / spacing for spacing in geometry.spacing_mm[:2]),
        resolutionunit="CENTIMETER",
        **layout,
    )
    return stream.getvalue()


def _open(path: Path, data: bytes) -> Any:
    return _opened(path, io.BytesIO(data))


def _opened(path: Path, stream: BinaryIO) -> Any:
    """A TIFF, whose pages of one size are one volume, also where each was written as an image of its own.

    So does `TiffWriter.write` for each slice; tifffile itself gives the first of them.
    """
    import tifffile

    _quieten()
    _refuse_circle(path, stream)
    stream.seek(0)
    file = tifffile.TiffFile(stream)
    kinds = {
        (one.shape, one.dtype, one.axes, len(one.pages), one.keyframe.subfiletype) for one in file.series
    }
    if file.is_shaped and len(file.series) > 1 and len(kinds) == 1 and len(file.series[0].pages) == 1:
        stream.seek(0)
        return tifffile.TiffFile(stream, is_shaped=False)
    return file


def _refuse_circle(path: Path, stream: BinaryIO) -> None:
    """Raise where a page is followed by one before it: tifffile would count pages for ever.

    Each page has its number of tags, the tags, and where the next page is (TIFF 6.0, section 2; BigTIFF alike).
    """
    head = stream.read(16)
    big = head[2:4] in (b"+\0", b"\0+")
    count, place, tag_bytes = ("Q", "Q", 20) if big else ("H", "I", 12)
    count, place = (("<" if head[:2] == b"II" else ">") + kind for kind in (count, place))
    seen: set[int] = set()
    (at,) = struct.unpack_from(place, head, 8 if big else 4)
    while at:
        if at in seen:
            raise DataError(f"{path} is damaged: its pages run in a circle; export it anew.")
        seen.add(at)
        try:
            stream.seek(at)
            (tags,) = struct.unpack(count, stream.read(struct.calcsize(count)))
            stream.seek(tags * tag_bytes, io.SEEK_CUR)
            (at,) = struct.unpack(place, stream.read(struct.calcsize(place)))
        except (struct.error, OSError, OverflowError, ValueError):
            return  # it ends there, as tifffile finds out, too


#: Compressions of the fax kind: Huffman's, and those of groups 3 and 4.
_FAX = (2, 3, 4)

#: One for all files: a handler more for each would make every complaint slower than the last.
_NOBODY = logging.NullHandler()


def _quieten() -> None:
    # What tifffile complains about, it also raises or gets by without; stderr is the command line's.
    logging.getLogger("tifffile").addHandler(_NOBODY)


def _stored(series: Any, data: bytes, sizes: tuple[int, ...]) -> Array:
    """Pixels as the file stores them, in its axes."""
    try:
        return np.asarray(series.asarray()).reshape(sizes)
    except (ValueError, NotImplementedError) as error:
        # LZW, JPEG and fax codes inside TIFF, and samples of 2 to 7 bits, need a codec that tifffile does not bring
        # and pillow does.
        if "imagecodecs" not in str(error):
            raise
    from PIL import Image, ImageSequence

    image: Any = Image.open(io.BytesIO(data), formats=("TIFF",))
    if image.tag_v2.get(259, 1) in _FAX and image.height > 8 * len(data):
        # A row takes a bit at least. Libtiff goes on after codes that are wrong or not there, with a word about each.
        raise ValueError(f"{image.height:,} rows in {len(data):,} bytes")
    pages = np.stack([_pillow_page(page) for page in ImageSequence.Iterator(image)])
    return pages.reshape(sizes)


def _pillow_page(page: Any) -> Array:
    """A page (rows, columns[, S]) as the file stores it: pillow turns it, scales few bits to 8 and inverts them."""
    turned, white, bits = (page.tag_v2.get(tag, 1) for tag in (274, 262, 258))
    bits = bits[0] if isinstance(bits, tuple) else bits
    palette = page.mode == "P"
    array = np.array(page)
    if turned in range(2, 9):
        back = {6: 8, 8: 6}.get(turned, turned)
        channels = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
        # upright() counts columns first, so rows and columns change places on the way.
        channels = upright(channels.swapaxes(1, 2), back).swapaxes(1, 2)
        array = channels[0] if array.ndim == 2 else channels.transpose(1, 2, 0)
    if array.dtype == np.bool_:
        return ~array if white == _WHITE_IS_ZERO else array
    if array.dtype == np.uint8 and array.ndim == 2 and not palette:
        array = 255 - array if white == _WHITE_IS_ZERO else array
        array = array // (255 // ((1 << bits) - 1)) if bits in (2, 4) else array
    return array


def _shown(array: Array, page: Any, mask: bool) -> Array:
    """Stored samples -> those that a viewer shows, 0 for black."""
    white = page.photometric is not None and int(page.photometric) == _WHITE_IS_ZERO
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if not white or array.dtype.kind != "u":
        return array
    top = array.dtype.type((1 << int(page.bitspersample)) - 1)
    # A mask whose samples do not reach the top holds the numbers of classes and no shades.
    numbers = mask and top > 1 and array.max() < top and array.min() == 0 and array.max() > 0
    return array if numbers else top - array


def _from_palette(array: Array, colormap: Array, mask: bool) -> Array:
    """(1, ...) numbers -> colours (3, ...) or shades (1, ...); in a mask numbers, but white is never 0."""
    # TIFF states palettes in 16 bits, programs mean 8 of them: times 256 or times 257.
    colours = (colormap >> 8).astype(np.uint8)
    if mask:
        swapped = bool((colours[:, 0] == 255).all() and (colours[:, 1] == 0).all() and array.max() <= 1)
        return 1 - array if swapped else array
    return colours[:1, array[0]] if _is_gray(colormap) else colours[:, array[0]]


def _is_cmyk(page: Any, channels: int) -> bool:
    return channels == 4 and page.photometric is not None and int(page.photometric) == _INKS


def _from_inks(array: Array) -> Array:
    """(4, ...) cyan, magenta, yellow and black -> (3, ...) colours, as pillow has them."""
    light = 255 - array.astype(np.uint16)
    return np.asarray((light[:3] * light[3:] + 127) // 255).astype(np.uint8)


def _is_gray(colormap: Array) -> bool:
    return bool((colormap[0] == colormap[1]).all() and (colormap[0] == colormap[2]).all())


def _has_alpha(page: Any) -> bool:
    return bool(page.extrasamples) and int(page.extrasamples[-1]) in _ALPHA


def _orientation(page: Any) -> int:
    tag = page.tags.get("Orientation")
    return int(tag.value) if tag is not None and isinstance(tag.value, int) else 1


def _layout(path: Path, file: Any) -> tuple[str, tuple[int, ...]]:
    """(axes as letters, their sizes) of the first image as it is stored; axes of one voxel are left out."""
    series = file.series[0]
    named = [
        (axis, int(size))
        for axis, size in zip(series.axes, series.shape, strict=True)
        if size != 1 or axis in "XY"
    ]
    axes = "".join(axis for axis, _ in named)
    sizes = tuple(size for _, size in named)
    slices = [size for axis, size in named if axis not in "XYSC"]
    if len(slices) > 1 or not {"X", "Y"} <= set(axes) or ("S" in axes and "C" in axes):
        raise DataError(
            f"{path} has the axes {axes} {sizes}, no image in 2D or 3D with channels; split it up."
        )
    return axes, sizes


def _geometry(path: Path, file: Any, axes: str, sizes: tuple[int, ...]) -> tuple[Geometry, bool]:
    """The grid, and whether it is stated: by Vesal's note, by nnU-Net's JSON beside a volume, by ImageJ."""
    size = dict(zip(axes, sizes, strict=True))
    page = file.series[0].keyframe
    slices = [count for axis, count in size.items() if axis not in "XYSC"]
    shape = (*upright_shape(size["X"], size["Y"], _orientation(page)), *slices)
    tags = file.pages[0].tags
    note = tags["ImageDescription"].value if "ImageDescription" in tags else None
    for whole in (shape, (*shape, 1)):
        if len(whole) <= 3 and (known := written_geometry(note, whole, keyed=True)) is not None:
            return known, True
    if len(shape) == 3 and (stated := spacing_beside(path)) is not None:
        return Geometry.from_spacing(shape, stated), True
    imagej = file.imagej_metadata or {}
    unit_mm = _IMAGEJ_MM.get(str(imagej.get("unit", "")).lower())
    if unit_mm is None:
        return Geometry.from_spacing(shape, (1.0,) * len(shape)), False
    across, down = _resolution(file, unit_mm) or (1.0, 1.0)
    between = float(imagej.get("spacing", 0.0)) * unit_mm
    spacing = (across, down, between if is_sane(between) else 1.0)
    return Geometry.from_spacing(shape, spacing[: len(shape)]), True


def _resolution(file: Any, unit_mm: float | None = None) -> tuple[float, float] | None:
    """(column, row) mm a pixel by the resolution tags, None where they state none; the unit is theirs if not given."""
    tags = file.pages[0].tags
    unit = tags["ResolutionUnit"].value if "ResolutionUnit" in tags else 1
    unit_mm = unit_mm or _UNIT_MM.get(int(unit))
    if unit_mm is None:
        return None
    (x, x_unit), (y, y_unit) = (
        tags[name].value if name in tags else (0, 1) for name in ("XResolution", "YResolution")
    )
    return pixel_size((x / (x_unit or math.inf), y / (y_unit or math.inf)), unit_mm)
