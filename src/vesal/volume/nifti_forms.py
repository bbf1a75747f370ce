"""Where a NIfTI header says that its image lies, in all of its forms, as it stands in the file.

A header has an affine (sform), a rotation with an offset (qform), a code for each that says whether it counts,
voxel sizes (pixdim) and a unit. Programs differ in which form they take. What is made of a scan, such as its mask,
lies where the scan does for all of them only if it has all of the scan's numbers (nifti1.h, "3D IMAGE (VOLUME)
ORIENTATION AND LOCATION IN SPACE").
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROWS = ("srow_x", "srow_y", "srow_z")
_QUATERNION = ("quatern_b", "quatern_c", "quatern_d")
_OFFSET = ("qoffset_x", "qoffset_y", "qoffset_z")


@dataclass(frozen=True)
class NiftiForms:
    """The numbers of one header.

    Attributes:
        sform: its three rows one after the other, 12 numbers.
        sform_code, qform_code: 0 where the form does not count; else of which space it is.
        qform: quaternion b, c, d, and the offset x, y, z.
        pixdim: the handedness of the qform (-1 or 1), and the voxel sizes.
        xyzt_units: the code of the units of space and time.
        version: 1 or 2, of NIfTI: single or double precision.
    """

    sform: tuple[float, ...]
    sform_code: int
    qform: tuple[float, ...]
    qform_code: int
    pixdim: tuple[float, ...]
    xyzt_units: int
    version: int

    @classmethod
    def from_header(cls, header: Any) -> NiftiForms:
        """From a header's record, as it was read."""
        return cls(
            sform=_numbers(value for row in _ROWS for value in header[row]),
            sform_code=int(header["sform_code"]),
            qform=_numbers(header[name] for name in (*_QUATERNION, *_OFFSET)),
            qform_code=int(header["qform_code"]),
            pixdim=_numbers(header["pixdim"][:4]),
            xyzt_units=int(header["xyzt_units"]),
            version=2 if int(header["sizeof_hdr"]) == 540 else 1,
        )

    def write(self, header: Any) -> None:
        """Put all numbers into a header's record."""
        for number, row in enumerate(_ROWS):
            header[row] = self.sform[4 * number : 4 * number + 4]
        for name, value in zip((*_QUATERNION, *_OFFSET), self.qform, strict=True):
            header[name] = value
        header["pixdim"][:4] = self.pixdim
        for name in ("sform_code", "qform_code", "xyzt_units"):
            header[name] = getattr(self, name)

    # --- the affines -----------------------------------------------------------------------------------

    @property
    def sform_affine(self) -> NDArray[np.float64]:
        """(4, 4), whatever its code."""
        return np.vstack([np.array(self.sform, dtype=np.float64).reshape(3, 4), (0.0, 0.0, 0.0, 1.0)])

    @property
    def qform_affine(self) -> NDArray[np.float64]:
        """(4, 4), whatever its code, by the standard's method 2: sizes of 0 count as 1, a long quaternion as unit."""
        from nibabel.quaternions import quat2mat

        b, c, d = self.qform[:3]
        rotation = quat2mat([math.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d))), b, c, d])
        steps = np.array([size if usable_size(size) else 1.0 for size in np.abs(self.pixdim[1:])])
        steps[2] *= -1.0 if self.pixdim[0] < 0 else 1.0
        affine = np.eye(4)
        affine[:3, :3] = rotation * steps
        affine[:3, 3] = self.qform[3:]
        return affine

    @property
    def column_lengths(self) -> NDArray[np.float64]:
        """(3,) voxel sizes by the sform, whatever its code."""
        lengths: NDArray[np.float64] = np.sqrt((self.sform_affine[:3, :3] ** 2).sum(axis=0))
        return lengths

    @property
    def sform_used(self) -> bool:
        """The sform counts, and is an affine."""
        return self.sform_code > 0 and is_affine(self.sform_affine)

    @property
    def qform_used(self) -> bool:
        """The qform counts, and is an affine."""
        return self.qform_code > 0 and is_affine(self.qform_affine)

    @property
    def place_unknown(self) -> bool:
        """A form counts by its code, and none is an affine: nothing but voxel sizes is left."""
        counts = self.sform_code > 0 or self.qform_code > 0
        return counts and not (self.sform_used or self.qform_used)

    # --- as JSON ---------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for JSON; None for what is no number."""
        return {
            field.name: [value if math.isfinite(value) else None for value in found]
            if isinstance(found := getattr(self, field.name), tuple)
            else found
            for field in fields(self)
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> NiftiForms:
        """The inverse of `to_dict`."""
        numbers: dict[str, Any] = {
            name: tuple(math.nan if one is None else one for one in found)
            if isinstance(found, list)
            else found
            for name, found in value.items()
        }
        return cls(**numbers)


def is_affine(affine: NDArray[np.float64]) -> bool:
    """Whether a (4, 4) matrix places voxels: finite, and its axes span the space."""
    columns = affine[:3, :3]
    if not np.isfinite(affine).all():
        return False
    lengths = np.sqrt((columns**2).sum(axis=0))
    return bool(lengths.min() > 1e-9 and abs(np.linalg.det(columns / lengths)) >= 1e-6)


def usable_size(size: float) -> bool:
    """Whether a voxel size of a header is one: the standard's readers take 1 where it is 0 or no number."""
    return bool(math.isfinite(size) and size != 0)


def _numbers(values: Iterable[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
