"""Artefacts of acquisitions, as training and the robustness test corrupt them: one record an artefact.

Shapes: N samples, C channels, S voxels along each of D axes (2 or 3). Image (N, C, *S) float32. A record is plain
arithmetic: the same record and image give the same result, and nothing drawn means the same image to the bit.

A scanner knows no negative signal, a normalised picture does: every artefact acts on the signal x - min(x) of the
channel and gives the minimum back, so that it means the same after z-scoring as before. Each channel is an
acquisition of its own. What happens in k-space is in kspace.py beside this file, what a scan covers in
field_of_view.py, what only computed tomography knows in ct.py; how artefacts are drawn is in draw.py, how hard a
severity strikes in severity.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vesal.augment.artifacts.ct import HuShift, Streaks
from vesal.augment.artifacts.field_of_view import Cropped, Flipped, WrapAround
from vesal.augment.artifacts.kspace import Ghosting, Motion, Spikes
from vesal.augment.intensity import Blur, Intensity, LowResolution
from vesal.augment.random_parameters import to_device
from vesal.augment.separable import along_axis

#: Voxels from which percentiles are taken at most: a sort of all voxels of a volume takes longer than the artefact.
_COUNTED = 16384


def spread(channel: Tensor) -> Tensor:
    """(): the range of a channel's intensities that an outlier does not change, 99th less 1st percentile.

    Taken from at most 16,384 evenly spaced voxels. Where nearly all voxels are alike it is the whole range.

    >>> spread(torch.arange(101.0))
    tensor(98.)
    """
    low, high = usual_range(channel)
    return high - low


def usual_range(channel: Tensor) -> tuple[Tensor, Tensor]:
    """The two percentiles of `spread`, or minimum and maximum where nearly all voxels are alike."""
    values = channel.flatten()
    # An odd step, so that it visits all columns of an array whose sides are powers of two.
    values = values[:: -(-values.numel() // _COUNTED) | 1]
    shares = to_device(torch.tensor([0.01, 0.99]), values.device)
    low, high = torch.quantile(values.float(), shares)
    least, most = channel.aminmax()
    # A choice on the device: to look at the numbers would be to wait for them.
    return torch.where(high > low, low, least), torch.where(high > low, high, most)


def _each(image: Tensor, chosen: Tensor, change: Callable[[Tensor, int, int], Tensor]) -> Tensor:
    """`image` with low + change(x - low, n, c) where `chosen` (N, C) says so; low is the channel's minimum."""
    if not chosen.any():
        return image
    image = image.clone()
    for sample, channel in chosen.nonzero().tolist():
        low = image[sample, channel].min()
        image[sample, channel] = change(image[sample, channel] - low, sample, channel) + low
    return image


@dataclass(frozen=True, eq=False)
class ScannerNoise:
    """Noise of the receiver: Rician in a magnitude image (Gudbjartsson and Patz, Magn Reson Med 1995), or Gaussian.

    Attributes:
        std: (N, C) of the noise in each of the two parts of the complex signal, as a share of the channel's
            range of intensities (`spread`); 0 for none.
        seed: (N,) int64, from which the noise is made on the image's device.
        rician: the magnitude of signal and complex noise; else real noise is added.
    """

    std: Tensor
    seed: Tensor
    rician: bool = True

    def apply(self, image: Tensor) -> Tensor:
        """The same seed gives the same noise on one kind of device; a GPU's generator differs from the CPU's."""

        def noisy(signal: Tensor, sample: int, channel: int) -> Tensor:
            # A channel has its own stream, so that what it gets does not depend on which others take part.
            generator = torch.Generator(signal.device).manual_seed(int(self.seed[sample]) + 2**31 * channel)
            std = float(self.std[sample, channel]) * spread(signal)
            parts = (2 if self.rician else 1, *signal.shape)
            noise = torch.randn(parts, generator=generator, device=signal.device, dtype=signal.dtype) * std
            return torch.hypot(signal + noise[0], noise[1]) if self.rician else signal + noise[0]

        return _each(image, self.std > 0, noisy)


@dataclass(frozen=True, eq=False)
class BiasField:
    """Uneven sensitivity of the coil: a smooth factor, exp of a polynomial (Van Leemput et al., TMI 1999).

    Attributes:
        strength: (N, C), the largest absolute logarithm of the factor; 0 for none.
        coefficients: (N, C, *orders) of the products of powers of the axes' coordinates, which run from -1 to 1;
            orders is the polynomial's order + 1 along each axis. Only their ratios count.
    """

    strength: Tensor
    coefficients: Tensor

    def factor(self, shape: tuple[int, ...], sample: int, channel: int) -> Tensor:
        """(*S) on the CPU: positive, its logarithm centred between -strength and strength."""
        field = self.coefficients[sample, channel].double()
        for axis, size in enumerate(shape):
            places = torch.linspace(-1, 1, size, dtype=torch.float64)
            powers = places[:, None] ** torch.arange(field.shape[axis])
            field = along_axis(field, powers, axis)
        low, high = field.aminmax()
        field = (field - (low + high) / 2) * (2 / (high - low).clamp_min(1e-12))
        return (field * self.strength[sample, channel].double()).exp().float()

    def apply(self, image: Tensor) -> Tensor:
        """Signal times factor."""

        def uneven(signal: Tensor, sample: int, channel: int) -> Tensor:
            return signal * to_device(self.factor(tuple(signal.shape), sample, channel), signal.device)

        return _each(image, self.strength > 0, uneven)


@dataclass(frozen=True, eq=False)
class LogGamma:
    """A power law on the channel's range, which it keeps; exponent exp(log_exponent), (N, C), 0 for none."""

    log_exponent: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """((x - min) / (max - min)) ** exp(log_exponent), stretched to the old minimum and maximum."""

        def bent(signal: Tensor, sample: int, channel: int) -> Tensor:
            high = signal.max()
            exponent = float(self.log_exponent[sample, channel].double().exp())
            return (signal / high.clamp_min(1e-12)).pow(exponent) * high

        return _each(image, self.log_exponent != 0, bent)


@dataclass(frozen=True, eq=False)
class SignalScale:
    """A signal that is stronger or weaker all over; factor (N, C), 1 for none."""

    factor: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """Signal times factor."""
        return _each(image, self.factor != 1, lambda signal, n, c: signal * float(self.factor[n, c]))


@dataclass(frozen=True, eq=False)
class Saturation:
    """A contrast that is too hard: stretched about the middle of the range (`usual_range`), cut off at its ends.

    Attributes:
        factor: (N, C) of the stretching, above 1; 1 for none.
    """

    factor: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """(x - middle) * factor + middle, clipped to the range."""

        def stretched(signal: Tensor, sample: int, channel: int) -> Tensor:
            low, high = usual_range(signal)
            middle = (low + high) / 2
            wide = (signal - middle) * float(self.factor[sample, channel]) + middle
            return torch.minimum(torch.maximum(wide, low), high)

        return _each(image, self.factor != 1, stretched)


@dataclass(frozen=True, eq=False)
class SliceDropout:
    """Slices whose signal is weaker or stronger than their neighbours', as when a pulse fails or crosses another.

    Attributes:
        axis: the spatial axis that runs through the slices.
        slices: (N, K) int64, which slices; each at most once.
        factor: (N, C, K) on the slice's signal; 1 for none, 0 blanks it.
    """

    axis: int
    slices: Tensor
    factor: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """Signal times factor in the named slices; all others stay as they are, bit for bit."""
        chosen = (self.factor != 1).any(dim=2)
        if not chosen.any():
            return image
        image = image.clone()
        for sample, channel in chosen.nonzero().tolist():
            scan = image[sample, channel]
            low = scan.min()
            for place, factor in zip(
                self.slices[sample].tolist(), self.factor[sample, channel].tolist(), strict=True
            ):
                if factor != 1:
                    one = scan.select(self.axis, place)
                    one.copy_((one - low) * factor + low)
        return image


#: Artefacts by name, in the order in which a scan suffers them: patient and coil, then lines, receiver, pictures.
ARTIFACTS: dict[str, type[Intensity]] = {
    "flip": Flipped,
    "bias": BiasField,
    "blur": Blur,
    "low_resolution": LowResolution,
    "anisotropy": LowResolution,
    "motion": Motion,
    "ghosting": Ghosting,
    "wrap": WrapAround,
    "spike": Spikes,
    "noise": ScannerNoise,
    "slice": SliceDropout,
    "streaks": Streaks,
    "hu_shift": HuShift,
    "scale": SignalScale,
    "contrast": Saturation,
    "gamma": LogGamma,
    "crop": Cropped,
}
