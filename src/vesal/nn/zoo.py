"""The networks by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from vesal.data.plan import Plan
from vesal.errors import unknown_name
from vesal.nn.unet import UNet


def _unet(plan: Plan) -> nn.Module:
    return UNet(plan.stages, len(plan.channels), plan.labels.outputs, heads=plan.heads)


def _residual_unet(plan: Plan) -> nn.Module:
    return UNet(plan.stages, len(plan.channels), plan.labels.outputs, heads=plan.heads, encoder="residual")


#: What `build_network` can build, all of it from the plan alone.
NETWORKS: dict[str, Callable[[Plan], nn.Module]] = {
    "unet": _unet,
    "residual-unet": _residual_unet,
}


def build_network(name: str, plan: Plan) -> nn.Module:
    """The network of that name for that plan, freshly initialised, in train mode.

    It maps (N, len(plan.channels), *spatial) to logits (N, plan.labels.outputs, *spatial). In train mode with
    plan.heads > 1 it returns a list of logits, the highest resolution first.

    Raises:
        UsageError: there is no such network, or the plan describes none that can be built.
    """
    if name not in NETWORKS:
        raise unknown_name("network", name, NETWORKS)
    return NETWORKS[name](plan)
