"""The augmentation of training patches: how likely, how strong, in which order.

`Policy.draw` makes all random parameters on the CPU, `Policy.apply` is arithmetic on any device. A policy knows
from the plan which axes lie within a slice, which runs from left to right and which intensities mean "outside".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor

from vesal.augment.chance import happens, log_uniform, record_from_dict, record_to_dict, uniform
from vesal.augment.intensity import Blur, Brightness, Contrast, Gamma, Intensity, LowResolution, Noise
from vesal.augment.spatial import Mirror, Warp, lateral_axis, mirror_axes, warped_axes
from vesal.data.plan import Plan

#: Intensity transforms by name, in the order in which they act (nnU-Net's).
INTENSITY: dict[str, type] = {
    "noise": Noise,
    "blur": Blur,
    "brightness": Brightness,
    "contrast": Contrast,
    "low_resolution": LowResolution,
    "gamma_of_inverse": Gamma,
    "gamma": Gamma,
}


def _ordered(limits: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= limits[0] <= limits[1]:
        raise ValueError(f"a range goes from low to high and not below 0, {limits} does not")
    return limits


def _positive(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] <= 0:
        raise ValueError(f"this range has to stay above 0, {limits} does not")
    return limits


Chance = Annotated[float, Field(ge=0.0, le=1.0)]
Limits = Annotated[tuple[float, float], AfterValidator(_ordered)]
Factors = Annotated[Limits, AfterValidator(_positive)]
Shares = Annotated[
    tuple[Annotated[float, Field(le=1.0)], Annotated[float, Field(le=1.0)]], AfterValidator(_ordered)
]


class AugmentConfig(BaseModel):
    """How training patches are varied; the defaults are nnU-Net's. Chances are per sample (patch).

    >>> AugmentConfig(rotation_degrees=15).rotation_chance
    0.2
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    enabled: bool = True
    """Whether patches are varied at all."""
    strength: Annotated[float, Field(ge=0.0)] = 1.0
    """Multiplies every chance but that of mirroring (no chance exceeds 1); 0 leaves only mirroring."""

    rotation_chance: Chance = 0.2
    """Chance of a rotation; about all axes, or within the slice where slices are thick."""
    rotation_degrees: Annotated[float, Field(ge=0.0, le=180.0)] = 30.0
    """Largest rotation about each axis, in degrees, either way."""
    scale_chance: Chance = 0.2
    """Chance of scaling, alike along all axes (within the slice where slices are thick)."""
    scale_range: Factors = (0.7, 1.4)
    """Range of the magnification; above 1 enlarges. Uniform in its logarithm."""
    elastic_chance: Chance = 0.0
    """Chance of a smooth random deformation."""
    elastic_range: Limits = (0.05, 0.25)
    """Largest displacement as a share of the distance between control points; it cannot fold below 0.4."""
    elastic_intervals: Annotated[int, Field(ge=1, le=16)] = 4
    """Intervals between control points along the patch's longest side; more makes finer waves."""
    mirror_chance: Chance = 0.5
    """Chance of a mirror image along each of the plan's mirror axes; left and right labels change places."""

    noise_chance: Chance = 0.1
    """Chance of Gaussian noise."""
    noise_range: Limits = (0.0, 0.1)
    """Range of the noise's standard deviation, as a share of the channel's own in the patch."""
    blur_chance: Chance = 0.2
    """Chance of a Gaussian blur."""
    blur_range: Limits = (0.5, 1.0)
    """Range of the blur's sigma along each axis, in voxels."""
    brightness_chance: Chance = 0.15
    """Chance that a channel's intensities are multiplied by a factor."""
    brightness_range: Factors = (0.75, 1.25)
    """Range of that factor."""
    contrast_chance: Chance = 0.15
    """Chance that a channel's intensities are stretched about their mean, within their range."""
    contrast_range: Factors = (0.75, 1.25)
    """Range of the stretching's factor."""
    low_resolution_chance: Chance = 0.25
    """Chance that a scan on a coarser grid is imitated (not along the axis of thick slices)."""
    low_resolution_range: Shares = (0.5, 1.0)
    """Range of the share of voxels that is kept along each axis."""
    gamma_chance: Chance = 0.3
    """Chance of a power law on the intensities, mean and spread kept."""
    gamma_of_inverse_chance: Chance = 0.1
    """Chance of the same on the negative image."""
    gamma_range: Factors = (0.7, 1.5)
    """Range of the exponent, for both. Uniform in its logarithm."""
    channel_chance: Chance = 0.5
    """In scans of several channels, chance that a channel takes part in its sample's blur or low resolution."""

    @classmethod
    def none(cls) -> AugmentConfig:
        """Patches as they are."""
        return cls(enabled=False)


@dataclass(frozen=True, eq=False)
class Parameters:
    """All that was drawn for one batch; small, and enough to do it again.

    Attributes:
        warp: rotation, scaling, deformation; None for none.
        intensity: records by name, in the order in which they act; the names are those of `INTENSITY`.
        mirror: flips; None for none.
        outside_zero: channels in which exactly 0 means outside the body: it stays 0 whatever happens inside.
    """

    warp: Warp | None = None
    intensity: Mapping[str, Intensity] = field(default_factory=dict)
    mirror: Mirror | None = None
    outside_zero: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for JSON."""
        return {
            "warp": record_to_dict(self.warp) if self.warp else None,
            "intensity": {name: record_to_dict(record) for name, record in self.intensity.items()},
            "mirror": record_to_dict(self.mirror) if self.mirror else None,
            "outside_zero": list(self.outside_zero),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Parameters:
        """What `to_dict` wrote; applied to the same batch it gives the same result."""
        return cls(
            warp=record_from_dict(Warp, data["warp"]) if data["warp"] else None,
            intensity={name: record_from_dict(INTENSITY[name], of) for name, of in data["intensity"].items()},
            mirror=record_from_dict(Mirror, data["mirror"]) if data["mirror"] else None,
            outside_zero=tuple(data["outside_zero"]),
        )

    def apply(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Image (N, C, *S) float32 and label (N, *S) uint8 -> the same shapes; the inputs are not written to."""
        if self.warp:
            image, label = self.warp.apply(image, label)
        before = image
        for record in self.intensity.values():
            image = record.apply(image)
        if image is not before:
            for channel in self.outside_zero:
                image[:, channel].masked_fill_(before[:, channel] == 0, 0.0)
        if self.mirror:
            image, label = self.mirror.apply(image, label)
        return image, label


@dataclass(frozen=True)
class Policy:
    """A configuration, fitted to a plan; see `default_policy`.

    Attributes:
        config: chances and ranges.
        channels: of the image.
        spacing_mm: along the network's axes.
        warped: network axes that rotation, scaling and deformation act on.
        mirrored: network axes that are flipped.
        lateral: the network axis from the patient's left to right, or None.
        swaps: contiguous labels that a flip of that axis exchanges.
        outside_zero: channels whose zeros mean outside the body.
    """

    config: AugmentConfig
    channels: int
    spacing_mm: tuple[float, ...]
    warped: tuple[int, ...]
    mirrored: tuple[int, ...]
    lateral: int | None
    swaps: tuple[tuple[int, int], ...]
    outside_zero: tuple[int, ...]

    def draw(self, n: int, shape: tuple[int, ...], generator: torch.Generator) -> Parameters:
        """Parameters of a batch of `n` patches of `shape` (*spatial), from a generator of the CPU alone.

        Raises:
            ValueError: `shape` has another number of axes than the plan, or the generator is not the CPU's.
        """
        if len(shape) != len(self.spacing_mm):
            raise ValueError(
                f"patches of shape {tuple(shape)} do not have the plan's {len(self.spacing_mm)} axes"
            )
        if generator.device.type != "cpu":
            raise ValueError(
                "draw with a generator of the CPU, so that every device gets the same parameters"
            )
        if not self.config.enabled:
            return Parameters()
        return Parameters(
            self._draw_warp(n, shape, generator),
            self._draw_intensity(n, generator),
            self._draw_mirror(n, generator),
            self.outside_zero,
        )

    def apply(self, image: Tensor, label: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
        """Image (N, C, *S) float32 and label (N, *S) uint8 with 255 to ignore -> the same shapes, types, device.

        No random number is drawn and no gradient kept; mixed precision is switched off inside.
        """
        with torch.no_grad(), torch.autocast(image.device.type, enabled=False):
            return parameters.apply(image, label)

    def _chance(self, chance: float) -> float:
        return min(1.0, chance * self.config.strength)

    def _draw_warp(self, n: int, shape: tuple[int, ...], generator: torch.Generator) -> Warp:
        config = self.config
        turns = 1 if len(self.warped) == 2 else 3
        angles = uniform((n, turns), (-config.rotation_degrees, config.rotation_degrees), generator)
        turned = happens((n, 1), self._chance(config.rotation_chance), generator)
        scale = log_uniform((n,), config.scale_range, generator)
        scaled = happens((n,), self._chance(config.scale_chance), generator)
        spacing_mm = tuple(self.spacing_mm[axis] for axis in self.warped)
        extent_mm = tuple(self.spacing_mm[axis] * shape[axis] for axis in self.warped)
        return Warp(
            self.warped,
            spacing_mm,
            torch.where(turned, angles, torch.zeros(())),
            torch.where(scaled, scale, torch.ones(())),
            self._draw_displacement(n, extent_mm, generator),
        )

    def _draw_displacement(
        self, n: int, extent_mm: tuple[float, ...], generator: torch.Generator
    ) -> Tensor | None:
        # How many numbers this takes depends on the configuration, so it has a generator to itself.
        own = torch.Generator().manual_seed(int(torch.randint(0, 2**31, (), generator=generator)))
        if self.config.elastic_chance == 0:
            return None
        distance = max(extent_mm) / self.config.elastic_intervals
        intervals = [max(1, round(extent / distance)) for extent in extent_mm]
        share = uniform((n,), self.config.elastic_range, own)
        share = share * happens((n,), self._chance(self.config.elastic_chance), own)
        displacement = uniform((n, len(extent_mm), *(count + 3 for count in intervals)), (-1.0, 1.0), own)
        ones = (1,) * len(extent_mm)
        distance_mm = torch.tensor(
            [extent / count for extent, count in zip(extent_mm, intervals, strict=True)]
        )
        return displacement * share.view(n, 1, *ones) * distance_mm.float().view(1, -1, *ones)

    def _draw_mirror(self, n: int, generator: torch.Generator) -> Mirror:
        allowed = torch.tensor([axis in self.mirrored for axis in range(len(self.spacing_mm))])
        flips = happens((n, len(self.spacing_mm)), self.config.mirror_chance, generator) & allowed
        return Mirror(flips, self.lateral, self.swaps)

    def _draw_intensity(self, n: int, generator: torch.Generator) -> dict[str, Intensity]:
        config = self.config

        def factors(drawn: Tensor, chance: float) -> Tensor:
            chosen = happens((n, 1), self._chance(chance), generator)
            return torch.where(chosen, drawn, torch.ones(()))

        def chosen_channels(chance: float) -> Tensor:
            within = 1.0 if self.channels == 1 else config.channel_chance
            chosen = happens((n, 1), self._chance(chance), generator)
            return chosen & happens((n, self.channels), within, generator)

        each = (n, self.channels)
        noise = uniform((n,), config.noise_range, generator)
        noise = noise * happens((n,), self._chance(config.noise_chance), generator)
        sigma = uniform((*each, len(self.spacing_mm)), config.blur_range, generator)
        sigma = sigma * chosen_channels(config.blur_chance)[..., None]
        share = uniform(each, config.low_resolution_range, generator)
        share = torch.where(chosen_channels(config.low_resolution_chance), share, torch.ones(()))
        brightness = factors(uniform(each, config.brightness_range, generator), config.brightness_chance)
        contrast = factors(uniform(each, config.contrast_range, generator), config.contrast_chance)
        inverse = factors(log_uniform(each, config.gamma_range, generator), config.gamma_of_inverse_chance)
        gamma = factors(log_uniform(each, config.gamma_range, generator), config.gamma_chance)
        return {
            "noise": Noise(noise, torch.randint(0, 2**31, (n,), generator=generator)),
            "blur": Blur(sigma),
            "brightness": Brightness(brightness),
            "contrast": Contrast(contrast),
            "low_resolution": LowResolution(share, self.warped),
            "gamma_of_inverse": Gamma(inverse, inverted=True),
            "gamma": Gamma(gamma),
        }


def default_policy(plan: Plan, config: AugmentConfig | None = None) -> Policy:
    """The policy of a plan: nnU-Net's numbers unless `config` says otherwise."""
    return Policy(
        config=config or AugmentConfig(),
        channels=len(plan.channels),
        spacing_mm=plan.spacing_mm,
        warped=warped_axes(plan),
        mirrored=mirror_axes(plan),
        lateral=lateral_axis(plan),
        swaps=plan.labels.swaps,
        outside_zero=tuple(i for i, of in enumerate(plan.normalisation) if of.scheme == "zscore_nonzero"),
    )
