"""The same weights under the names, and in the order of axes, of Vesal, nnU-Net and MONAI's DynUNet."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

_ENCODER = re.compile(r"encoder\.stages\.(\d+)\.0\.convs\.(\d+)\.(.+)")
_DECODER = re.compile(r"decoder\.stages\.(\d+)\.convs\.(\d+)\.(.+)")
_SINGLE = re.compile(r"decoder\.(transpconvs|seg_layers)\.(\d+)\.(weight|bias)")


def vesal_name(name: str, stages: int) -> str:
    """Vesal's name of a weight of nnU-Net's PlainConvUNet, which holds most of its weights under several names.

    nnU-Net counts the decoder's stages from the lowest resolution, Vesal from the highest.

    >>> vesal_name("decoder.encoder.stages.0.0.convs.1.all_modules.0.weight", 4)
    'encoder.0.1.conv.weight'
    >>> vesal_name("decoder.stages.2.convs.0.norm.bias", 4), vesal_name("decoder.transpconvs.0.bias", 4)
    ('decoder.0.0.norm.bias', 'ups.2.bias')
    """
    name = name.removeprefix("decoder.") if name.startswith("decoder.encoder.") else name
    name = name.replace("all_modules.0.", "conv.").replace("all_modules.1.", "norm.")
    if match := _ENCODER.fullmatch(name):
        return f"encoder.{match[1]}.{match[2]}.{match[3]}"
    if match := _DECODER.fullmatch(name):
        return f"decoder.{stages - 2 - int(match[1])}.{match[2]}.{match[3]}"
    if match := _SINGLE.fullmatch(name):
        kind = {"transpconvs": "ups", "seg_layers": "heads"}[match[1]]
        return f"{kind}.{stages - 2 - int(match[2])}.{match[3]}"
    raise ValueError(f"{name} is no weight of a PlainConvUNet")


def turned(weight: Tensor, order: Sequence[int]) -> Tensor:
    """A kernel (O, I, *three axes) with its axes in another order; vectors stay as they are.

    >>> turned(torch.zeros(4, 2, 1, 3, 5), (2, 1, 0)).shape
    torch.Size([4, 2, 5, 3, 1])
    """
    if weight.ndim < 5:
        return weight
    return weight.permute(0, 1, *(2 + axis for axis in order)).contiguous()


def to_nnunet(
    ours: Mapping[str, Tensor], expected: Mapping[str, Tensor], axes: Sequence[int], stages: int
) -> dict[str, Tensor]:
    """nnU-Net's state dict with Vesal's weights.

    Args:
        ours: the state dict of Vesal's U-Net with biases.
        expected: nnU-Net's own, for its names; heads that Vesal's network has not (nnU-Net's loss gives the
            lowest no weight, and prediction uses the highest alone) keep the weights of this one.
        axes: for each axis x, y, z, which of nnU-Net's it is (`benchmarks.nnunet.axes`).
        stages: of the encoder.

    Raises:
        ValueError: the shapes are not the same, or a weight of Vesal's has no place.
    """
    back = [tuple(axes).index(axis) for axis in range(3)]
    found, used = {}, set()
    for name, theirs in expected.items():
        here = vesal_name(name, stages)
        if here not in ours and here.startswith("heads."):
            found[name] = theirs.clone()
            continue
        if here not in ours:
            raise ValueError(f"Vesal's network has no {here} for nnU-Net's {name}")
        weight = turned(ours[here], back)
        if weight.shape != theirs.shape:
            raise ValueError(
                f"{here} is {tuple(weight.shape)} where nnU-Net's {name} is {tuple(theirs.shape)}"
            )
        found[name] = weight.clone()
        used.add(here)
    if unused := sorted(set(ours) - used):
        raise ValueError(f"nnU-Net's network has no place for {unused}")
    return found


def fill_dynunet(network: nn.Module, ours: Mapping[str, Tensor], stages: int) -> None:
    """Put Vesal's weights into a DynUNet of MONAI without deep supervision, built with `trans_bias`.

    Its convolutions have no bias. One before an instance norm changes nothing, so the outputs stay the same.

    Raises:
        ValueError: a weight is of another shape, or is missing on either side.
    """
    used = set()
    own = dict(network.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, parameter in own.items():
            if name.startswith("skip_layers."):
                continue
            here = _name_of_dynunet(name, stages)
            if here not in ours or ours[here].shape != parameter.shape:
                raise ValueError(f"there is no weight for DynUNet's {name} in {here}")
            parameter.copy_(ours[here])
            used.add(here)
    unused = [
        name
        for name in ours
        if name not in used and not name.endswith("conv.bias") and not re.match(r"heads\.[1-9]", name)
    ]
    if unused:
        raise ValueError(f"DynUNet has no place for {unused}")


def _name_of_dynunet(name: str, stages: int) -> str:
    """Vesal's name of a weight of MONAI's DynUNet.

    >>> _name_of_dynunet("upsamples.0.conv_block.conv2.conv.weight", 4)
    'decoder.2.1.conv.weight'
    """
    if name.startswith("output_block."):
        return name.replace("output_block.conv.conv.", "heads.0.")
    if match := re.fullmatch(r"upsamples\.(\d+)\.transp_conv\.conv\.(weight|bias)", name):
        return f"ups.{stages - 2 - int(match[1])}.{match[2]}"
    if match := re.fullmatch(r"upsamples\.(\d+)\.conv_block\.(.+)", name):
        place, rest = f"decoder.{stages - 2 - int(match[1])}", match[2]
    elif match := re.fullmatch(r"(input_block|bottleneck|downsamples\.(\d+))\.(.+)", name):
        level = {"input_block": 0, "bottleneck": stages - 1}.get(match[1])
        place, rest = f"encoder.{int(match[2]) + 1 if level is None else level}", match[3]
    else:
        raise ValueError(f"{name} is no weight of a DynUNet")
    if match := re.fullmatch(r"conv(\d)\.conv\.(weight|bias)", rest):
        return f"{place}.{int(match[1]) - 1}.conv.{match[2]}"
    if match := re.fullmatch(r"norm(\d)\.(weight|bias)", rest):
        return f"{place}.{int(match[1]) - 1}.norm.{match[2]}"
    raise ValueError(f"{name} is no weight of a DynUNet")


def without_losing_heads(parameters: Mapping[str, Tensor], stages: int, heads: int) -> int:
    """How many numbers nnU-Net's network learns: each once, without the heads that have no weight in its loss."""
    counted: dict[str, int] = {}
    for name, tensor in parameters.items():
        here = vesal_name(name, stages)
        if not here.startswith("heads.") or int(here.split(".")[1]) < heads:
            counted[here] = tensor.numel()
    return sum(counted.values())
