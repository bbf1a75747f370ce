"""Details of a NIfTI header beside its grid: units, forms that contradict each other, numbers that are none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from vesal.errors import DataError
from vesal.record import Record
from vesal.volume.formats.raw_bytes import inflate, is_gzip, is_nifti
from vesal.volume.nifti_forms import NiftiForms, is_affine, usable_size

_HEADER_BYTES = 540
_CORNERS = np.array([*np.ndindex(2, 2, 2)]).T
_UNITS = {1: "m", 2: "mm", 3: "um"}
#: The bits of xyzt_units that name the unit of space.
_SPACE_UNIT = 7
#: Voxels, at the last one along an axis: less is rounding.
_ROUNDED = 0.01


class Header(Record):
    """Of one file.

    Attributes:
        unit: 'm', 'mm', 'um', or '' where none is named.
        forms_apart_mm: how far the sform and the qform part at the farthest corner; 0 where only one is used.
        shear: the largest cosine between two axes; 0 where they are at right angles.
        pixdim_mm: the voxel sizes, where a header whose qform does not count has an sform with others; () elsewhere.
        sform_mm: the sform's, likewise.
        pixdim_apart_voxels: how far the two part at the last voxel along an axis (voxels of the sizes taken).
        sform_unusable: the sform counts, but is no affine, and the qform is taken.
        place_unknown: a form counts, and neither is an affine: the voxel sizes alone are taken.
        pixdim_unset: a voxel size is 0 or no number, and 1 mm is taken.
        intercept_unset: the scale has an intercept that is no number, and 0 is taken.
    """

    unit: str = ""
    forms_apart_mm: float = 0.0
    shear: float = 0.0
    pixdim_mm: tuple[float, ...] = ()
    sform_mm: tuple[float, ...] = ()
    pixdim_apart_voxels: float = 0.0
    sform_unusable: bool = False
    place_unknown: bool = False
    pixdim_unset: bool = False
    intercept_unset: bool = False


def read_header(path: Path, head: bytes) -> Header | None:
    """The header of a NIfTI file, which was read without complaint, from its first bytes; None for other formats."""
    if not is_nifti(path):
        return None
    try:
        data = inflate(head, path, _HEADER_BYTES, partial=True) if is_gzip(head) else head
        kind = Nifti2Header if data[4:8] == b"n+2\0" else Nifti1Header
        form = kind.template_dtype.newbyteorder("<")
        header = np.frombuffer(data, form, count=1)[0]
        # By the number of axes, as nibabel does: the header's own size may be wrong.
        if not 1 <= header["dim"][0] <= 7:
            header = np.frombuffer(data, form.newbyteorder(">"), count=1)[0]
        return _looked_at(header)
    except (DataError, ValueError):
        return None


def _looked_at(header: np.void) -> Header:
    sizes = [max(1, int(size)) for size in header["dim"][1 : 1 + min(3, int(header["dim"][0]))]]
    shape = np.array([*sizes, 1, 1, 1][:3])
    forms = NiftiForms.from_header(header)
    apart, shear = 0.0, 0.0
    if forms.sform_used and forms.qform_used:
        gap = (forms.sform_affine - forms.qform_affine)[:3]
        corners = _CORNERS * (shape - 1)[:, None]
        apart = float(np.sqrt(((gap[:, :3] @ corners + gap[:, 3:]) ** 2).sum(axis=0)).max())
    if forms.sform_used:
        columns = forms.sform_affine[:3, :3] / forms.column_lengths
        shear = float(np.abs(np.triu(columns.T @ columns, 1)).max())
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    unset = [not usable_size(size) for size in forms.pixdim[1 : 1 + len(sizes)]]
    return Header(
        unit=_UNITS.get(forms.xyzt_units & _SPACE_UNIT, ""),
        forms_apart_mm=round(apart, 6) if np.isfinite(apart) else 0.0,
        shear=round(shear, 6) if np.isfinite(shear) else 0.0,
        sform_unusable=forms.sform_code > 0 and not forms.sform_used and forms.qform_used,
        place_unknown=forms.place_unknown,
        pixdim_unset=any(unset) and not forms.sform_used,
        intercept_unset=math.isfinite(slope) and slope != 0 and not math.isfinite(intercept),
        **_contradiction(forms, shape),
    )


def _contradiction(forms: NiftiForms, shape: np.ndarray) -> dict[str, Any]:
    """Where voxel sizes and sform tell different sizes, and no qform does: both, and how far they part."""
    if forms.qform_code > 0 or not (forms.sform_used or is_affine(forms.sform_affine)):
        return {}
    pixdim = np.abs([size if math.isfinite(size) else 0.0 for size in forms.pixdim[1:]])
    sform = forms.column_lengths
    taken = sform if forms.sform_code > 0 else np.where(pixdim > 0, pixdim, 1.0)
    apart = float((np.abs(pixdim - sform) / taken * (shape - 1)).max())
    if apart < _ROUNDED:
        return {}
    return {
        "pixdim_mm": tuple(round(float(size), 6) for size in pixdim),
        "sform_mm": tuple(round(float(size), 6) for size in sform),
        "pixdim_apart_voxels": round(apart, 6),
    }
