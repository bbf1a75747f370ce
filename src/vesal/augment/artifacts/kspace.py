"""Artefacts that happen while k-space, the picture's Fourier transform, is measured line by line.

Shapes as in vesal.augment.artifacts.signal. A line is what is measured at once: all of k-space at one place along
the axis of phase encoding, so an artefact that differs from line to line needs a transform along this axis alone.
Lines are measured in order, from the most negative frequency to the highest. The picture is the magnitude of the
transform back, as scanners show it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from vesal.augment.random_parameters import to_device
from vesal.augment.spatial import Warp


def _frequencies(lines: int) -> Tensor:
    """(lines,) int64: the frequency of each entry of torch.fft.fft, in cycles a side."""
    index = torch.arange(lines)
    return (index + lines // 2) % lines - lines // 2


def _lowest(scan: Tensor) -> Tensor:
    """(C, 1, ...): the minimum of each channel of (C, *S)."""
    return scan.flatten(1).amin(dim=1).reshape(-1, *[1] * (scan.ndim - 1))


@dataclass(frozen=True, eq=False)
class Motion:
    """The patient moves while lines are measured: each part of k-space comes from the body in another pose.

    As in Shaw et al., "MRI k-space motion artefact augmentation" (MIDL 2019) and TorchIO's RandomMotion: the pose
    in which the middle of k-space is measured, which is the one that the picture shows, is the patch as it is, so
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
        rows = (self.channels.any(dim=1) & moves.any(dim=1)).nonzero().flatten().tolist()
        if not rows:
            return image
        image = image.clone()
        for row in rows:
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
        low = _lowest(scan)
        signal = scan - low
        spectrum = torch.fft.fft(signal, dim=axis)
        for part, (start, stop) in enumerate(pairwise(ends)):
            if part == middle or start >= stop:
                continue
            moved = torch.fft.fft(poses.moved(signal, part - (part > middle)), dim=axis)
            measured = to_device((torch.arange(start, stop) - lines // 2) % lines, scan.device)
            spectrum.index_copy_(axis, measured, moved.index_select(axis, measured))
        return torch.fft.ifft(spectrum, dim=axis).abs() + low


@dataclass(frozen=True, eq=False)
class Ghosting:
    """The signal swells and fades from line to line, as with breath and pulse: copies of the body appear.

    Lines are multiplied by 1 + strength * cos(2 pi k / period + phase), k the line's frequency. That adds two copies,
    moved by 1/period of the side either way along the axis of phase encoding, each of half the strength.

    Attributes:
        strength: (N, C), 0 for none.
        period: (N,) in lines, 2 or more; 2 is the N/2 ghost.
        phase: (N,) radians.
        axis: (N,) int64, the axis of phase encoding.
    """

    strength: Tensor
    period: Tensor
    phase: Tensor
    axis: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """Copies wrap around at the border of the patch, as they do at that of the field of view."""
        rows = (self.strength != 0).any(dim=1).nonzero().flatten().tolist()
        if not rows:
            return image
        image = image.clone()
        for row in rows:
            chosen = (self.strength[row] != 0).nonzero().flatten()
            there = to_device(chosen, image.device)
            scan = image[row, there]
            axis = 1 + int(self.axis[row])
            angle = _frequencies(scan.shape[axis]).double() * (2 * math.pi / float(self.period[row]))
            wave = (angle + self.phase[row].double()).cos()
            gain = to_device((1 + self.strength[row, chosen].double()[:, None] * wave).float(), image.device)
            ones = [1] * (scan.ndim - 1)
            ones[axis - 1] = scan.shape[axis]
            low = _lowest(scan)
            spectrum = torch.fft.fft(scan - low, dim=axis) * gain.reshape(-1, *ones)
            image[row, there] = torch.fft.ifft(spectrum, dim=axis).abs() + low
        return image


@dataclass(frozen=True, eq=False)
class Spikes:
    """Single values of k-space that are far too high: stripes across the picture (herringbone, corduroy).

    A spike is a plane wave in the picture, so none is transformed: signal and waves are added, and the magnitude
    is taken. The maximum of the spectrum of a signal that is nowhere negative is its value at frequency 0, the
    sum of the voxels, so a spike of height h (a share of that maximum) is a wave of h times the mean signal.

    Attributes:
        axes: of k-space: all axes, or those within the slice, each slice having its own k-space with the same spikes.
        frequency: (N, K, W) of each of K spikes along `axes`, in cycles a voxel, -0.5 to 0.5; rounded to whole
            cycles a side.
        phase: (N, K) radians.
        height: (N, C, K) as a share of the spectrum's maximum; 0 for none.
    """

    axes: tuple[int, ...]
    frequency: Tensor
    phase: Tensor
    height: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """|signal + sum of waves|."""
        rows = (self.height != 0).flatten(1).any(dim=1).nonzero().flatten().tolist()
        if not rows:
            return image
        image = image.clone()
        size = tuple(image.shape[2 + axis] for axis in self.axes)
        for row in rows:
            for channel in (self.height[row] != 0).any(dim=1).nonzero().flatten().tolist():
                scan = image[row, channel]
                low = scan.min()
                signal = scan - low
                wave = self._wave(row, channel, size, image.device)
                wave = wave.reshape([n if axis in self.axes else 1 for axis, n in enumerate(scan.shape)])
                level = signal.mean(dim=self.axes, keepdim=True)
                image[row, channel] = (signal + level * wave).abs() + low
        return image

    def _wave(self, row: int, channel: int, size: tuple[int, ...], device: torch.device) -> Tensor:
        """(*size) complex: the sum of height times wave; a wave is a product of one table an axis."""
        used = self.height[row, channel].nonzero().flatten()
        waves = (self.height[row, channel, used] * torch.exp(1j * self.phase[row, used]))[:, None]
        waves = to_device(waves, device)
        for position, n in enumerate(size):
            cycles = (self.frequency[row, used, position].double() * n).round()
            table = torch.exp(2j * math.pi / n * cycles[:, None] * torch.arange(n)).to(torch.complex64)
            table = to_device(table, device)
            if position < len(size) - 1:
                waves = (waves[:, :, None] * table[:, None, :]).flatten(1)
        return (waves.T @ table).reshape(size)
