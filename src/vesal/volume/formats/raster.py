"""PNG, TIFF, JPEG and BMP: arrays (C, X, Y) whose X is the column and whose Y is the row, from the top left.

Gray images have one channel, colour images three (also where the three are equal); alpha is no intensity and is
dropped. A palette's colours are the intensities of an image, its numbers the values of a mask. One-bit pixels are
0 and 1. The pages of a TIFF of several pages are the slices of a volume (C, X, Y, Z).

Where pixels lie: what Vesal wrote into the file itself, exactly; else the resolution that a PNG or TIFF states
per metre, inch or centimetre; else 1 mm. 72 and 96 dots per inch are a program's default and no measurement, and
so is every density in JPEG and BMP.
"""

from __future__ import annotations

import io
import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vesal.errors import DataError
from vesal.volume.formats.raw_bytes import read_bytes
from vesal.volume.geometry import Array, Geometry
from vesal.volume.volume import Volume

_KEY = "vesal:affine"
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
_DEFAULT_DPI = (72.0, 96.0)
_SANE_MM = (1e-5, 50.0)
_COLOUR = ("RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "PA")
#: TIFF's ExtraSamples that are alpha; an unspecified one is a channel.
_ALPHA = (1, 2)
#: TIFF's ResolutionUnit: inch, centimetre.
_UNIT_MM = {2: 25.4, 3: 10.0}
_IMAGEJ_MM = {"mm": 1.0, "cm": 10.0, "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "\\u00B5m": 1e-3, "inch": 25.4}
#: No file of this many bytes unpacks to more than this many times as many (DEFLATE), beyond a small image's worth.
_MOST_RATIO = 1100
_SMALL_BYTES = 1 << 26


# --- PNG, JPEG, BMP ------------------------------------------------------------------------------------


def read(path: Path, data: bytes, *, mask: bool = False) -> Volume:
    """Read an image (C, X, Y), or the pages of a TIFF (C, X, Y, Z), in the file's own type.

    Palettes become colours, in a mask numbers. Of a TIFF of several images, such as a scan and its thumbnail, the
    first is read.

    Raises:
        DataError: not an image, damaged, a PNG of 16-bit colour, or of more axes than channels, slices, rows and
            columns.
    """
    with _as_data_error(path):
        if _is_tiff(data):
            return _read_tiff(path, data, mask)
        image = _open(path, data)
        return Volume(_pixels(image, mask), _geometry(image))


def read_geometry(path: Path) -> Geometry:
    """The grid, without unpacking the pixels.

    Raises:
        DataError: not an image, or damaged.
    """
    data = read_bytes(path)
    with _as_data_error(path):
        return _tiff_layout(path, _tiff(data))[2] if _is_tiff(data) else _geometry(_open(path, data))


def encode_png(path: Path, volume: Volume) -> bytes:
    """The bytes of a PNG: gray of 8 or 16 bits, or three channels of 8 bits.

    Integers of another type that lie in 0..65535 become the smallest of the two that holds them.

    Raises:
        DataError: PNG cannot hold this array.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    geometry = volume.geometry
    if geometry.ndim == 3:
        raise DataError(f"Cannot write {path}: PNG holds one slice, not a volume; name it .nii.gz or .tif.")
    array = _unsigned(path, volume.array)
    colour = volume.channels == 3 and array.dtype == np.uint8
    if volume.channels != 1 and not colour:
        raise DataError(
            f"Cannot write {path}: PNG holds 1 channel, or 3 of 8 bits, not {volume.channels} of {array.dtype}; "
            "name it .tif."
        )
    pixels = array.transpose(2, 1, 0) if colour else array[0].T
    notes = PngInfo()
    notes.add_text(_KEY, json.dumps(geometry.affine.tolist()))
    stream = io.BytesIO()
    dots = tuple(25.4 / spacing for spacing in geometry.spacing_mm)
    Image.fromarray(np.ascontiguousarray(pixels)).save(
        stream, "PNG", pnginfo=notes, dpi=dots, compress_level=3
    )
    return stream.getvalue()


def _open(path: Path, data: bytes) -> Any:
    """A PIL image, its pixels still packed."""
    from PIL import Image, UnidentifiedImageError

    # IHDR: bit depth and colour type. pillow would silently cut 16-bit colour to 8 bits.
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) > 25 and data[24] == 16 and data[25] != 0:
        raise DataError(
            f"{path} holds 16-bit colour or alpha, which PNG readers cut to 8 bits; convert it to TIFF."
        )
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError as error:
        names = ", ".join(_FORMATS)
        raise DataError(f"{path} is not an image of {names}; check what it is, or copy it again.") from error
    _check_size(path, data, image.width * image.height * 4)
    return image


def _pixels(image: Any, mask: bool) -> Array:
    """(C, X, Y) in memory of its own."""
    if (image.mode == "P" and not mask) or image.mode in _COLOUR:
        image = image.convert("RGB")
    elif image.mode in ("LA", "La"):
        image = image.getchannel(0)
    array = np.array(image)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return array.T[None] if array.ndim == 2 else array.transpose(2, 1, 0)


def _geometry(image: Any) -> Geometry:
    shape = (image.width, image.height)
    if image.format == "PNG":
        if (known := _written(getattr(image, "text", {}).get(_KEY), shape)) is not None:
            return known
        return Geometry.from_spacing(shape, _spacing(image.info.get("dpi"), 25.4))
    return Geometry.from_spacing(shape, (1.0, 1.0))


# --- TIFF ----------------------------------------------------------------------------------------------


def _read_tiff(path: Path, data: bytes, mask: bool) -> Volume:
    file = _tiff(data)
    axes, sizes, geometry = _tiff_layout(path, file)
    series = file.series[0]
    _check_size(path, data, math.prod(sizes) * np.dtype(series.dtype).itemsize)
    page = series.keyframe
    array = _tiff_pixels(series, data, sizes)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
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
    elif page.extrasamples and int(page.extrasamples[-1]) in _ALPHA:
        array = array[:-1]
    if page.colormap is not None and not mask and array.shape[0] == 1:
        # TIFF states palettes in 16 bits, programs mean 8 of them: times 256 or times 257.
        array = (np.asarray(page.colormap) >> 8).astype(np.uint8)[:, array[0]]
    return Volume(array.reshape(array.shape[0], *geometry.shape), geometry)


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
        description=json.dumps({_KEY: geometry.affine.tolist()}),
        resolution=tuple(10.0 / spacing for spacing in geometry.spacing_mm[:2]),
        resolutionunit="CENTIMETER",
        **layout,
    )
    return stream.getvalue()


def _is_tiff(data: bytes) -> bool:
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _tiff(data: bytes) -> Any:
    import tifffile

    # What it complains about, it also raises or gets by without; stderr is the command line's.
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    return tifffile.TiffFile(io.BytesIO(data))


def _tiff_pixels(series: Any, data: bytes, sizes: tuple[int, ...]) -> Array:
    try:
        return np.asarray(series.asarray()).reshape(sizes)
    except ValueError as error:
        # LZW and JPEG inside TIFF need a codec that tifffile does not bring and pillow does.
        if "imagecodecs" not in str(error):
            raise
    from PIL import Image, ImageSequence

    image = Image.open(io.BytesIO(data), formats=("TIFF",))
    return np.stack([np.array(page) for page in ImageSequence.Iterator(image)]).reshape(sizes)


def _tiff_layout(path: Path, file: Any) -> tuple[str, tuple[int, ...], Geometry]:
    """(axes as letters, their sizes, geometry) of the first image in a TIFF; axes of one voxel are left out."""
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
    size = dict(named)
    shape = (size["X"], size["Y"], *slices)
    tags = file.pages[0].tags
    note = tags["ImageDescription"].value if "ImageDescription" in tags else None
    for whole in (shape, (*shape, 1)):
        if len(whole) <= 3 and (known := _written(note, whole, keyed=True)) is not None:
            return axes, sizes, known
    spacing = _tiff_spacing(file, tags)
    return axes, sizes, Geometry.from_spacing(shape, spacing[: len(shape)])


def _tiff_spacing(file: Any, tags: Any) -> tuple[float, float, float]:
    """Spacing of column, row and slice (mm), 1.0 where it is not stated."""
    imagej = file.imagej_metadata or {}
    unit = tags["ResolutionUnit"].value if "ResolutionUnit" in tags else 1
    unit_mm = _IMAGEJ_MM.get(str(imagej.get("unit", "")).lower()) or _UNIT_MM.get(int(unit))
    if unit_mm is None:
        return 1.0, 1.0, 1.0
    (x, x_unit), (y, y_unit) = (
        tags[name].value if name in tags else (0, 1) for name in ("XResolution", "YResolution")
    )
    across, down = _spacing((x / (x_unit or math.inf), y / (y_unit or math.inf)), unit_mm)
    between = float(imagej.get("spacing", 0.0)) * unit_mm
    return across, down, between if _sane(between) else 1.0


# --- both ----------------------------------------------------------------------------------------------


@contextmanager
def _as_data_error(path: Path) -> Iterator[None]:
    """Whatever pillow or tifffile stumble over inside the block becomes a DataError."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path} cannot be read as an image ({reason}); copy or download it again."
        ) from error


def _check_size(path: Path, data: bytes, promised: int) -> None:
    if promised > _SMALL_BYTES + _MOST_RATIO * len(data):
        raise DataError(f"{path} promises {promised} bytes of pixels in {len(data)} bytes; copy it again.")


def _written(note: Any, shape: tuple[int, ...], *, keyed: bool = False) -> Geometry | None:
    """The geometry that Vesal wrote, where it is there and fits; `keyed` where it is an entry of an object."""
    try:
        affine = json.loads(note)[_KEY] if keyed else json.loads(note)
        return Geometry(shape, np.asarray(affine, dtype=np.float64))
    except (ValueError, TypeError, KeyError):
        return None


def _spacing(density: tuple[float, float] | None, unit_mm: float) -> tuple[float, float]:
    """Dots per unit -> spacing (mm), or 1.0 where the density is a default or absurd."""
    if density is None or not all(math.isfinite(value) and value > 0 for value in density):
        return 1.0, 1.0
    spacing = [unit_mm / float(value) for value in density]
    if any(abs(25.4 / value - dpi) < 0.1 for value in spacing for dpi in _DEFAULT_DPI):
        return 1.0, 1.0
    return (spacing[0], spacing[1]) if all(_sane(value) for value in spacing) else (1.0, 1.0)


def _sane(spacing_mm: float) -> bool:
    return _SANE_MM[0] <= spacing_mm <= _SANE_MM[1]


def _unsigned(path: Path, array: Array) -> Array:
    if array.dtype in (np.uint8, np.uint16):
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype.kind in "ui" and array.min() >= 0 and array.max() < 1 << 16:
        return array.astype(np.uint8 if array.max() < 1 << 8 else np.uint16)
    raise DataError(f"Cannot write {path}: PNG holds whole numbers from 0 to 65535; name it .tif.")
