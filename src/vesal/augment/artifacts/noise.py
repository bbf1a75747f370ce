"""Noise of the receiver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from vesal.augment.artifacts.artifact_settings import ArtifactSettings, Patches
from vesal.augment.artifacts.signal import change_signal, usual_range
from vesal.augment.ranges import Limits


@dataclass(frozen=True, eq=False)
class ScannerNoise:
    """Noise of the receiver: Rician in a magnitude image (Gudbjartsson and Patz, Magn Reson Med 1995), or Gaussian.

    Attributes:
        std: (N, C) of the noise in each of the two parts of the complex signal, as a share of the channel's
            range of intensities (`usual_range`); 0 for none.
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
            low, high = usual_range(signal)
            std = float(self.std[sample, channel]) * (high - low)
            parts = (2 if self.rician else 1, *signal.shape)
            noise = torch.randn(parts, generator=generator, device=signal.device, dtype=signal.dtype) * std
            return torch.hypot(signal + noise[0], noise[1]) if self.rician else signal + noise[0]

        return change_signal(image, self.std > 0, noisy)


class NoiseSettings(ArtifactSettings):
    """Noise of the receiver."""

    acts = 41
    severities: ClassVar = {"std": (0.02, 0.04, 0.07, 0.11, 0.16)}
    together = True

    std: Limits = (0.01, 0.03)
    """Range of its standard deviation, as a share of the channel's range of intensities (1st to 99th percentile)."""
    kind: Literal["rician", "gaussian"] = "rician"
    """Rician, as in magnitude images, or gaussian; always gaussian in CT."""

    def draw(self, patches: Patches, generator: torch.Generator) -> ScannerNoise:
        std = patches.amount(self.std, generator)
        seed = torch.randint(0, 2**31, (patches.n,), generator=generator)
        return ScannerNoise(std, seed, self.kind == "rician" and patches.frame.hu is None)
