"""Changes of brightness, contrast, sharpness and noise: the label stays as it is.

Shapes: N samples, C channels, S voxels along each of D axes. Image (N, C, *S) float32. A value that stands for
"nothing" in a record (factor 1, sigma 0) leaves that sample's channel untouched, bit for bit.
The transforms, their order and most numbers follow nnU-Net 2 (Isensee et al., Nature Methods 2021, and its source).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from vesal.augment.separable import along_axis, coarse_matrix, gaussian_matrix
from vesal.preprocessing.normalise import ABSENT


class Intensity(Protocol):
    """A record of parameters and what it does to an image."""

    def apply(self, image: Tensor) -> Tensor:
        """(N, C, *S) -> (N, C, *S); the image itself where nothing was drawn, else a new one."""
        ...


def copy_where(image: Tensor, chosen: Tensor) -> tuple[Tensor, list[list[int]]]:
    """A copy of `image` and the places where `chosen` is true: samples for (N,), samples and channels for (N, C).

    The image itself where there is none.
    """
    places = chosen.nonzero().tolist()
    return (image.clone() if places else image), places


def change_channels(image: Tensor, chosen: Tensor, change: Callable[[Tensor, int, int], Tensor]) -> Tensor:
    """`image` with change(image[n, c], n, c) where `chosen` (N, C) says so."""
    image, places = copy_where(image, chosen)
    for sample, channel in places:
        image[sample, channel] = change(image[sample, channel], sample, channel)
    return image


@dataclass(frozen=True, eq=False)
class ChannelChange:
    """What one number does to a channel.

    Attributes:
        amount: (N, C) of each channel; where it is `nothing` the channel stays.
    """

    amount: Tensor
    nothing: ClassVar[float] = 1.0

    def apply(self, image: Tensor) -> Tensor:
        """Every channel changed by its amount."""
        return change_channels(image, self.amount != self.nothing, self._changed)

    def change(self, channel: Tensor, amount: float) -> Tensor:
        """(*S) -> a new (*S)."""
        raise NotImplementedError

    def _changed(self, channel: Tensor, sample: int, number: int) -> Tensor:
        return self.change(channel, float(self.amount[sample, number]))


@dataclass(frozen=True, eq=False)
class Noise:
    """Gaussian noise.

    Attributes:
        std: (N,) of the noise, as a share of the channel's own standard deviation in the patch, so that one
            number serves every normalisation (a z-scored scan's is 1).
        seed: (N,) int64, from which the noise is made on the image's device.
    """

    std: Tensor
    seed: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """The same seed gives the same noise on one kind of device; a GPU's generator differs from the CPU's."""
        image, places = copy_where(image, self.std > 0)
        for (row,) in places:
            generator = torch.Generator(image.device).manual_seed(int(self.seed[row]))
            noise = torch.randn(image[row].shape, generator=generator, device=image.device, dtype=image.dtype)
            spread = image[row].flatten(1).std(dim=1, correction=0).reshape(-1, *[1] * (image.ndim - 2))
            image[row] += noise * (spread * float(self.std[row]))
        return image


@dataclass(frozen=True, eq=False)
class AbsentChannels:
    """Channels that were not acquired; absent (N, C) says which."""

    absent: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """They are `ABSENT` throughout, as prediction has a channel that is missing."""
        return change_channels(
            image, self.absent, lambda channel, _sample, _place: torch.full_like(channel, ABSENT)
        )


@dataclass(frozen=True, eq=False)
class Blur:
    """Gaussian blur; sigma (N, C, D) in voxels, 0 for an axis that stays sharp."""

    sigma: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """Weights are cut at 4 sigma and made to sum to 1 at the border, so a constant image stays as it is."""

        def blurred(array: Tensor, sample: int, channel: int) -> Tensor:
            for axis, sigma in enumerate(self.sigma[sample, channel].tolist()):
                if sigma > 0:
                    array = along_axis(array, gaussian_matrix(array.shape[axis], sigma), axis)
            return array

        return change_channels(image, (self.sigma > 0).any(dim=2), blurred)


class Brightness(ChannelChange):
    """Multiplication of every intensity by the amount."""

    def change(self, channel: Tensor, amount: float) -> Tensor:
        return channel * amount


class Contrast(ChannelChange):
    """Stretching about the mean by the amount, within the range that the channel had."""

    def change(self, channel: Tensor, amount: float) -> Tensor:
        low, high = channel.aminmax()
        mean = channel.mean()
        return ((channel - mean) * amount + mean).clamp(low, high)


@dataclass(frozen=True, eq=False)
class LowResolution:
    """A scan taken on a coarser grid: voxels are dropped, then interpolated back.

    Attributes:
        share: (N, C) of the voxels that are kept along each of a sample's `axes`; 1 keeps all.
        axes: (N, D) bool, the spatial axes that lose resolution (not those that are coarse already).
    """

    share: Tensor
    axes: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """Nearest voxel down and linear up; the field of view is kept."""

        def coarse(array: Tensor, sample: int, channel: int) -> Tensor:
            for axis in self.axes[sample].nonzero().flatten().tolist():
                size = array.shape[axis]
                kept = max(1, round(size * float(self.share[sample, channel])))
                if kept < size:
                    array = along_axis(array, coarse_matrix(size, kept), axis)
            return array

        return change_channels(image, self.share < 1, coarse)


@dataclass(frozen=True, eq=False)
class Gamma(ChannelChange):
    """A power law on the channel's range: ((x - min) / (max - min)) ** amount, with the old mean and deviation.

    Below 1 the dark parts gain contrast, above 1 the bright ones. Where `inverted`, the law acts on the negative, and
    the result is turned back.
    """

    inverted: bool = False

    def change(self, channel: Tensor, amount: float) -> Tensor:
        low, high = channel.aminmax()
        distance = (high - channel) if self.inverted else (channel - low)
        y = distance.div_((high - low).clamp_min(1e-7)).pow_(amount)
        y -= y.mean()
        mean = channel.mean()
        # Norms, because torch's std takes three times as long on a CPU; the counts cancel.
        ratio = torch.linalg.vector_norm(channel - mean) / torch.linalg.vector_norm(y).clamp_min(1e-7)
        return y.mul_(-ratio if self.inverted else ratio).add_(mean)


class Shift(ChannelChange):
    """Addition of the amount, a share of the channel's standard deviation, to every intensity."""

    nothing = 0.0

    def change(self, channel: Tensor, amount: float) -> Tensor:
        return channel + amount * channel.std(correction=0)


@dataclass(frozen=True, eq=False)
class Dropout:
    """Blanked boxes (coarse dropout, cutout): the network has to conclude from what surrounds them.

    Attributes:
        start, stop: (N, K, D) int64, voxels [start, stop) of each of K boxes along each axis; a box that is not
            there has stop = start.
        fill: mean (of the channel before any box is cut) or zero.
    """

    start: Tensor
    stop: Tensor
    fill: str = "mean"

    def apply(self, image: Tensor) -> Tensor:
        """All channels of a sample lose the same boxes (DeVries and Taylor 2017, arXiv:1708.04552)."""
        there = (self.stop > self.start).all(dim=2)
        image, places = copy_where(image, there.any(dim=1))
        for (row,) in places:
            sample = image[row]
            levels = sample.flatten(1).mean(dim=1) * (self.fill == "mean")
            for box in there[row].nonzero().flatten().tolist():
                limits = zip(self.start[row, box].tolist(), self.stop[row, box].tolist(), strict=True)
                where = (slice(None), *(slice(low, high) for low, high in limits))
                sample[where] = levels.reshape(-1, *[1] * (sample.ndim - 1))
        return image
