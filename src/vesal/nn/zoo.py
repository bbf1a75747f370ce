"""The networks by name, and the device that computes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import nn

from vesal.cpus import cpu_count
from vesal.errors import UsageError, unknown_name
from vesal.nn import monai_networks
from vesal.nn.blocks import Bricks
from vesal.nn.unet import UNet
from vesal.planning.plan import Plan


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


#: The networks by name, each built from the plan alone, in 2D and 3D; UsageError where the plan asks for what it has
#: not. Those of MONAI's need the extra `monai`.
NETWORKS: dict[str, Callable[[Plan], nn.Module]] = {
    "unet": _unet,  # as nnU-Net lays it out
    "residual-unet": partial(_unet, encoder="residual"),
    "attention-unet": partial(_unet, skips="gated"),  # Oktay et al., 2018
    "monai-unet": monai_networks.unet,
    "monai-attention-unet": monai_networks.attention_unet,
    "monai-dynunet": monai_networks.dynunet,  # MONAI's nnU-Net
    "monai-segresnet": monai_networks.segresnet,  # Myronenko, 2018
    "monai-swin-unetr": monai_networks.swin_unetr,  # Hatamizadeh et al., 2022
}

#: What other programs call them.
_ELSEWHERE = {
    **dict.fromkeys(
        ("attention", "attention_unet", "attunet", "attentionunet", "att_unet"), "attention-unet"
    ),
    **dict.fromkeys(("nnunet", "nnu-net", "u-net", "unet3d", "unet2d", "3d_unet", "unet_3d"), "unet"),
    **dict.fromkeys(("resunet", "resenc", "residual", "residual_unet"), "residual-unet"),
    **dict.fromkeys(("swinunetr", "swin_unetr", "swin"), "monai-swin-unetr"),
    "segresnet": "monai-segresnet",
    "dynunet": "monai-dynunet",
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
    if checkpointing and not is_own(name):
        able = ", ".join(sorted(other for other in NETWORKS if is_own(other)))
        raise UsageError(
            f"The network {name} has no gradient checkpointing; leave it out, or choose one of: {able}."
        )
    network = NETWORKS[name](plan)
    if checkpointing:
        network.checkpointing = True  # type: ignore[assignment]
    return network


def require(name: str) -> None:
    """Find out before any work whether there is such a network and what it needs is installed.

    Raises:
        UsageError: there is none, or it needs an extra that is not installed.
    """
    if name not in NETWORKS:
        raise unknown_name("network", name, NETWORKS, _ELSEWHERE)
    if not is_own(name):
        monai_networks.require(name)


def is_own(name: str) -> bool:
    """Whether the network of that name is Vesal's, not another library's."""
    return not name.startswith("monai-")


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

    Torch is given no more threads than this process may use CPUs: by itself it does not see a container's quota, and
    threads that wait for each other then spend most of it.

    Raises:
        UsageError: the name is not a device, or this machine has no such device.
    """
    torch.set_num_threads(min(torch.get_num_threads(), cpu_count()))
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
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        raise UsageError(f"This machine has no {name}; choose one of cuda:0 to cuda:{count - 1}.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("Apple's MPS is not usable on this machine; choose --device cpu.")
    return device
