"""Details of a NIfTI header beside its grid: units, a second grid, sheared axes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.quaternions import quat2mat

from vesal.errors import DataError
from vesal.record import Record
from vesal.volume.formats.raw_bytes import inflate, is_gzip, is_nifti

_HEADER_BYTES = 540
_CORNERS = np.array([*np.ndindex(2, 2, 2)]).T
_UNITS = {1: "m", 2: "mm", 3: "um"}


class Header(Record):
    """Of one file.

    Attributes:
        unit: 'm', 'mm', 'um', or '' where none is named.
        forms_apart_mm: how far the sform and the qform part at the farthest corner; 0 where only one is used.
        shear: the largest cosine between two axes; 0 where they are at right angles.
    """

    unit: str = ""
    forms_apart_mm: float = 0.0
    shear: float = 0.0


def read_header(path: Path, head: bytes) -> Header | None:
    """The header of a NIfTI file, which was read without complaint, from its first bytes; None for other formats."""
    if not is_nifti(path):
        return None
    try:
        data = inflate(head, path, _HEADER_BYTES, partial=True) if is_gzip(head) else head
        kind = Nifti2Header if data[4:8] == b"n+2\0" else Nifti1Header
        form = kind.template_dtype
        if data[:4] not in (b"\x5c\x01\0\0", b"\x1c\x02\0\0"):
            form = form.newbyteorder()
        return _looked_at(np.frombuffer(data, form, count=1)[0])
    except (DataError, ValueError):
        return None


def _looked_at(header: np.void) -> Header:
    shape = [
        max(1, int(size)) for size in (*header["dim"][1 : 1 + min(3, int(header["dim"][0]))], 1, 1, 1)[:3]
    ]
    sform = np.array([header[name] for name in ("srow_x", "srow_y", "srow_z")], dtype=np.float64)
    coded = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    apart, shear = 0.0, 0.0
    if all(coded):
        corners = _CORNERS * (np.array(shape) - 1)[:, None]
        gap = sform - _qform(header)
        apart = float(np.sqrt(((gap[:, :3] @ corners + gap[:, 3:]) ** 2).sum(axis=0)).max())
    if coded[0]:
        columns = sform[:, :3] / np.maximum(np.sqrt((sform[:, :3] ** 2).sum(axis=0)), 1e-30)
        shear = float(np.abs(np.triu(columns.T @ columns, 1)).max())
    return Header(
        unit=_UNITS.get(int(header["xyzt_units"]) & 7, ""),
        forms_apart_mm=round(apart, 6) if np.isfinite(apart) else 0.0,
        shear=round(shear, 6) if np.isfinite(shear) else 0.0,
    )


def _qform(header: np.void) -> np.ndarray:
    """(3, 4), by the NIfTI standard's method 2 (nifti1.h)."""
    b, c, d = (float(header[f"quatern_{name}"]) for name in "bcd")
    rotation = quat2mat([math.sqrt(max(0.0, 1 - b * b - c * c - d * d)), b, c, d])
    steps = np.array(header["pixdim"][1:4], dtype=np.float64)
    steps[2] *= -1 if header["pixdim"][0] < 0 else 1
    origin = [float(header[f"qoffset_{name}"]) for name in "xyz"]
    return np.column_stack([rotation * steps, origin])
