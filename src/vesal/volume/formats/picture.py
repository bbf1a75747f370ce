"""What all kinds of pictures share: turning them upright, their place, and failures in one sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vesal.errors import DataError
from vesal.files import parse_json
from vesal.volume.geometry import Array, Geometry

#: Under this key a picture that Vesal wrote says where it lies.
KEY = "vesal:affine"
_DEFAULT_DPI = (72.0, 96.0)
_SANE_MM = (1e-5, 50.0)
#: EXIF's orientations (TIFF 6.0, tag 274) that exchange rows and columns, and those that turn columns and rows round
#: (after that exchange).
_EXCHANGED, _COLUMNS, _ROWS = (5, 6, 7, 8), (2, 3, 6, 7), (3, 4, 7, 8)
#: No file of this many bytes unpacks to more than this many times as many (DEFLATE), beyond a small image's worth.
_MOST_RATIO = 1100
_SMALL_BYTES = 1 << 26


@dataclass(frozen=True)
class PictureHeader:
    """What the head of a picture says.

    Attributes:
        channels: 1 for grey, 3 for colour; alpha is none.
        pixel_mm: (column, row) by its density (dpi), None where it states none or a program's default.
        placed: the file says where it lies, as those do that Vesal wrote; then the density is no news.
    """

    channels: int
    pixel_mm: tuple[float, float] | None = None
    placed: bool = False


def upright(array: Array, orientation: int) -> Array:
    """(C, X, Y, ...) as the file stores it -> as viewers show it, by EXIF's orientation (1 to 8).

    >>> upright(np.array([[[1, 2], [3, 4], [5, 6]]]), 6)[0].T.tolist()  # rows 1 3 5 and 2 4 6, turned clockwise
    [[2, 1], [4, 3], [6, 5]]
    """
    if orientation in _EXCHANGED:
        array = array.swapaxes(1, 2)
    if orientation in _COLUMNS:
        array = array[:, ::-1]
    return array[:, :, ::-1] if orientation in _ROWS else array


def upright_shape(columns: int, rows: int, orientation: int) -> tuple[int, int]:
    """(columns, rows) as viewers show a picture that is stored with these."""
    return (rows, columns) if orientation in _EXCHANGED else (columns, rows)


@contextmanager
def as_data_error(path: Path) -> Iterator[None]:
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


def check_size(path: Path, data: bytes, promised: int) -> None:
    """Refuse a file that promises more bytes of pixels than its own bytes can hold."""
    if promised > _SMALL_BYTES + _MOST_RATIO * len(data):
        raise DataError(f"{path} promises {promised} bytes of pixels in {len(data)} bytes; copy it again.")


def written_geometry(note: Any, shape: tuple[int, ...], *, keyed: bool = False) -> Geometry | None:
    """The geometry that Vesal wrote, where it is there and fits; `keyed` where it is an entry of an object."""
    try:
        found = parse_json(note)
        affine = found[KEY] if keyed else found
        return Geometry(shape, np.asarray(affine, dtype=np.float64))
    except (ValueError, TypeError, KeyError):
        return None


def pixel_size(density: Any, unit_mm: float) -> tuple[float, float] | None:
    """Dots per unit (column, row) -> mm a pixel, or None where the density is a default or absurd.

    >>> pixel_size((100, 50), 25), pixel_size((72, 72), 25.4), pixel_size((0, 0), 25.4)
    ((0.25, 0.5), None, None)
    """
    if density is None or not all(math.isfinite(value) and value > 0 for value in density):
        return None
    spacing = (unit_mm / float(density[0]), unit_mm / float(density[1]))
    if any(abs(25.4 / value - dpi) < 0.1 for value in spacing for dpi in _DEFAULT_DPI):
        return None
    return spacing if all(is_sane(value) for value in spacing) else None


def is_sane(spacing_mm: float) -> bool:
    """Whether a pixel may be of this size."""
    return _SANE_MM[0] <= spacing_mm <= _SANE_MM[1]
