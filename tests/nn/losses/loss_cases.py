"""Losses by name, and logits and targets to put in."""

from __future__ import annotations

from dataclasses import replace

import torch

from vesal.data.labels import LabelSet
from vesal.nn.losses.losses import Loss, LossOptions, build_loss
from vesal.planning.plan import Normalisation, Plan, Stage

BINARY = LabelSet.from_values({"background": 0, "a": 1})
CLASSES = LabelSet.from_values({"background": 0, "a": 1, "b": 2, "c": 3})
REGIONS = LabelSet.from_values(
    {"background": 0, "a": 1, "b": 2, "c": 3},
    regions={"whole": ["a", "b", "c"], "core": ["b", "c"], "inner": ["c"]},
)
EVERYTHING = LossOptions(
    class_weights={"a": 2.0, "b": 0.5, "c": 3.0},
    label_smoothing=0.1,
    batch_dice=True,
    background=True,
    focal_gamma=0.5,
)
EVERYTHING_OF_REGIONS = replace(EVERYTHING, class_weights={"whole": 2.0, "core": 0.5, "inner": 3.0})


def make_loss(
    name: str,
    labels: LabelSet = CLASSES,
    options: LossOptions | None = None,
    spacing_mm: tuple[float, ...] = (1.0, 1.0, 1.0),
) -> Loss:
    axes = len(spacing_mm)
    plan = Plan(
        dimension=2 if axes == 2 else 3,
        spacing_mm=spacing_mm,
        patch=(8,) * axes,
        batch=2,
        stages=(Stage(features=4, kernel=(3,) * axes, stride=(1,) * axes),),
        normalisation=(Normalisation(scheme="zscore"),),
        mirror_axes=(),
        channels=("image",),
        labels=labels,
        median_shape=(8,) * axes,
    )
    return build_loss(name, plan) if options is None else build_loss(name, plan, options)


def draw(labels: LabelSet = CLASSES, *size: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    size = size or (6, 5, 4)
    logits = 2 * torch.randn(2, labels.outputs, *size, generator=generator)
    return logits, torch.randint(0, 4, (2, *size), generator=generator, dtype=torch.uint8)


def one_hot(labels: LabelSet, target: torch.Tensor) -> torch.Tensor:
    """(N, K, *spatial) float32, with the background where it is an output."""
    truth = torch.from_numpy(labels.masks(target.numpy())).movedim(0, 1).float()
    return truth if labels.regions else torch.cat([(target == 0)[:, None], truth], dim=1)
