"""Artefacts of computed tomography: a scale of Hounsfield units that is off, and the streaks of metal.

Shapes as in vesal.augment.artifacts.signal. `unit` is the number of Hounsfield units (HU) of one unit of the image's
intensity: 1 for a scan as it was read, the standard deviation for a normalised one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vesal.augment.random_parameters import to_device

#: Of the streaks' profile: they fade to half their strength so far from the metal, as a share of the side.
_FADE = 0.15
#: HU of metal: above what the scale of 12 bits holds, where scanners stop.
METAL_HU = 3071.0


@dataclass(frozen=True, eq=False)
class HuShift:
    """A number added to every voxel, as with a scanner that is badly calibrated; offset (N, C) in HU, 0 for none."""

    offset: Tensor
    unit: float = 1.0

    def apply(self, image: Tensor) -> Tensor:
        """x + offset / unit."""
        if not (self.offset != 0).any():
            return image
        ones = [1] * (image.ndim - 2)
        return image + to_device(self.offset / self.unit, image.device).reshape(*self.offset.shape, *ones)


@dataclass(frozen=True, eq=False)
class Streaks:
    """Metal-like streaks: from a small dense body, rays that are too bright and too dark by turns.

    The cause in a scanner, beams that no photon survives and the filtered backprojection of their noise, is not
    simulated; the pattern is that of a metal artefact as seen in axial slices (Barrett and Keat, RadioGraphics
    2004): a star that is strongest near the metal and fades with the distance, in the slices that it crosses.

    Attributes:
        axes: the two axes of a slice.
        centre: (N, D) of the metal, as shares of the sides.
        reach: (N,) along the axis through the slices, as a share of its side, to each side.
        angles: (N, K) of the rays, radians.
        height: (N, K) of each ray next to the metal, in HU, positive and negative; 0 for none.
        radius: (N,) of the metal, as a share of the slice's shorter side; the rays are as wide.
        unit: HU of one unit of the image's intensity.
    """

    axes: tuple[int, int]
    centre: Tensor
    reach: Tensor
    angles: Tensor
    height: Tensor
    radius: Tensor
    unit: float = 1.0

    def apply(self, image: Tensor) -> Tensor:
        """x + rays, and metal in their middle; all channels get the same."""
        rows = (self.height != 0).any(dim=1).nonzero().flatten().tolist()
        if not rows:
            return image
        image = image.clone()
        for row in rows:
            shape = tuple(image.shape[2:])
            star, metal = self._slice(shape, row)
            for axis in range(len(shape)):
                if axis not in self.axes:
                    first, last = self._slices(shape[axis], axis, row)
                    part = image[row].narrow(1 + axis, first, last - first)
                    break
            else:
                part = image[row]
            sides = [shape[axis] if axis in self.axes else 1 for axis in range(len(shape))]
            star, metal = (to_device(each, image.device).reshape(sides) for each in (star, metal))
            part.add_(star / self.unit)
            part.masked_fill_(metal, METAL_HU / self.unit)
        return image

    def _slices(self, size: int, axis: int, row: int) -> tuple[int, int]:
        middle, reach = float(self.centre[row, axis]) * size, float(self.reach[row]) * size
        first = max(0, min(size - 1, round(middle - reach)))
        return first, min(size, max(first + 1, round(middle + reach)))

    def _slice(self, shape: tuple[int, ...], row: int) -> tuple[Tensor, Tensor]:
        """(A, B) float32 in HU and bool: the rays and the metal of one slice."""
        sides = [shape[axis] for axis in self.axes]
        short = min(sides)
        across = [
            torch.arange(size, dtype=torch.float32) + 0.5 - float(self.centre[row, axis]) * size
            for axis, size in zip(self.axes, sides, strict=True)
        ]
        x, y = torch.meshgrid(*across, indexing="ij")
        distance = torch.hypot(x, y)
        width = max(0.75, float(self.radius[row]) * short)
        star = torch.zeros_like(distance)
        for angle, height in zip(self.angles[row].double(), self.height[row].tolist(), strict=True):
            beside = x * float(angle.sin()) - y * float(angle.cos())
            star += height * torch.exp(-0.5 * (beside / width) ** 2)
        return star / (1 + distance / (_FADE * short)), distance < width
