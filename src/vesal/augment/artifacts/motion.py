"""Motion of the patient while k-space is measured line by line (vesal.augment.artifacts.kspace says how)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from vesal.augment.artifacts.artifact_settings import ArtifactSettings, Number, Patches, range_text
from vesal.augment.artifacts.signal import minimum
from vesal.augment.intensity import copy_where
from vesal.augment.random_parameters import directions, to_device, uniform
from vesal.augment.ranges import Counts, Limits
from vesal.augment.spatial import Warp

#: Unit of a number in the text form -> the field that it sets; x is the number of movements.
_UNITS = {"deg": "degrees", "px": "voxels", "mm": "mm", "x": "count"}


@dataclass(frozen=True, eq=False)
class Motion:
    """The patient moves while lines are measured: each part of k-space comes from the body in another pose.

    As in Shaw et al., "MRI k-space motion artefact augmentation" (MIDL 2019) and TorchIO's RandomMotion: the pose
    in which the middle of k-space is measured, which is the one that the image shows, is the patch as it is, so
    that the label stays true.

    Attributes:
        axes: the W axes of the body's movement (2 within thick slices, or all), also those of k-space.
        spacing_mm: along these axes.
        angles: (N, M, 3), or (N, M, 1) within a plane: rotation of each of M other poses, in degrees.
        shift: (N, M, W) of each pose, in voxels.
        moments: (N, M) ascending, 0 to 1: the share of the lines after which the pose changes; 1 is never.
        phase: (N,) int64, the axis of phase encoding, one of `axes`.
        channels: (N, C) bool, which channels of each sample were being measured.
    """

    axes: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    angles: Tensor
    shift: Tensor
    moments: Tensor
    phase: Tensor
    channels: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """A movement by nothing gives the image back but for rounding; what moves in from outside has no signal."""
        moves = (self.angles != 0).any(dim=2) | (self.shift != 0).any(dim=2)
        image, places = copy_where(image, self.channels.any(dim=1) & moves.any(dim=1))
        for (row,) in places:
            chosen = to_device(self.channels[row].nonzero().flatten(), image.device)
            image[row, chosen] = self._measured(image[row, chosen], row)
        return image

    def _measured(self, scan: Tensor, row: int) -> Tensor:
        axis = 1 + int(self.phase[row])
        lines = scan.shape[axis]
        ends = [0, *(round(moment * lines) for moment in self.moments[row].tolist()), lines]
        middle = sum(end <= lines // 2 for end in ends[1:-1])
        spacing = torch.tensor(self.spacing_mm)
        poses = Warp(
            self.axes,
            self.spacing_mm,
            self.angles[row],
            torch.ones(len(ends) - 2),
            None,
            self.shift[row] * spacing,
        )
        low = minimum(scan)
        signal = scan - low
        spectrum = torch.fft.fft(signal, dim=axis)
        for part, (start, stop) in enumerate(pairwise(ends)):
            if part == middle or start >= stop:
                continue
            moved = torch.fft.fft(poses.moved(signal, part - (part > middle)), dim=axis)
            measured = to_device((torch.arange(start, stop) - lines // 2) % lines, scan.device)
            spectrum.index_copy_(axis, measured, moved.index_select(axis, measured))
        return torch.fft.ifft(spectrum, dim=axis).abs() + low


class MotionSettings(ArtifactSettings):
    """Motion of the patient during the acquisition; within the slice where slices are thick."""

    acts = 30
    severities: ClassVar = {
        "degrees": (1.0, 2.5, 5.0, 8.0, 12.0),
        "mm": (1.0, 2.5, 5.0, 8.0, 12.0),
        "count": (1, 1, 2, 2, 3),
    }
    modalities = ("MR",)
    together = True

    degrees: Limits = (5.0, 15.0)
    """Range of each movement's rotation, in degrees, either way."""
    voxels: Limits = (2.0, 8.0)
    """Range of each movement's translation, in voxels, in any direction."""
    mm: Limits | None = None
    """Range of the translation in millimetres, in place of voxels; null for voxels."""
    count: Counts = (1, 3)
    """Range of the number of movements."""

    def text(self) -> str:
        """Rotation, translation and number of movements, each with its unit."""
        values = {unit: getattr(self, field) for unit, field in _UNITS.items()}
        del values["px" if self.mm else "mm"]
        return ",".join(range_text(of, unit) for unit, of in values.items())

    @classmethod
    def from_numbers(cls, numbers: list[Number]) -> dict[str, Any] | None:
        """By their units. A rotation or translation that is not named does not happen."""
        values = {_UNITS.get(unit, ""): (low, high) for low, high, unit in numbers}
        if "" in values or len(values) < len(numbers):
            return None
        return {"degrees": (0.0, 0.0), "voxels": (0.0, 0.0), **values}

    def draw(self, patches: Patches, generator: torch.Generator) -> Motion:
        """Poses and their moments, an axis of phase encoding a sample, and the channels that are measured."""
        axes = patches.frame.plane
        spacing_mm = tuple(patches.frame.spacing_mm[axis] for axis in axes)
        step_mm = sum(spacing_mm) / len(spacing_mm)
        low, high = self.voxels if self.mm is None else (of / step_mm for of in self.mm)
        chosen = patches.chosen(generator)
        there = patches.first(self.count, generator)
        poses = there.shape
        turns = 1 if len(axes) == 2 else 3
        angles = uniform((*poses, 1), self.degrees, generator) * directions((*poses, turns), generator)
        shift = uniform((*poses, 1), (low, high), generator) * directions((*poses, len(axes)), generator)
        moments = uniform(poses, (0.0, 1.0), generator)
        return Motion(
            axes=axes,
            spacing_mm=spacing_mm,
            angles=angles,
            shift=shift,
            moments=torch.where(there, moments, torch.ones(())).sort(dim=1).values,
            phase=patches.axis(generator),
            channels=chosen,
        )
