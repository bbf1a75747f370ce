"""PNG, TIFF, JPEG and BMP: arrays (C, X, Y) whose X is the column and whose Y is the row, from the top left.

Pixels are what a viewer shows: EXIF's orientation is applied. Gray images have one channel, colour images three (also
where the three are equal); alpha is no intensity and is dropped. A palette's colours are the intensities of an image,
its numbers the values of a mask. One-bit pixels are 0 and 1; those of 2 and 4 bits keep their numbers in a mask and
are scaled to 8 bits in an image. The pages of a TIFF of several pages are the slices of a volume (C, X, Y, Z).

Where pixels lie: what Vesal wrote into the file itself, exactly, or ImageJ's calibration; else 1 mm. The density
(dpi) of a PNG or TIFF is what its program liked to write: `read_header` gives it, and it is a spacing only where a
whole data set agrees on it (vesal.layouts.pictures).
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from vesal.errors import DataError
from vesal.volume.formats.picture import (
    KEY,
    PictureHeader,
    as_data_error,
    check_size,
    pixel_size,
    upright,
    upright_shape,
    written_geometry,
)
from vesal.volume.formats.raw_bytes import read_bytes
from vesal.volume.formats.tiff import is_tiff, read_tiff, tiff_geometry, tiff_header
from vesal.volume.geometry import Array, Geometry
from vesal.volume.volume import Volume

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF")
_COLOUR = ("RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "PA")
#: EXIF's tag of the orientation, and how a PNG may begin to hold one.
_ORIENTATION = 274
_PNG_EXIF = (b"eXIf", b"Raw profile type exif", b"tiff:Orientation")


def read(path: Path, data: bytes, *, mask: bool = False) -> Volume:
    """Read an image (C, X, Y), or the pages of a TIFF (C, X, Y, Z), in the file's own type.

    Palettes become colours, in a mask numbers. Of a TIFF of several images, such as a scan and its thumbnail, the
    first is read.

    Raises:
        DataError: not an image, damaged, a PNG of 16-bit colour, or of more axes than channels, slices, rows and
            columns.
    """
    with as_data_error(path):
        if is_tiff(data):
            return read_tiff(path, data, mask)
        image = _open(path, data)
        geometry, placed = _geometry(image, data)
        return Volume(upright(_pixels(image, data, mask), _orientation(image, data)), geometry, placed=placed)


def read_geometry(path: Path) -> Geometry:
    """The grid, without unpacking the pixels.

    Raises:
        DataError: not an image, or damaged.
    """
    data = read_bytes(path)
    with as_data_error(path):
        return tiff_geometry(path, data) if is_tiff(data) else _geometry(_open(path, data), data)[0]


def read_header(path: Path) -> PictureHeader:
    """Channels and density from the head of the file alone.

    Raises:
        DataError: not an image, or damaged.
    """
    from PIL import Image

    with as_data_error(path):
        if is_tiff(read_bytes(path, 4)):
            return tiff_header(path)
        with Image.open(path, formats=_FORMATS) as image:
            shape = (image.width, image.height)
            placed = _placed(image, shape) is not None
            density = image.info.get("dpi") if image.format == "PNG" and not placed else None
            return PictureHeader(_channels(image), pixel_size(density, 25.4), placed)


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
    notes.add_text(KEY, json.dumps(geometry.affine.tolist()))
    stream = io.BytesIO()
    dots = tuple(25.4 / spacing for spacing in geometry.spacing_mm)
    Image.fromarray(np.ascontiguousarray(pixels)).save(
        stream, "PNG", pnginfo=notes, dpi=dots, compress_level=3
    )
    return stream.getvalue()


def _open(path: Path, data: bytes) -> Any:
    """A PIL image, its pixels still packed."""
    from PIL import Image, UnidentifiedImageError

    # pillow would silently cut 16-bit colour to 8 bits.
    if _png_depth(data) == (16, True):
        raise DataError(
            f"{path} holds 16-bit colour or alpha, which PNG readers cut to 8 bits; convert it to TIFF."
        )
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError as error:
        names = ", ".join(_FORMATS)
        raise DataError(f"{path} is not an image of {names}; check what it is, or copy it again.") from error
    check_size(path, data, image.width * image.height * 4)
    if image.format == "GIF" and (frames := getattr(image, "n_frames", 1)) > 1:
        raise DataError(f"{path} is a film of {frames} pictures; save each as a PNG.")
    return image


def _png_depth(data: bytes) -> tuple[int, bool]:
    """(bits a sample, whether it is other than gray) of a PNG's IHDR, (0, False) of another file."""
    is_png = data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) > 25
    return (data[24], data[25] != 0) if is_png else (0, False)


def _pixels(image: Any, data: bytes, mask: bool) -> Array:
    """(C, X, Y) in memory of its own, as the file stores it."""
    # Writers of GIF number the colours anew, so that of greys the grey is the value.
    if image.mode == "P" and mask and not (image.format == "GIF" and _gray_palette(image)):
        array = np.array(image)
        if image.getpalette()[:6] == [255, 255, 255, 0, 0, 0] and array.max() <= 1:
            array = 1 - array  # what is shown white is never the background
        return array.T[None]
    if mask and image.mode in ("RGBA", "LA") and _is_cut_out(image):
        image = image.getchannel("A")
    elif image.mode == "P" and _gray_palette(image):
        image = image.convert("L")
    elif image.mode == "P" or image.mode in _COLOUR:
        image = image.convert("RGB")
    elif image.mode in ("LA", "La"):
        image = image.getchannel(0)
    array = np.array(image)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    depth, other = _png_depth(data)
    if mask and depth in (2, 4) and not other:
        array //= 255 // ((1 << depth) - 1)  # pillow has scaled them to 8 bits
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return array.T[None] if array.ndim == 2 else array.transpose(2, 1, 0)


def _is_cut_out(image: Any) -> bool:
    """Whether a mask is drawn by its transparency alone: one colour all over, more or less opaque."""
    *colours, alpha = image.getextrema()
    return bool(all(low == high for low, high in colours) and alpha[0] < alpha[1])


def _channels(image: Any) -> int:
    if image.mode == "P":
        return 1 if _gray_palette(image) else 3
    return 1 if image.mode in ("LA", "La") else 3 if image.mode in _COLOUR else len(image.getbands())


def _gray_palette(image: Any) -> bool:
    palette = np.asarray(image.getpalette("RGB")).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())


def _orientation(image: Any, data: bytes) -> int:
    """EXIF's, 1 where there is none."""
    if image.format == "PNG" and not any(word in data for word in _PNG_EXIF):
        return 1  # pillow would unpack the pixels to look behind them
    found = image.getexif().get(_ORIENTATION, 1)
    return found if isinstance(found, int) else 1


def _geometry(image: Any, data: bytes) -> tuple[Geometry, bool]:
    """The grid, and whether the file states it."""
    shape = upright_shape(image.width, image.height, _orientation(image, data))
    known = _placed(image, shape)
    return known or Geometry.from_spacing(shape, (1.0, 1.0)), known is not None


def _placed(image: Any, shape: tuple[int, int]) -> Geometry | None:
    return written_geometry(getattr(image, "text", {}).get(KEY), shape) if image.format == "PNG" else None


def _unsigned(path: Path, array: Array) -> Array:
    if array.dtype in (np.uint8, np.uint16):
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype.kind in "ui" and array.min() >= 0 and array.max() < 1 << 16:
        return array.astype(np.uint8 if array.max() < 1 << 8 else np.uint16)
    raise DataError(f"Cannot write {path}: PNG holds whole numbers from 0 to 65535; name it .tif.")
