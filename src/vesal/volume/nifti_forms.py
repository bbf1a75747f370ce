"""Where a NIfTI header says that its image lies, in all of its forms, as it stands in the file.

A header has an affine (sform), a rotation with an offset (qform), a code for each that says whether it counts,
voxel sizes (pixdim) and a unit. Programs differ in which form they take. What is made of a scan, such as its mask,
lies where the scan does for all of them only if it has all of the scan's numbers (nifti1.h, "3D IMAGE (VOLUME)
ORIENTATION AND LOCATION IN SPACE").
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
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
            sform=tuple(value for row in _ROWS for value in header[row].tolist()),
            sform_code=int(header["sform_code"]),
            qform=tuple(float(header[name]) for name in (*_QUATERNION, *_OFFSET)),
            qform_code=int(header["qform_code"]),
            pixdim=tuple(header["pixdim"][:4].tolist()),
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

    @cached_property
    def sform_affine(self) -> NDArray[np.float64]:
        """(4, 4), whatever its code; not to be written to."""
        return _constant(np.array([*self.sform, 0.0, 0.0, 0.0, 1.0]).reshape(4, 4))

    @cached_property
    def qform_affine(self) -> NDArray[np.float64]:
        """(4, 4), whatever its code, by the standard's method 2: sizes of 0 count as 1, a long quaternion as unit.

        Not to be written to.
        """
        from nibabel.quaternions import quat2mat

        b, c, d = self.qform[:3]
        rotation = quat2mat([math.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d))), b, c, d])
        steps = np.array([size if usable_size(size) else 1.0 for size in np.abs(self.pixdim[1:])])
        steps[2] *= -1.0 if self.pixdim[0] < 0 else 1.0
        affine = np.eye(4)
        affine[:3, :3] = rotation * steps
        affine[:3, 3] = self.qform[3:]
        return _constant(affine)

    @cached_property
    def column_lengths(self) -> NDArray[np.float64]:
        """(3,) voxel sizes by the sform, whatever its code."""
        return _constant(np.sqrt((self.sform_affine[:3, :3] ** 2).sum(axis=0)))

    @cached_property
    def sform_used(self) -> bool:
        """The sform counts, and is an affine."""
        return self.sform_code > 0 and is_affine(self.sform_affine)

    @cached_property
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
    rows = affine.tolist()
    if not all(math.isfinite(value) for row in rows for value in row):
        return False
    # In plain numbers: each header of a data set is asked, and numpy takes ten times as long for so few.
    (a, b, c), (d, e, f), (g, h, i) = (row[:3] for row in rows[:3])
    lengths = (math.hypot(a, d, g), math.hypot(b, e, h), math.hypot(c, f, i))
    volume = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return min(lengths) > 1e-9 and abs(volume) >= 1e-6 * math.prod(lengths)


def usable_size(size: float) -> bool:
    """Whether a voxel size of a header is one: the standard's readers take 1 where it is 0 or no number."""
    return bool(math.isfinite(size) and size != 0)


def _constant(array: NDArray[np.float64]) -> NDArray[np.float64]:
    array.setflags(write=False)
    return array
