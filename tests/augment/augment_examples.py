"""Plans, patches and frames that the tests of the augmentation share."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from vesal.augment.artifacts.artifact_settings import Frame, Patches
from vesal.augment.artifacts.draw import draw_artifacts
from vesal.augment.artifacts.registry import ArtifactConfig
from vesal.augment.config import AugmentConfig
from vesal.augment.intensity import Intensity
from vesal.data.labels import LabelSet
from vesal.planning.plan import Normalisation, Plan, Stage

FRAMES = {
    "2D": (Frame(2, (1.0, 1.2), (0, 1)), (24, 30)),
    "3D": (Frame(2, (1.0, 1.2, 1.5), (0, 1, 2)), (16, 15, 12)),
    "thick slices": (Frame(2, (8.0, 1.0, 1.2), (1, 2)), (7, 16, 20)),
    "CT": (Frame(2, (1.0, 1.2, 1.5), (0, 1, 2), hu=200.0), (16, 15, 12)),
}
#: Intensity transforms in the order in which they act.
INTENSITY = (
    *("noise", "blur", "brightness", "contrast", "low_resolution", "gamma_of_inverse", "gamma"),
    *("shift", "dropout"),
)
OFF = {name: 0.0 for name in AugmentConfig.model_fields if name.endswith("_probability")} | {
    "channel_probability": 1.0
}
SHAPES = {2: (24, 20), 3: (16, 20, 12)}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain(value: Any) -> Any:
    """Drawn parameters as lists and numbers, to compare them."""
    if isinstance(value, Tensor):
        return value.tolist()
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return {name: plain(of) for name, of in value.items()} if isinstance(value, dict) else value


# --- artefacts ------------------------------------------------------------------------------------------


def picture(shape: tuple[int, ...], n: int = 3, channels: int = 2) -> Tensor:
    """A bright box in air, z-scored, so that the air is negative."""
    image = 0.05 * torch.rand((n, channels, *shape), generator=seeded(1))
    image[(..., *(slice(size // 4, -(size // 4)) for size in shape))] += 1.0
    return (image - image.mean()) / image.std()


def drawn(kind: str, where: str, seed: int = 0, n: int = 3, **settings: object) -> Intensity:
    """The record of one artefact that is certain."""
    frame, shape = FRAMES[where]
    config = ArtifactConfig(**{kind: {"probability": 1.0, **settings}})
    return draw_artifacts(config, Patches(frame, n, shape), seeded(seed))[kind]


# --- policies -------------------------------------------------------------------------------------------


def make_plan(
    dimension: int = 3,
    *,
    spacing_mm: tuple[float, ...] | None = None,
    slice_axis: int | None = None,
    labels: LabelSet | None = None,
    schemes: tuple[str, ...] = ("zscore", "zscore"),
) -> Plan:
    ones = (1,) * dimension
    return Plan(
        dimension=dimension,
        slice_axis=slice_axis,
        spacing_mm=spacing_mm or (1.0,) * dimension,
        patch=SHAPES[dimension],
        batch=2,
        stages=(Stage(features=8, kernel=(3,) * dimension, stride=ones),),
        normalisation=tuple(Normalisation(scheme=scheme) for scheme in schemes),
        mirror_axes=tuple(range(dimension)),
        channels=tuple(f"channel {i}" for i in range(len(schemes))),
        labels=labels or LabelSet.from_values({"background": 0, "left": 1, "right": 2, "heart": 3}),
        median_shape=SHAPES[dimension],
    )


PLANS = {
    "3D": make_plan(3, spacing_mm=(1.0, 1.5, 2.0)),
    "3D with thick slices": make_plan(3, spacing_mm=(1.0, 1.5, 8.0)),
    "2D": make_plan(2, slice_axis=2),
}
STRONG = AugmentConfig(strength=20, elastic_probability=0.3, mirror_probability=0.5)
EVERYTHING = AugmentConfig(
    strength=2,
    elastic_probability=0.3,
    translate_probability=0.3,
    shear_probability=0.3,
    grid_probability=0.3,
    rotate90_probability=0.3,
    shift_probability=0.3,
    dropout_probability=0.3,
    artifacts=ArtifactConfig(probability=0.3, ghosting={"probability": 0.3}, slice={"probability": 0.3}),
)


def make_batch(dimension: int, n: int = 3, channels: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn((n, channels, *SHAPES[dimension]), generator=generator)
    values = torch.tensor([0, 1, 2, 3, 255], dtype=torch.uint8)
    return image, values[torch.randint(0, 5, (n, *SHAPES[dimension]), generator=generator)]


def only(name: str) -> AugmentConfig:
    """A configuration in which one transform is certain and all others are off."""
    return AugmentConfig(**(OFF | {f"{name}_probability": 1.0}))
