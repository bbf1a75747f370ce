"""Damage to the header of one case's files alone: the voxels stay byte for byte."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np


def set_fields(path: Path, fields: Mapping[str, object]) -> None:
    """Write numbers into a NIfTI header as they are, as no library would; the file may be a link to the true one."""
    data = path.read_bytes()
    packed = path.name.endswith(".gz")
    data = gzip.decompress(data) if packed else data
    kind = nib.Nifti2Header if data[:4] == b"\x1c\x02\0\0" else nib.Nifti1Header
    size = kind.template_dtype.itemsize
    header = kind(data[:size], check=False)
    for name, value in fields.items():
        field, _, number = name.partition("__")
        if number:
            header[field][int(number)] = value
        else:
            header[field] = value
    data = header.binaryblock + data[size:]
    path.unlink()
    path.write_bytes(gzip.compress(data, 1) if packed else data)


def on_headers(*parts: str, **fields: object) -> Callable[[Path, str, str], tuple[str, ...]]:
    """Fields of the headers of a case's files in these folders; `pixdim__1` is a field's element."""

    def harm(folder: Path, case: str, _: str) -> tuple[str, ...]:
        for part in parts:
            set_fields(folder / part / f"{case}.nii.gz", fields)
        return (case,)

    return harm


def singular_sform(folder: Path, case: str, _: str) -> tuple[str, ...]:
    """The place is in the qform, and an sform of zeros counts by its code."""
    for part in ("imagesTr", "labelsTr"):
        path = folder / part / f"{case}.nii.gz"
        scan = nib.load(path)
        image = nib.Nifti1Image(np.asanyarray(scan.dataobj), scan.affine)
        image.set_qform(scan.affine, 1)
        path.unlink()
        nib.save(image, path)
        set_fields(
            path, {"srow_x": np.zeros(4), "srow_y": np.zeros(4), "srow_z": np.zeros(4), "sform_code": 1}
        )
    return (case,)


def in_unit(unit: str) -> Callable[[Path, str, str], tuple[str, ...]]:
    """Spacings in another unit, as the header says."""
    factor = {"meter": 1e-3, "micron": 1e3}[unit]

    def harm(folder: Path, case: str, _: str) -> tuple[str, ...]:
        for part in ("imagesTr", "labelsTr"):
            path = folder / part / f"{case}.nii.gz"
            scan = nib.load(path)
            image = nib.Nifti1Image(np.asanyarray(scan.dataobj), np.diag([factor] * 3 + [1]) @ scan.affine)
            image.header.set_xyzt_units(unit)
            path.unlink()
            nib.save(image, path)
        return (case,)

    return harm
