"""Ghosts and spikes: values of k-space, the image's Fourier transform, that were measured wrongly.

A line is what is measured at once: all of k-space at one place along the axis of phase encoding, so an artefact that
differs from line to line needs a transform along this axis alone. Lines are measured in order, from the most negative
frequency to the highest. The image is the magnitude of the transform back, as scanners show it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vesal.augment.artifacts.artifact_settings import ArtifactSettings, Patches
from vesal.augment.artifacts.signal import change_signal, minimum
from vesal.augment.intensity import copy_where
from vesal.augment.random_parameters import directions, to_device, uniform, whole
from vesal.augment.ranges import Counts, Limits, Periods

#: Frequencies of spikes, in cycles a voxel: below, stripes are so wide that they are a bias.
_SPIKE_FREQUENCY = (0.05, 0.5)


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
        image, places = copy_where(image, (self.strength != 0).any(dim=1))
        for (row,) in places:
            chosen = (self.strength[row] != 0).nonzero().flatten()
            there = to_device(chosen, image.device)
            scan = image[row, there]
            axis = 1 + int(self.axis[row])
            lines = scan.shape[axis]
            frequency = torch.fft.ifftshift(torch.arange(-(lines // 2), (lines + 1) // 2)).double()
            angle = frequency * (2 * math.pi / float(self.period[row]))
            wave = (angle + self.phase[row].double()).cos()
            gain = to_device((1 + self.strength[row, chosen].double()[:, None] * wave).float(), image.device)
            ones = [1] * (scan.ndim - 1)
            ones[axis - 1] = lines
            low = minimum(scan)
            spectrum = torch.fft.fft(scan - low, dim=axis) * gain.reshape(-1, *ones)
            image[row, there] = torch.fft.ifft(spectrum, dim=axis).abs() + low
        return image


class GhostingSettings(ArtifactSettings):
    """Ghosts: faint copies of the body, moved along the direction of phase encoding."""

    acts = 31
    severities: ClassVar = {"strength": (0.1, 0.2, 0.35, 0.55, 0.8)}
    written = ("strength", "period")
    modalities = ("MR",)

    strength: Limits = (0.2, 0.8)
    """Range of the modulation's strength; each of the two copies has half of it."""
    period: Periods = (2, 10)
    """Range of the number n of lines after which the modulation recurs: the copies lie 1/n of the side away."""

    def draw(self, patches: Patches, generator: torch.Generator) -> Ghosting:
        return Ghosting(
            strength=patches.amount(self.strength, generator),
            period=whole((patches.n,), self.period, generator),
            phase=uniform((patches.n,), (0.0, 2 * math.pi), generator),
            axis=patches.axis(generator),
        )


@dataclass(frozen=True, eq=False)
class Spikes:
    """Single values of k-space that are far too high: stripes across the image (herringbone, corduroy).

    A spike is a plane wave in the image, so none is transformed: signal and waves are added, and the magnitude
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

        def striped(signal: Tensor, sample: int, channel: int) -> Tensor:
            size = tuple(signal.shape[axis] for axis in self.axes)
            wave = self._wave(sample, channel, size, signal.device)
            wave = wave.reshape([n if axis in self.axes else 1 for axis, n in enumerate(signal.shape)])
            level = signal.mean(dim=self.axes, keepdim=True)
            return (signal + level * wave).abs()

        return change_signal(image, (self.height != 0).any(dim=2), striped)

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


class SpikeSettings(ArtifactSettings):
    """Spikes in k-space, which make stripes (herringbone)."""

    acts = 40
    severities: ClassVar = {"count": (1, 2, 3, 4, 6), "height": (0.1, 0.15, 0.25, 0.4, 0.6)}
    modalities = ("MR",)
    together = True

    count: Counts = (2, 8)
    """Range of the number of spikes."""
    height: Limits = (0.1, 0.5)
    """Range of a spike's height, as a share of the spectrum's maximum."""

    def draw(self, patches: Patches, generator: torch.Generator) -> Spikes:
        """Frequency, phase and height of each spike, the same in all channels that have the artefact."""
        axes = patches.frame.plane
        chosen = patches.chosen(generator)
        there = patches.first(self.count, generator)
        radius = uniform((*there.shape, 1), _SPIKE_FREQUENCY, generator)
        height = uniform(tuple(there.shape), self.height, generator) * there
        return Spikes(
            axes=axes,
            frequency=radius * directions((*there.shape, len(axes)), generator),
            phase=uniform(tuple(there.shape), (0.0, 2 * math.pi), generator),
            height=height[:, None] * chosen[..., None],
        )
