"""An image in space: an array and its Geometry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vesal.volume.geometry import Array, Geometry


@dataclass(frozen=True, eq=False)
class Volume:
    """An image: array (C, X, Y, Z), or (C, X, Y) in 2D, of intensities in the file's own unit.

    Attributes:
        array, geometry: of one shape in space.
        placed: False for pictures that do not say where they lie: then they lie wherever their partner does.
        absent: places of channels that were not acquired, which hold zeros here.

    Raises:
        ValueError: the spatial axes of the array are not those of the geometry.
    """

    array: Array
    geometry: Geometry
    placed: bool = True
    absent: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if tuple(self.array.shape[1:]) != self.geometry.shape:
            raise ValueError(
                f"array {self.array.shape} is not (C, {', '.join(map(str, self.geometry.shape))})"
            )

    @property
    def channels(self) -> int:
        """How many channels the image has."""
        return int(self.array.shape[0])


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A segmentation: integer array (X, Y, Z), or (X, Y) in 2D, with the file's own label values.

    Attributes:
        array, geometry, placed: as of a `Volume`.
        soft: the file holds other values, from which a threshold made these.
        overlaps: of a folder of masks, 'a and b' -> voxels of both, which are b's here.

    Raises:
        ValueError: the array is not the geometry's shape, or not of integers.
    """

    array: Array
    geometry: Geometry
    placed: bool = True
    soft: bool = False
    overlaps: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if tuple(self.array.shape) != self.geometry.shape:
            raise ValueError(f"array {self.array.shape} is not {self.geometry.shape}")
        if self.array.dtype.kind not in "ui":
            raise ValueError(f"a label map holds integers, not {self.array.dtype}")

    def beside(self, partner: Volume | LabelMap) -> LabelMap:
        """The same where the partner lies, if one of the two does not say where, and their shapes are the same."""
        if (self.placed and partner.placed) or self.geometry.shape != partner.geometry.shape:
            return self
        return replace(self, geometry=partner.geometry, placed=partner.placed)
