"""Uneven sensitivity of the receiving coil."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vesal.augment.artifacts.artifact_settings import ArtifactSettings, Patches
from vesal.augment.artifacts.signal import change_signal
from vesal.augment.random_parameters import to_device, uniform
from vesal.augment.ranges import Limits
from vesal.augment.separable import along_axis

#: Order of the polynomial that a bias field is the exponential of: a gradient, a bowl and one turn more.
BIAS_ORDER = 3


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

        return change_signal(image, self.strength > 0, uneven)


class BiasSettings(ArtifactSettings):
    """Uneven sensitivity of the coil (bias field)."""

    acts = 10
    severities: ClassVar = {"strength": (0.1, 0.25, 0.4, 0.6, 0.9)}
    modalities = ("MR",)
    together = True

    strength: Limits = (0.1, 0.5)
    """Range of the largest absolute logarithm of the factor by which intensities are multiplied."""

    def draw(self, patches: Patches, generator: torch.Generator) -> BiasField:
        axes = len(patches.shape)
        strength = patches.amount(self.strength, generator)
        coefficients = uniform((*strength.shape, *(BIAS_ORDER + 1,) * axes), (-1.0, 1.0), generator)
        orders = torch.stack(torch.meshgrid(*[torch.arange(BIAS_ORDER + 1)] * axes, indexing="ij")).sum(dim=0)
        return BiasField(strength, coefficients * (orders <= BIAS_ORDER))
