"""Changes of brightness, contrast, sharpness and noise: the label stays as it is.

Shapes: N samples, C channels, S voxels along each of D axes. Image (N, C, *S) float32. A value that stands for
"nothing" in a record (factor 1, sigma 0) leaves that sample's channel untouched, bit for bit.
The transforms, their order and most numbers follow nnU-Net 2 (Isensee et al., Nature Methods 2021, and its source).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vesal.augment.separable import along_axis, coarse_matrix, gaussian_matrix


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


@dataclass(frozen=True, eq=False)
class Brightness:
    """Multiplication of every intensity; factor (N, C)."""

    factor: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """x * factor."""
        return change_channels(image, self.factor != 1, lambda x, n, c: x * float(self.factor[n, c]))


@dataclass(frozen=True, eq=False)
class Contrast:
    """Stretching about the mean, within the range that the channel had; factor (N, C)."""

    factor: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """(x - mean) * factor + mean, clipped to the old minimum and maximum."""

        def stretched(x: Tensor, sample: int, channel: int) -> Tensor:
            low, high = x.aminmax()
            mean = x.mean()
            return ((x - mean) * float(self.factor[sample, channel]) + mean).clamp(low, high)

        return change_channels(image, self.factor != 1, stretched)


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
class Gamma:
    """A power law on the channel's range, its mean and standard deviation kept.

    Attributes:
        exponent: (N, C); below 1 the dark parts gain contrast, above 1 the bright ones.
        inverted: whether the law acts on the negative, and the result is turned back.
    """

    exponent: Tensor
    inverted: bool = False

    def apply(self, image: Tensor) -> Tensor:
        """((x - min) / (max - min)) ** exponent, scaled to the old mean and standard deviation."""

        def bent(x: Tensor, sample: int, channel: int) -> Tensor:
            low, high = x.aminmax()
            distance = (high - x) if self.inverted else (x - low)
            y = distance.div_((high - low).clamp_min(1e-7)).pow_(float(self.exponent[sample, channel]))
            y -= y.mean()
            mean = x.mean()
            # Norms, because torch's std takes three times as long on a CPU; the counts cancel.
            ratio = torch.linalg.vector_norm(x - mean) / torch.linalg.vector_norm(y).clamp_min(1e-7)
            return y.mul_(-ratio if self.inverted else ratio).add_(mean)

        return change_channels(image, self.exponent != 1, bent)


@dataclass(frozen=True, eq=False)
class Shift:
    """Addition of a number to every intensity; offset (N, C) as a share of the channel's standard deviation."""

    offset: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """x + offset * std(x)."""
        return change_channels(
            image, self.offset != 0, lambda x, n, c: x + float(self.offset[n, c]) * x.std(correction=0)
        )


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
