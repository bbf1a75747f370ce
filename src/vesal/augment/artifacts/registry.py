"""All artefacts of acquisition by name, and the configuration that is composed of their settings.

A new artefact is a subclass of ArtifactSettings with its arithmetic, in a file of this folder, and a line here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from vesal.augment.artifacts.artifact_settings import ArtifactSettings, Modality
from vesal.augment.artifacts.bias_field import BiasSettings
from vesal.augment.artifacts.contrast import ContrastSettings, GammaSettings
from vesal.augment.artifacts.ct import HuShiftSettings, StreaksSettings
from vesal.augment.artifacts.field_of_view import CropSettings, FlipSettings, WrapSettings
from vesal.augment.artifacts.kspace import GhostingSettings, SpikeSettings
from vesal.augment.artifacts.motion import MotionSettings
from vesal.augment.artifacts.noise import NoiseSettings
from vesal.augment.artifacts.resolution import AnisotropySettings, BlurSettings, LowResolutionSettings
from vesal.augment.artifacts.signal_loss import ScaleSettings, SliceSettings
from vesal.augment.ranges import Probability, Severities

#: In the order of the benchmark's tables.
ARTIFACTS: dict[str, type[ArtifactSettings]] = {
    "noise": NoiseSettings,
    "motion": MotionSettings,
    "ghosting": GhostingSettings,
    "bias": BiasSettings,
    "spike": SpikeSettings,
    "hu_shift": HuShiftSettings,
    "streaks": StreaksSettings,
    "slice": SliceSettings,
    "blur": BlurSettings,
    "gamma": GammaSettings,
    "contrast": ContrastSettings,
    "low_resolution": LowResolutionSettings,
    "anisotropy": AnisotropySettings,
    "wrap": WrapSettings,
    "scale": ScaleSettings,
    "crop": CropSettings,
    "flip": FlipSettings,
}

#: Names in the order in which the artefacts act on a scan.
CHAIN = tuple(sorted(ARTIFACTS, key=lambda name: ARTIFACTS[name].acts))


def artifact_names(modality: Modality) -> tuple[str, ...]:
    """The artefacts of the benchmark of a kind of scan."""
    return tuple(name for name, kind in ARTIFACTS.items() if modality in kind.modalities)


def learnable(modality: Modality, dimension: int) -> tuple[str, ...]:
    """Artefacts that training draws from.

    >>> "slice" in learnable("MR", 2), "scale" in learnable("MR", 2)
    (False, True)
    """
    kinds = {name: ARTIFACTS[name] for name in artifact_names(modality)}
    return tuple(name for name, kind in kinds.items() if kind.learned and kind.min_dimension <= dimension)


if TYPE_CHECKING:
    _OneFieldEach = BaseModel
else:
    _OneFieldEach = create_model(
        "_OneFieldEach",
        **{name: (kind, Field(kind(), description=kind.__doc__)) for name, kind in ARTIFACTS.items()},
    )


class ArtifactConfig(_OneFieldEach):
    """Artefacts of training patches: a field for each artefact of the registry, and what concerns several.

    All are off unless a probability is given. `share` is the one switch: that share of the samples has one artefact,
    each equally likely. A bare number in place of these settings is the share.

    Probabilities are per sample (patch); in scans of several channels, each of which is an acquisition of its own,
    AugmentConfig.channel_probability says which channels of a sample have its artefact.

    >>> ArtifactConfig(probability=0.3).probability_of("motion")
    0.3
    >>> ArtifactConfig.model_validate(0.5).share
    0.5
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    share: Probability = 0.0
    """Share of the samples that have one artefact, drawn from those of the robustness benchmark that can be learned."""
    severity: Severities = (1, 4)
    """The severities of the benchmark, 1 to 5, between which `share` draws."""
    probability: Probability | None = None
    """When set, the probability of each of noise, motion, bias, spike, gamma and blur, in place of their own."""

    @model_validator(mode="before")
    @classmethod
    def _number_is_share(cls, value: Any) -> Any:
        return {"share": value} if isinstance(value, int | float) and not isinstance(value, bool) else value

    def probability_of(self, name: str) -> float:
        """The probability of one artefact."""
        if self.probability is not None and ARTIFACTS[name].together:
            return self.probability
        return float(getattr(self, name).probability)
