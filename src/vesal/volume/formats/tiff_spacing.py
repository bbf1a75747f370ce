"""The spacing of a TIFF volume in a JSON file beside it, as nnU-Net has it."""

from __future__ import annotations

import re
from pathlib import Path

from vesal.errors import DataError
from vesal.files import read_json

_CHANNEL = re.compile(r"_\d{4}$")


def spacing_beside(path: Path) -> tuple[float, float, float] | None:
    """(x, y, z) mm of CASE.json, {"spacing": [z, y, x]}, beside CASE.tif or CASE_0000.tif; None where it is not there.

    nnU-Net leaves the unit open; it is taken for mm. Source: `Tiff3DIO` in nnunetv2/imageio/tif_reader_writer.py.

    Raises:
        DataError: the file does not hold three sizes.
    """
    beside = _beside(path)
    return None if beside is None else _spacing(beside)


def files(path: Path) -> tuple[Path, ...]:
    """A TIFF and, where it is there, the JSON file that may say its spacing: who corrects that has another scan."""
    beside = _beside(path)
    return (path,) if beside is None else (path, beside)


def _beside(path: Path) -> Path | None:
    stem = path.name.rsplit(".", 1)[0]
    names = (path.with_name(f"{name}.json") for name in (stem, _CHANNEL.sub("", stem)))
    return next((file for file in names if file.is_file()), None)


def _spacing(path: Path) -> tuple[float, float, float] | None:
    described = read_json(path)
    if not isinstance(described, dict) or "spacing" not in described:
        return None
    try:
        z, y, x = (float(size) for size in described["spacing"])
    except (TypeError, ValueError):
        z = y = x = 0.0
    if not all(0.0 < size < float("inf") for size in (x, y, z)):
        raise DataError(
            f'{path} has {described["spacing"]!r} as "spacing"; three sizes of a voxel in mm are wanted, of slices, '
            "rows and columns, such as [5, 0.8, 0.8]."
        )
    return x, y, z
