"""The networks by name, and the device that computes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import nn

from vesal.errors import UsageError, unknown_name
from vesal.nn import monai_networks
from vesal.nn.blocks import Bricks
from vesal.nn.unet import UNet
from vesal.planning.plan import Plan


@dataclass(frozen=True)
class NetworkKind:
    """An entry of `NETWORKS`.

    Attributes:
        build: the network for a plan; UsageError where the plan asks for what it has not.
        about: one line.
        extra: which of Vesal's extras it needs (pip install 'vesal[EXTRA]'); None for none.
        deep_supervision: whether it has as many heads as the plan; else a single one.
        checkpointing: whether it can compute activations again in the backward pass.
    """

    build: Callable[[Plan], nn.Module]
    about: str
    extra: str | None = None
    deep_supervision: bool = True
    checkpointing: bool = True


def _unet(
    plan: Plan,
    encoder: Literal["plain", "residual"] = "plain",
    skips: Literal["plain", "gated"] = "plain",
) -> nn.Module:
    return UNet(
        plan.stages,
        plan.inputs,
        plan.labels.outputs,
        heads=plan.heads,
        encoder=encoder,
        skips=skips,
        pooling=plan.pooling,
        bricks=Bricks(plan.dimension, plan.norm, plan.activation, plan.bias),
    )


#: What `build_network` can build, all of it from the plan alone, in 2D and 3D.
NETWORKS: dict[str, NetworkKind] = {
    "unet": NetworkKind(_unet, "U-Net as nnU-Net lays it out"),
    "residual-unet": NetworkKind(
        partial(_unet, encoder="residual"), "U-Net with residual blocks in the encoder"
    ),
    "attention-unet": NetworkKind(
        partial(_unet, skips="gated"), "U-Net with attention gates on the skips (Oktay et al., 2018)"
    ),
    "monai-unet": NetworkKind(
        monai_networks.unet,
        "MONAI's U-Net of residual units",
        extra="monai",
        deep_supervision=False,
        checkpointing=False,
    ),
    "monai-attention-unet": NetworkKind(
        monai_networks.attention_unet,
        "MONAI's Attention U-Net",
        extra="monai",
        deep_supervision=False,
        checkpointing=False,
    ),
    "monai-dynunet": NetworkKind(
        monai_networks.dynunet, "MONAI's nnU-Net (DynUNet)", extra="monai", checkpointing=False
    ),
    "monai-segresnet": NetworkKind(
        monai_networks.segresnet,
        "MONAI's SegResNet (Myronenko, 2018)",
        extra="monai",
        deep_supervision=False,
        checkpointing=False,
    ),
    "monai-swin-unetr": NetworkKind(
        monai_networks.swin_unetr,
        "MONAI's Swin UNETR (Hatamizadeh et al., 2022)",
        extra="monai",
        deep_supervision=False,
        checkpointing=False,
    ),
}


def build_network(name: str, plan: Plan, *, checkpointing: bool = False) -> nn.Module:
    """The network of that name for that plan, freshly initialised, in train mode.

    It maps (N, plan.inputs, *spatial) to logits (N, plan.labels.outputs, *spatial); spatial sizes that do not
    fit its strides are padded with zeros and cut back. In train mode with plan.heads > 1 a network with deep
    supervision returns a list of logits, the highest resolution first, and takes only sizes that fit.

    Args:
        name: in `NETWORKS`.
        plan: what it is built for.
        checkpointing: train in less memory and more time (`vesal.nn.unet.UNet`); it changes no weight.

    Raises:
        UsageError: there is no such network, it needs an extra that is not installed, the plan describes none
            that can be built, or it has no checkpointing.
    """
    require(name)
    if checkpointing and not NETWORKS[name].checkpointing:
        able = ", ".join(sorted(other for other, kind in NETWORKS.items() if kind.checkpointing))
        raise UsageError(
            f"The network {name} has no gradient checkpointing; leave it out, or choose one of: {able}."
        )
    network = NETWORKS[name].build(plan)
    if checkpointing:
        network.checkpointing = True  # type: ignore[assignment]
    return network


def require(name: str) -> None:
    """Find out before any work whether there is such a network and what it needs is installed.

    Raises:
        UsageError: there is none, or it needs an extra that is not installed.
    """
    if name not in NETWORKS:
        raise unknown_name("network", name, NETWORKS)
    if NETWORKS[name].extra == "monai":
        monai_networks.require(name)


def count_trainable(name: str, plan: Plan) -> int:
    """Trainable parameters of the network of that name; its weights take no memory meanwhile.

    Raises:
        UsageError: as `build_network`.
    """
    with torch.device("meta"):
        network = build_network(name, plan)
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def resolve_device(name: str = "auto") -> torch.device:
    """The device of that name; 'auto' takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        UsageError: the name is not a device, or this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"'{name}' is not a device; choose auto, cpu, cuda, cuda:N or mps.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("No CUDA GPU is usable on this machine; choose --device cpu.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("Apple's MPS is not usable on this machine; choose --device cpu.")
    return device
