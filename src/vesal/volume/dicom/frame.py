"""One slice of a DICOM series: where it lies, how its values are scaled, and what tells it from its neighbours.

A classic object holds one frame, an enhanced one many; from here on both are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

#: Unit vectors whose components part by less are one direction: headers round them to four or more digits.
_TURN = 2e-3


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice, as its header places it (PS3.3 C.7.6.2: Image Plane).

    Attributes:
        file: the key of the file in its source.
        number: of the frame in its file, from 0.
        instance: SOP instance UID.
        position_mm: (3,) centre of the first pixel, LPS+.
        directions: (2, 3) unit vectors along which the column index and the row index grow, LPS+.
        pixel_mm: distance of neighbouring (columns, rows).
        shape: (columns, rows).
        slope, intercept: of the rescaling to the values' unit.
        tags: keyword -> value of what may tell phases and echoes apart.
    """

    file: str
    number: int
    instance: str
    position_mm: NDArray[np.float64]
    directions: NDArray[np.float64]
    pixel_mm: tuple[float, float]
    shape: tuple[int, int]
    slope: float = 1.0
    intercept: float = 0.0
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def normal(self) -> NDArray[np.float64]:
        """(3,) unit vector across the slice, LPS+."""
        across = np.cross(self.directions[0], self.directions[1])
        return across / np.linalg.norm(across)

    @property
    def name(self) -> str:
        """For messages: the file, and where it holds many frames which of them."""
        return self.file if self.number == 0 else f"{self.file}, frame {self.number + 1}"

    def parallel_to(self, other: Frame) -> bool:
        """Whether both have one grid within their planes: directions, pixels and shape."""
        return (
            self.shape == other.shape
            and bool(np.abs(self.directions - other.directions).max() < _TURN)
            and bool(np.allclose(self.pixel_mm, other.pixel_mm, rtol=1e-3, atol=1e-6))
        )
