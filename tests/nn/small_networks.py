"""Plans of small networks, and a loss to send gradients through them."""

from __future__ import annotations

from typing import Any

import torch

from vesal.data.labels import LabelSet
from vesal.planning.plan import Normalisation, Plan, Stage

OURS = ("unet", "residual-unet", "attention-unet")


def make_plan(stages: list[tuple[int, tuple, tuple]], patch: tuple[int, ...], **changes: Any) -> Plan:
    dimension = len(patch)
    return Plan(
        **{
            "dimension": dimension,
            "spacing_mm": (1.0,) * dimension,
            "patch": patch,
            "batch": 2,
            "stages": tuple(Stage(features=f, kernel=k, stride=s) for f, k, s in stages),
            "heads": 2,
            "normalisation": (Normalisation(scheme="zscore"),) * 2,
            "mirror_axes": (),
            "channels": ("T1", "T2"),
            "labels": LabelSet.from_values({"background": 0, "left": 1, "right": 2}),
            "median_shape": patch,
            **changes,
        }
    )


def halving(features: tuple[int, ...], patch: tuple[int, ...], **changes: Any) -> Plan:
    """Kernels of 3 and strides of 2, as most networks are drawn."""
    axes = len(patch)
    stages = [(f, (3,) * axes, (1 + (level > 0),) * axes) for level, f in enumerate(features)]
    return make_plan(stages, patch, **changes)


PLANS = {
    "2d": halving((4, 8, 12), (16, 24)),
    "3d": make_plan(
        [(4, (3, 3, 3), (1, 1, 1)), (8, (3, 3, 3), (2, 2, 2)), (8, (3, 3, 3), (2, 2, 2))], (8, 16, 12)
    ),
    "anisotropic": make_plan(
        [
            (4, (1, 3, 3), (1, 1, 1)),
            (6, (1, 3, 3), (1, 2, 2)),
            (8, (3, 3, 3), (1, 3, 2)),
            (8, (3, 5, 3), (2, 1, 2)),
        ],
        (4, 12, 16),
        heads=3,
    ),
    "one stage": make_plan([(4, (3, 3), (1, 1))], (8, 8), heads=1),
    "published": halving(
        (4, 8, 8), (16, 8), norm="batch", activation="prelu", pooling=True, bias=True, foreground_channel=True
    ),
}


def unsettle(network: torch.nn.Module) -> None:
    """A residual block starts with a norm of zero, which hides what lies behind it."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))


def some_loss(logits: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
    return sum(
        (head.square().mean() for head in (logits if isinstance(logits, list) else [logits])),
        torch.tensor(0.0),
    )
