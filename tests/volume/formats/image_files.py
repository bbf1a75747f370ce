"""Small files of every format; NRRD and MetaImage field by field."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from vesal.volume.geometry import Geometry
from vesal.volume.volume import Volume

MHA = {
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "1 2 3",
    "ElementSpacing": "1 1 2",
    "DimSize": "2 3 4",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}
NRRD = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "2 3 4",
    "space directions": "(1,0,0) (0,1,0) (0,0,2)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(1,2,3)",
}
ARRAY = np.arange(24, dtype="<i2").reshape(2, 3, 4)
RAW = ARRAY.tobytes(order="F")
LPS = Geometry.from_lps((2, 3, 4), (1, 1, 2), (1, 2, 3), np.eye(3))


def mha(path: Path, body: bytes = RAW, **changes: str | None) -> Path:
    fields = {key: value for key, value in {**MHA, **changes}.items() if value is not None}
    fields["ElementDataFile"] = fields.pop("ElementDataFile")
    path.write_bytes("".join(f"{key} = {value}\n" for key, value in fields.items()).encode() + body)
    return path


def nrrd_file(path: Path, body: bytes = RAW, **changes: str | None) -> Path:
    changed = {key.replace("_", " "): value for key, value in changes.items()}
    fields = {key: value for key, value in {**NRRD, **changed}.items() if value is not None}
    lines = "".join(f"{key}: {value}\n" for key, value in fields.items())
    path.write_bytes(f"NRRD0004\n{lines}\n".encode() + body)
    return path


def picture(suffix: str) -> Volume:
    """A small uint8 image that the format can hold."""
    shape = (6, 5) if suffix in (".png", ".tif", ".tiff") else (6, 5, 4)
    array = np.random.default_rng(0).integers(0, 200, (1, *shape), dtype=np.uint8)
    return Volume(array, Geometry.from_spacing(shape, (0.5, 0.75, 2.0)[: len(shape)]))


def told(error: pytest.ExceptionInfo, path: Path) -> None:
    """The message is one sentence that names the path."""
    message = str(error.value)
    assert str(path) in message
    assert message.endswith(".")
    assert "\n" not in message


def grid_of(image: sitk.Image) -> Geometry:
    return Geometry.from_lps(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
