"""The augmentation of training patches: how likely, how strong, in which order.

`Policy.draw` makes all random parameters on the CPU, `Parameters.apply` is arithmetic on any device. The plan
says which axes lie within a slice, which runs from left to right and which intensities mean "outside".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vesal.augment.artifacts.artifact_settings import Frame, Patches
from vesal.augment.artifacts.draw import apply_artifacts, draw_artifacts
from vesal.augment.config import AugmentConfig
from vesal.augment.intensity import (
    AbsentChannels,
    Blur,
    Brightness,
    Contrast,
    Dropout,
    Gamma,
    Intensity,
    LowResolution,
    Noise,
    Shift,
)
from vesal.augment.random_parameters import happens, log_uniform, uniform, whole
from vesal.augment.spatial import Mirror, QuarterTurn, Warp
from vesal.errors import UsageError
from vesal.planning.axes import lateral_axis, mirror_axes, warped_axes
from vesal.planning.plan import Plan
from vesal.preprocessing.normalise import find_scale

#: Transforms that came after the first seven, in the order of their generators' seeds; add new ones at the end.
_LATER = ("translate", "shear", "grid", "rotate90", "shift", "dropout", "artifacts", "drop_channels")


@dataclass(frozen=True, eq=False)
class Parameters:
    """All that was drawn for one batch: enough to do it again.

    Attributes:
        warp: rotation, scaling, deformation; None for none.
        intensity: records by name, in the order in which they act (nnU-Net's, and two that it does not have).
        mirror: flips; None for none.
        outside_zero: channels in which exactly 0 means outside the body: it stays 0 whatever happens inside.
        turn: quarter turns; None for none.
        artifacts: artefacts of acquisition by name, in the order in which they act, before `intensity`.
        channels: of the scan; those after them, such as a mask, move with it but keep their values. None for all.
        restandardise: after an artefact a channel gets its old mean and standard deviation, as where each scan is
            z-scored after the acquisition; not for a loss of a slice's signal, which no z-score undoes.
        absent: channels that are not there, after all else; None for none.
        ranges: (channel, lowest, highest) of those that preparation clips: artefacts happen before it, and leave
            nothing beyond.
    """

    warp: Warp | None = None
    intensity: Mapping[str, Intensity] = field(default_factory=dict)
    mirror: Mirror | None = None
    outside_zero: tuple[int, ...] = ()
    turn: QuarterTurn | None = None
    artifacts: Mapping[str, Intensity] = field(default_factory=dict)
    channels: int | None = None
    restandardise: bool = False
    absent: AbsentChannels | None = None
    ranges: tuple[tuple[int, float, float], ...] = ()

    @torch.no_grad()
    def apply(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Image (N, C, *S) float32 and label (N, *S) uint8 with 255 to ignore -> the same shapes, types, device.

        The inputs are not written to. No random number is drawn; mixed precision is switched off inside.
        """
        with torch.autocast(image.device.type, enabled=False):
            for move in (self.warp, self.turn):
                if move:
                    image, label = move.apply(image, label)
            scan = image if self.channels is None else image[:, : self.channels]
            changed = apply_artifacts(self.artifacts, scan, self.outside_zero, self.restandardise)
            changed = self._outside_restored(self._clipped(changed, scan), scan)
            for record in self.intensity.values():
                changed = record.apply(changed)
            changed = self._outside_restored(changed, scan)
            changed = self.absent.apply(changed) if self.absent else changed
            if changed is not scan:
                others = image[:, scan.shape[1] :]
                image = torch.cat([changed, others], 1) if others.shape[1] else changed
            return self.mirror.apply(image, label) if self.mirror else (image, label)

    def _clipped(self, image: Tensor, before: Tensor) -> Tensor:
        if image is not before:
            for channel, lowest, highest in self.ranges:
                # Splines reach a little beyond the range: what had no artefact stays as it was.
                was = before[:, channel].flatten(1)
                ends = was.amin(1).clamp(max=lowest), was.amax(1).clamp(min=highest)
                low, high = (end.view(-1, *[1] * (image.ndim - 2)) for end in ends)
                image[:, channel].clamp_(low, high)
        return image

    def _outside_restored(self, image: Tensor, before: Tensor) -> Tensor:
        if image is not before:
            for channel in self.outside_zero:
                image[:, channel].masked_fill_(before[:, channel] == 0, 0.0)
        return image


@dataclass(frozen=True)
class Policy:
    """A configuration, fitted to a plan.

    Attributes:
        plan: an image may have more channels after its own, whose values only spatial transforms move.
        config: probabilities and ranges, by default nnU-Net's.

    Raises:
        UsageError: mirroring is confined to an axis that the plan does not have.
    """

    plan: Plan
    config: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        mirrored_axes(self.plan, self.config)

    @cached_property
    def frame(self) -> Frame:
        """How the patches lie in the scanner; rotation, scaling and deformation act on its plane."""
        first = self.plan.normalisation[0]
        # The HU of one unit of the network's input, where intensities are HU.
        hu = first.std if first.scheme == "ct" else None
        return Frame(len(self.plan.channels), self.plan.spacing_mm, warped_axes(self.plan), hu)

    def draw(self, n: int, shape: tuple[int, ...], generator: torch.Generator) -> Parameters:
        """Parameters of a batch of `n` patches of `shape` (*spatial), from a generator of the CPU alone.

        Raises:
            ValueError: `shape` has another number of axes than the plan, or the generator is not the CPU's.
        """
        if len(shape) != self.plan.dimension:
            raise ValueError(
                f"patches of shape {tuple(shape)} do not have the plan's {self.plan.dimension} axes"
            )
        if generator.device.type != "cpu":
            raise ValueError(
                "draw with a generator of the CPU, so that every device gets the same parameters"
            )
        if not self.config.enabled:
            return Parameters()
        patches = Patches(self.frame, n, shape, channel_probability=self.config.channel_probability)
        warp = self._draw_warp(patches, generator)
        intensity = self._draw_intensity(patches, generator)
        mirrored = mirrored_axes(self.plan, self.config)
        allowed = torch.tensor([axis in mirrored for axis in range(self.plan.dimension)])
        flips = happens((n, self.plan.dimension), self.config.mirror_probability, generator) & allowed
        later = self._later(generator)
        warp = replace(warp, channels=self.frame.channels, **self._draw_later_warp(patches, later))
        intensity |= self._draw_later_intensity(patches, later)
        schemes = [of.scheme for of in self.plan.normalisation]
        artifacts, strength = self.config.artifacts, self.config.strength
        return Parameters(
            warp,
            intensity,
            Mirror(flips, lateral_axis(self.plan), self.plan.labels.swaps),
            tuple(i for i, scheme in enumerate(schemes) if scheme == "zscore_nonzero"),
            turn=self._draw_turn(patches, later["rotate90"]),
            artifacts=draw_artifacts(artifacts, patches, later["artifacts"], strength=strength),
            channels=self.frame.channels,
            restandardise=artifacts.share > 0 and all(of.startswith("zscore") for of in schemes),
            absent=self._draw_absent(n, later["drop_channels"]),
            ranges=_ranges(self.plan),
        )

    def _probability(self, name: str) -> float:
        """Of one transform, times the strength."""
        return min(1.0, float(getattr(self.config, f"{name}_probability")) * self.config.strength)

    def _draw_warp(self, patches: Patches, generator: torch.Generator) -> Warp:
        config, n = self.config, patches.n
        turns = 1 if len(self.frame.plane) == 2 else 3
        angles = uniform((n, turns), (-config.rotation_degrees, config.rotation_degrees), generator)
        turned = happens((n, 1), self._probability("rotation"), generator)
        scale = log_uniform((n,), config.scale_range, generator)
        scaled = happens((n,), self._probability("scale"), generator)
        return Warp(
            self.frame.plane,
            tuple(self.frame.spacing_mm[axis] for axis in self.frame.plane),
            torch.where(turned, angles, torch.zeros(())),
            torch.where(scaled, scale, torch.ones(())),
            self._draw_displacement(patches, generator),
        )

    def _draw_displacement(self, patches: Patches, generator: torch.Generator) -> Tensor | None:
        # How many numbers this takes depends on the configuration, so it has a generator to itself.
        own = torch.Generator().manual_seed(int(torch.randint(0, 2**31, (), generator=generator)))
        if self.config.elastic_probability == 0:
            return None
        n, extent_mm = patches.n, patches.extent_mm
        distance = max(extent_mm) / self.config.elastic_intervals
        intervals = [max(1, round(extent / distance)) for extent in extent_mm]
        share = uniform((n,), self.config.elastic_range, own)
        share = share * happens((n,), self._probability("elastic"), own)
        displacement = uniform((n, len(extent_mm), *(count + 3 for count in intervals)), (-1.0, 1.0), own)
        ones = (1,) * len(extent_mm)
        distance_mm = torch.tensor(
            [extent / count for extent, count in zip(extent_mm, intervals, strict=True)]
        )
        return displacement * share.view(n, 1, *ones) * distance_mm.float().view(1, -1, *ones)

    def _draw_intensity(self, patches: Patches, generator: torch.Generator) -> dict[str, Intensity]:
        config, n = self.config, patches.n

        def factors(drawn: Tensor, name: str) -> Tensor:
            chosen = happens((n, 1), self._probability(name), generator)
            return torch.where(chosen, drawn, torch.ones(()))

        def chosen_channels(name: str) -> Tensor:
            return replace(patches, probability=self._probability(name)).chosen(generator)

        each = (n, self.frame.channels)
        noise = uniform((n,), config.noise_range, generator)
        noise = noise * happens((n,), self._probability("noise"), generator)
        sigma = uniform((*each, len(patches.shape)), config.blur_range, generator)
        sigma = sigma * chosen_channels("blur")[..., None]
        share = uniform(each, config.low_resolution_range, generator)
        share = torch.where(chosen_channels("low_resolution"), share, torch.ones(()))
        brightness = factors(uniform(each, config.brightness_range, generator), "brightness")
        contrast = factors(uniform(each, config.contrast_range, generator), "contrast")
        inverse = factors(log_uniform(each, config.gamma_range, generator), "gamma_of_inverse")
        gamma = factors(log_uniform(each, config.gamma_range, generator), "gamma")
        return {
            "noise": Noise(noise, torch.randint(0, 2**31, (n,), generator=generator)),
            "blur": Blur(sigma),
            "brightness": Brightness(brightness),
            "contrast": Contrast(contrast),
            "low_resolution": LowResolution(share, patches.within.expand(n, -1)),
            "gamma_of_inverse": Gamma(inverse, inverted=True),
            "gamma": Gamma(gamma),
        }

    def _later(self, generator: torch.Generator) -> dict[str, torch.Generator]:
        """A generator for each of the later transforms; the given one stays where it is.

        So a run whose configuration does not name them draws what it drew before there were such transforms.
        """
        copy = torch.Generator()
        copy.set_state(generator.get_state())
        seeds = torch.randint(0, 2**31, (len(_LATER),), generator=copy).tolist()
        return {name: torch.Generator().manual_seed(seed) for name, seed in zip(_LATER, seeds, strict=True)}

    def _draw_later_warp(self, patches: Patches, later: Mapping[str, torch.Generator]) -> dict[str, Any]:
        config, n, width = self.config, patches.n, len(self.frame.plane)
        drawn = {}
        if probability := self._probability("translate"):
            own = later["translate"]
            share = uniform((n, width), config.translate_range, own)
            share = torch.where(happens((n, width), 0.5, own), share, -share)
            drawn["shift_mm"] = share * torch.tensor(patches.extent_mm) * happens((n, 1), probability, own)
        if probability := self._probability("shear"):
            own, most = later["shear"], config.shear_degrees
            # Triangular, so that no shear folds the image or changes its area.
            upper = torch.deg2rad(uniform((n, width, width), (-most, most), own)).tan().triu(1)
            shear = torch.where(happens((n, 1, 1), 0.5, own), upper, upper.transpose(1, 2))
            drawn["shear"] = shear * happens((n, 1, 1), probability, own)
        if probability := self._probability("grid"):
            own = later["grid"]
            change = uniform((n, 1, 1), config.grid_range, own) * happens((n, 1, 1), probability, own)
            drawn["widths"] = 1 + change * uniform((n, width, config.grid_intervals), (-1.0, 1.0), own)
        return drawn

    def _draw_absent(self, n: int, generator: torch.Generator) -> AbsentChannels | None:
        """Each channel by itself, and never all of a sample: one that is drawn stays then."""
        count = self.frame.channels
        if self.config.drop_channels == 0 or count < 2:
            return None
        absent = happens((n, count), self.config.drop_channels, generator)
        kept = whole((n,), (0, count - 1), generator)
        absent[torch.arange(n), kept] &= ~absent.all(dim=1)
        return AbsentChannels(absent)

    def _draw_turn(self, patches: Patches, generator: torch.Generator) -> QuarterTurn | None:
        if not (probability := self._probability("rotate90")):
            return None
        n, shape, (first, second) = patches.n, patches.shape, self.frame.plane[:2]
        if self._sides_would_mix(first, second):
            return None
        turns = whole((n,), (1, 3), generator) * happens((n,), probability, generator)
        ratio = self.frame.spacing_mm[first] / self.frame.spacing_mm[second]
        if shape[first] != shape[second] or abs(ratio - 1) > 1e-3:
            turns = torch.where(turns > 0, torch.full((), 2), turns)
        return QuarterTurn(turns, (first, second))

    def _sides_would_mix(self, *plane: int) -> bool:
        """Whether a turn in the plane and a mirror would together make a left/right mirror that swaps no labels.

        Half a turn and a mirror along the other axis of the plane are one.
        """
        labels, mirrored = self.plan.labels, mirrored_axes(self.plan, self.config)
        sided = bool(labels.swaps) or labels.one_sided
        return sided and lateral_axis(self.plan) in plane and not set(plane).isdisjoint(mirrored)

    def _draw_later_intensity(
        self, patches: Patches, later: Mapping[str, torch.Generator]
    ) -> dict[str, Intensity]:
        config, n, shape = self.config, patches.n, patches.shape
        drawn: dict[str, Intensity] = {}
        if probability := self._probability("shift"):
            own = later["shift"]
            offset = uniform((n, self.frame.channels), config.shift_range, own)
            drawn["shift"] = Shift(offset * happens((n, 1), probability, own))
        if probability := self._probability("dropout"):
            own, most = later["dropout"], config.dropout_holes[1]
            sides = torch.tensor(shape)
            share = uniform((n, most, len(shape)), config.dropout_size, own)
            size = (share * sides).round().long().clamp_min(1)
            place = uniform((n, most, len(shape)), (0.0, 1.0), own)
            start = (place * (sides - size + 1)).long().clamp_min(0)
            there = torch.arange(most)[None] < whole((n, 1), config.dropout_holes, own)
            there &= happens((n, 1), probability, own)
            drawn["dropout"] = Dropout(start, start + size * there[..., None], config.dropout_fill)
        return drawn


def _ranges(plan: Plan) -> tuple[tuple[int, float, float], ...]:
    """(channel, lowest, highest) network input of the channels that preparation clips."""
    found = []
    for channel, how in enumerate(plan.normalisation):
        scale = find_scale([], how) if how.scheme in ("ct", "window") else None
        if scale is not None and scale.lower is not None and scale.upper is not None and scale.spread > 0:
            low, high = ((end - scale.centre) / scale.spread for end in (scale.lower, scale.upper))
            found.append((channel, low, high))
    return tuple(found)


def mirrored_axes(plan: Plan, config: AugmentConfig) -> tuple[int, ...]:
    """Network axes that training mirrors with some probability.

    Raises:
        UsageError: mirror_only_axes names an axis that patches do not have.
    """
    only = range(plan.dimension) if config.mirror_only_axes is None else config.mirror_only_axes
    if any(axis >= plan.dimension for axis in only):
        raise UsageError(
            f"augment.mirror_only_axes names axis {max(only)}, and patches have axes 0 to {plan.dimension - 1}; "
            "leave it out."
        )
    if not config.enabled or config.mirror_probability == 0:
        return ()
    return tuple(axis for axis in mirror_axes(plan) if axis in only)
