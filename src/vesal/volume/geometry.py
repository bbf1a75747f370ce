"""Where voxels lie in the patient: shape, spacing and a RAS+ affine. The only file that flips LPS and RAS.

Inside Vesal every affine maps voxel indices to millimetres in RAS+ (x to the patient's right, y to anterior,
z to superior), as NIfTI does. ITK's formats and DICOM count the other way on x and y (LPS+).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.volume.nifti_forms import NiftiForms

#: Differences of spacing and affine below this are rounding in the file (mm), of voxels of a microscope below this
#: share of one.
TOLERANCE_MM, _TOLERANCE_VOXELS = 1e-3, 0.1

#: A thousand kilometres: no scan is that large or that far away.
_ABSURD_MM = 1e9

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Geometry:
    """The grid of an image in space, in 2D or 3D.

    Attributes:
        shape: voxels along each array axis, (X, Y, Z) or (X, Y).
        affine: (ndim + 1, ndim + 1) float64, voxel index -> millimetres, RAS+ in 3D.
        nifti: all that the NIfTI header says of the place of this very grid, where it came from one. What is written
            on the grid takes it over; a derived grid has none.

    >>> grid = Geometry.from_spacing((10, 20, 5), (1.0, 1.0, 3.0))
    >>> grid.spacing_mm
    (1.0, 1.0, 3.0)
    >>> grid.axis_codes
    'RAS'
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    nifti: NiftiForms | None = None

    def __post_init__(self) -> None:
        shape = tuple(int(size) for size in self.shape)
        affine = np.array(self.affine, dtype=np.float64)
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise ValueError(f"a grid has 2 or 3 axes of at least one voxel, not shape {shape}")
        if affine.shape != (len(shape) + 1,) * 2:
            raise ValueError(
                f"shape {shape} needs a {len(shape) + 1}x{len(shape) + 1} affine, not {affine.shape}"
            )
        if not (np.abs(affine) < _ABSURD_MM).all():
            raise ValueError("the affine is not finite or beyond all measure")
        columns = affine[:-1, :-1]
        lengths = np.sqrt((columns**2).sum(axis=0))
        # Of unit columns, so that the finest voxels of a microscope do not count as flat.
        if lengths.min() <= 1e-9 or abs(np.linalg.det(columns / lengths)) < 1e-6:
            raise ValueError("the affine is singular: an axis has no length, or two run the same way")
        if not np.array_equal(affine[-1], np.eye(len(shape) + 1)[-1]):
            raise ValueError(f"the affine's last row is {affine[-1].tolist()}, not 0 and a final 1")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    # --- made from -------------------------------------------------------------------------------------

    @classmethod
    def from_spacing(cls, shape: Sequence[int], spacing_mm: Sequence[float]) -> Geometry:
        """An axis-aligned RAS+ grid with its first voxel at the origin."""
        return cls(tuple(shape), np.diag([*spacing_mm, 1.0]))

    @classmethod
    def from_lps(
        cls, shape: Sequence[int], spacing_mm: Sequence[float], origin: Sequence[float], direction: Array
    ) -> Geometry:
        """From ITK's description: spacing (ndim), origin (ndim) and direction cosines (ndim, ndim), LPS+."""
        ndim = len(shape)
        affine = np.eye(ndim + 1)
        affine[:ndim, :ndim] = np.asarray(direction, dtype=float).reshape(ndim, ndim) * np.asarray(spacing_mm)
        affine[:ndim, ndim] = origin
        return cls.from_world(shape, affine, "LPS")

    @classmethod
    def from_world(cls, shape: Sequence[int], affine: Array, world: str) -> Geometry:
        """From an affine into a world whose axes count towards `world`, such as 'LPS', 'RAS' or 'LAS'.

        A 2D affine is in the image plane and stays.

        >>> Geometry.from_world((2, 2, 2), np.eye(4), "LPS").axis_codes
        'LPS'
        """
        if len(shape) == 2:
            return cls(tuple(shape), affine)
        signs = [1.0 if letter == positive else -1.0 for letter, positive in zip(world, "RAS", strict=True)]
        return cls(tuple(shape), np.diag([*signs, 1.0]) @ affine)

    def to_lps(self) -> tuple[tuple[float, ...], tuple[float, ...], NDArray[np.float64]]:
        """ITK's description of this grid: (spacing_mm, origin, direction (ndim, ndim)) in LPS+."""
        flipped = Geometry.from_world(self.shape, self.affine, "LPS").affine
        direction = flipped[: self.ndim, : self.ndim] / np.asarray(self.spacing_mm)
        return self.spacing_mm, tuple(flipped[: self.ndim, self.ndim].tolist()), direction

    # --- asked -----------------------------------------------------------------------------------------

    @property
    def ndim(self) -> int:
        """Spatial axes: 2 or 3."""
        return len(self.shape)

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Distance between neighbouring voxels along each array axis (mm)."""
        columns = self.affine[: self.ndim, : self.ndim]
        return tuple(float(value) for value in np.sqrt((columns**2).sum(axis=0)))

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume (3D, mm³) or area (2D, mm²) of one voxel."""
        return float(abs(np.linalg.det(self.affine[: self.ndim, : self.ndim])))

    @property
    def axis_codes(self) -> str:
        """The patient's direction nearest to each array axis, such as 'RAS' or 'LPI'; '' in 2D."""
        return self.turn_to_ras().axis_codes

    @property
    def rounding_mm(self) -> float:
        """How far apart rounding in files may put two grids that are this one (mm, at the farthest corner)."""
        return min(TOLERANCE_MM, _TOLERANCE_VOXELS * min(self.spacing_mm))

    def close_to(self, other: Geometry, tolerance_mm: float | None = None) -> bool:
        """Whether both grids put every voxel at the same place, to `tolerance_mm` (rounding) at the farthest corner."""
        tolerance_mm = self.rounding_mm if tolerance_mm is None else tolerance_mm
        return self.shape == other.shape and self.distance_mm(other) <= tolerance_mm

    def distance_mm(self, other: Geometry) -> float:
        """The largest distance between the same corner voxel in the two grids (mm); shapes must agree."""
        if self.shape != other.shape:
            raise ValueError(f"shapes differ: {self.shape} and {other.shape}")
        corners = np.array(np.meshgrid(*[(0, size - 1) for size in self.shape])).reshape(self.ndim, -1)
        corners = np.vstack([corners, np.ones(corners.shape[1])])
        gap = (self.affine - other.affine) @ corners
        return float(np.sqrt((gap**2).sum(axis=0)).max())

    # --- derived grids ---------------------------------------------------------------------------------

    def plain(self) -> Geometry:
        """The same grid without what a NIfTI header said of it: written anew, both of its forms are this affine."""
        return Geometry(self.shape, self.affine)

    def turn_to_ras(self) -> Turn:
        """The permutation and flips of array axes that bring this grid nearest to RAS+; none in 2D."""
        if self.ndim == 2:
            return Turn((0, 1), (False, False))
        # Imported here: reading the shape of a PNG should not wait for nibabel.
        from nibabel.orientations import io_orientation

        orientation = io_orientation(self.affine)
        order = tuple(int(np.flatnonzero(orientation[:, 0] == axis)[0]) for axis in range(3))
        return Turn(order, tuple(bool(orientation[source, 1] < 0) for source in order))

    def turned(self, turn: Turn) -> Geometry:
        """The same voxels after `turn` was applied to the array."""
        shape = tuple(self.shape[source] for source in turn.order)
        matrix = np.zeros_like(self.affine)
        for target, (source, flipped) in enumerate(zip(turn.order, turn.flips, strict=True)):
            matrix[source, target] = -1.0 if flipped else 1.0
            if flipped:
                matrix[source, self.ndim] = self.shape[source] - 1
        matrix[self.ndim, self.ndim] = 1.0
        return Geometry(shape, self.affine @ matrix)

    def with_shape(self, shape: Sequence[int]) -> Geometry:
        """Another number of voxels over exactly the same field of view (outer faces coincide)."""
        scale = np.asarray(self.shape, dtype=float) / np.asarray(shape, dtype=float)
        matrix = np.diag([*scale, 1.0])
        matrix[: self.ndim, self.ndim] = (scale - 1.0) / 2.0
        return Geometry(tuple(shape), self.affine @ matrix)

    # --- as JSON ---------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for JSON."""
        nifti = {} if self.nifti is None else {"nifti": self.nifti.to_dict()}
        return {"shape": list(self.shape), "affine": self.affine.tolist()} | nifti

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Geometry:
        """The inverse of `to_dict`."""
        nifti = NiftiForms.from_dict(value["nifti"]) if "nifti" in value else None
        return cls(tuple(value["shape"]), np.asarray(value["affine"], dtype=np.float64), nifti)


@dataclass(frozen=True)
class Turn:
    """A permutation of the spatial axes followed by flips: lossless, and undone by `undo`.

    Attributes:
        order: new axis i is the old axis order[i].
        flips: whether the new axis i runs the other way.
    """

    order: tuple[int, ...]
    flips: tuple[bool, ...]

    @property
    def axis_codes(self) -> str:
        """The direction nearest to each axis before the turn to RAS, such as 'LPI'; '' in 2D."""
        if len(self.order) == 2:
            return ""
        codes = [""] * 3
        for target, (source, flipped) in enumerate(zip(self.order, self.flips, strict=True)):
            codes[source] = ("RAS", "LPI")[flipped][target]
        return "".join(codes)

    def apply(self, array: Array) -> Array:
        """Turn the trailing spatial axes of `array` (leading axes are channels); a view, not a copy."""
        lead = array.ndim - len(self.order)
        turned: Array = array.transpose(*range(lead), *(lead + source for source in self.order))
        flips = tuple(lead + axis for axis, flipped in enumerate(self.flips) if flipped)
        return np.flip(turned, flips) if flips else turned

    def undo(self, array: Array) -> Array:
        """The inverse of `apply`; a view, not a copy."""
        lead = array.ndim - len(self.order)
        flips = tuple(lead + axis for axis, flipped in enumerate(self.flips) if flipped)
        if flips:
            array = np.flip(array, flips)
        inverse = np.argsort(self.order)
        return array.transpose(*range(lead), *(lead + int(axis) for axis in inverse))
