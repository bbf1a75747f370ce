"""Artefacts of computed tomography: a scale of Hounsfield units that is off, and the streaks of metal.

`unit` is the number of Hounsfield units (HU) of one unit of the image's intensity: 1 for a scan as it was read, the
standard deviation for a normalised one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vesal.augment.artifacts.artifact_settings import ArtifactSettings, Patches
from vesal.augment.intensity import change_channels, copy_where
from vesal.augment.random_parameters import happens, to_device, uniform
from vesal.augment.ranges import Counts, Limits, SignedLimits

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
        offset = self.offset / self.unit
        return change_channels(image, self.offset != 0, lambda x, n, c: x + float(offset[n, c]))


class HuShiftSettings(ArtifactSettings):
    """A scale of Hounsfield units that is off; in CT only."""

    acts = 52
    severities: ClassVar = {"hu": (10.0, 25.0, 50.0, 100.0, 200.0)}
    modalities = ("CT",)
    signed = True

    hu: SignedLimits = (-50.0, 50.0)
    """Range of the number of HU that is added."""

    def draw(self, patches: Patches, generator: torch.Generator) -> HuShift:
        return HuShift(patches.amount(self.hu, generator), patches.frame.hu or 1.0)


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
        image, places = copy_where(image, (self.height != 0).any(dim=1))
        shape = tuple(image.shape[2:])
        through = [axis for axis in range(len(shape)) if axis not in self.axes]
        for (row,) in places:
            star, metal = self._slice(shape, row)
            part = image[row]
            for axis in through:
                size = shape[axis]
                middle, reach = float(self.centre[row, axis]) * size, float(self.reach[row]) * size
                first = max(0, min(size - 1, round(middle - reach)))
                last = min(size, max(first + 1, round(middle + reach)))
                part = part.narrow(1 + axis, first, last - first)
            sides = [shape[axis] if axis in self.axes else 1 for axis in range(len(shape))]
            star, metal = (to_device(each, image.device).reshape(sides) for each in (star, metal))
            part.add_(star / self.unit)
            part.masked_fill_(metal, METAL_HU / self.unit)
        return image

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


class StreaksSettings(ArtifactSettings):
    """Metal-like streaks; in CT only."""

    acts = 51
    severities: ClassVar = {"count": (4, 6, 8, 10, 14), "height": (50.0, 100.0, 200.0, 400.0, 800.0)}
    modalities = ("CT",)

    count: Counts = (4, 12)
    """Range of the number of rays."""
    height: Limits = (100.0, 400.0)
    """Range of a ray's height next to the metal, in HU."""

    def draw(self, patches: Patches, generator: torch.Generator) -> Streaks:
        """Where the metal lies, and angle and height of each ray; all channels have the same."""
        frame, dimension = patches.frame, len(patches.shape)
        chosen = patches.chosen_samples(generator)
        there = patches.first(self.count, generator)
        sign = torch.where(happens(tuple(there.shape), 0.5, generator), 1.0, -1.0)
        height = uniform(tuple(there.shape), self.height, generator) * sign
        flat = dimension == 2 or len(frame.plane) == 2
        first, second = frame.plane if flat else (axis for axis in range(dimension) if axis != frame.through)
        return Streaks(
            axes=(first, second),
            centre=uniform((patches.n, dimension), (0.3, 0.7), generator),
            reach=uniform((patches.n,), (0.03, 0.15), generator),
            angles=uniform(tuple(there.shape), (0.0, math.pi), generator),
            height=height * there * chosen[:, None],
            radius=uniform((patches.n,), (0.005, 0.02), generator),
            unit=frame.hu or 1.0,
        )
