"""The networks by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import nn

from vesal.data.plan import Plan
from vesal.errors import unknown_name
from vesal.nn.blocks import Bricks
from vesal.nn.unet import UNet


def _unet(plan: Plan, encoder: Literal["plain", "residual"] = "plain") -> nn.Module:
    return UNet(
        plan.stages,
        plan.inputs,
        plan.labels.outputs,
        heads=plan.heads,
        encoder=encoder,
        pooling=plan.pooling,
        bricks=Bricks(plan.dimension, plan.norm, plan.activation, plan.bias),
    )


#: What `build_network` can build, all of it from the plan alone.
NETWORKS: dict[str, Callable[[Plan], nn.Module]] = {
    "unet": _unet,
    "residual-unet": partial(_unet, encoder="residual"),
}


def build_network(name: str, plan: Plan) -> nn.Module:
    """The network of that name for that plan, freshly initialised, in train mode.

    It maps (N, plan.inputs, *spatial) to logits (N, plan.labels.outputs, *spatial). In train mode with
    plan.heads > 1 it returns a list of logits, the highest resolution first.

    Raises:
        UsageError: there is no such network, or the plan describes none that can be built.
    """
    if name not in NETWORKS:
        raise unknown_name("network", name, NETWORKS)
    return NETWORKS[name](plan)
