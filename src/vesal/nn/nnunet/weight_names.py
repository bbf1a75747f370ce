"""The weights of nnU-Net's U-Nets under Vesal's names, and the other way.

nnU-Net's classes (`dynamic_network_architectures`: PlainConvUNet, ResidualEncoderUNet) compute what Vesal's `unet` and
`residual-unet` do, layer for layer. They count the decoder's stages from the lowest resolution, and their state dicts
name most tensors several times: each layer of a block again under `all_modules`, the encoder again within the decoder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from vesal.errors import VesalError
from vesal.nn.zoo import build_network
from vesal.planning.plan import Plan
from vesal.text import listed, times

#: What a block's layers are called in Vesal -> in nnU-Net, and their numbers in `all_modules`.
_LAYERS = {"conv": ("conv", 0), "norm": ("norm", 1)}
_BLOCKS = {"first": "conv1", "second": "conv2"}
#: What programs put before every name.
_PREFIXES = ("module.", "_orig_mod.")


def nnunet_names(name: str, plan: Plan, network: str) -> tuple[str, ...]:
    """All names that nnU-Net's state dict has for a weight of Vesal's `unet` or `residual-unet`; the first suffices.

    A bias of the shortcut of a residual block has none: nnU-Net's have no such bias.
    """
    part, *rest = name.split(".")
    lowest = len(plan.stages) - 2
    if part in ("ups", "heads"):
        place = {"ups": "transpconvs", "heads": "seg_layers"}[part]
        return (f"decoder.{place}.{lowest - int(rest[0])}.{rest[1]}",)
    if part == "decoder":
        level, block, layer, end = rest
        return _twice(f"decoder.stages.{lowest - int(level)}.convs.{block}", layer, end)
    if part == "stem":
        names = _twice("encoder.stem.convs.0", *rest)
    elif network == "residual-unet":
        level, block, inner, layer, end = rest
        if inner == "project":
            if (layer, end) == ("conv", "bias"):
                return ()
            inner = f"skip.{int(any(step != 1 for step in plan.stages[int(level)].stride) and block == '0')}"
        names = _twice(f"encoder.stages.{level}.blocks.{block}.{_BLOCKS.get(inner, inner)}", layer, end)
    else:
        level, block, layer, end = rest
        names = _twice(f"encoder.stages.{level}.0.convs.{block}", layer, end)
    return (*names, *(f"decoder.{one}" for one in names))


def _twice(block: str, layer: str, end: str) -> tuple[str, str]:
    name, number = _LAYERS[layer]
    return f"{block}.{name}.{end}", f"{block}.all_modules.{number}.{end}"


def from_nnunet(theirs: Mapping[str, Tensor], plan: Plan, network: str, source: str) -> dict[str, Tensor]:
    """A state dict of nnU-Net's as that of the plan's network.

    Args:
        theirs: nnU-Net's.
        plan: of the network.
        network: unet or residual-unet.
        source: the file, for the message.

    Raises:
        VesalError: it is not of this network.
    """
    theirs = _without_prefix(theirs)
    expected = _expected_of(theirs, plan, network, source)
    wanted = {name: nnunet_names(name, plan, network) for name in expected}
    found = {name: theirs[names[0]] for name, names in wanted.items() if names and names[0] in theirs}
    # A bias that a norm takes away again at once.
    found |= {name: torch.zeros(expected[name].shape) for name, names in wanted.items() if not names}
    used = {one for names in wanted.values() for one in names}
    absent = [names[0] for name, names in wanted.items() if name not in found]
    unknown = [name for name in theirs if name not in used]
    wrong = [
        f"{wanted[name][0]} ({times(one.shape) or 'one'} there, {times(expected[name].shape) or 'one'} by the plans)"
        for name, one in found.items()
        if one.shape != expected[name].shape
    ]
    if absent or unknown or wrong:
        reasons = [f"has no {listed(absent, 2)}"] * bool(absent)
        reasons += [f"holds {listed(unknown, 2)}, which is not of this network"] * bool(unknown)
        reasons += [f"differs in {listed(wrong, 2)}"] * bool(wrong)
        raise VesalError(
            f"{source} does not fit the network that plans.json describes: it {'; it '.join(reasons)}. Networks of a "
            "trainer of its own cannot be imported; PlainConvUNet and ResidualEncoderUNet can."
        )
    return {name: one.detach().clone() for name, one in found.items()}


def to_nnunet(weights: Mapping[str, Tensor], plan: Plan, network: str) -> dict[str, Tensor]:
    """A state dict of Vesal's `unet` or `residual-unet` as nnU-Net's, with all the names that it is loaded by.

    Heads that the network has not, which prediction does not need, are zeros.
    """
    whole = plan.model_copy(update={"heads": max(1, len(plan.stages) - 1)})
    expected = _expected(whole, network)
    found: dict[str, Tensor] = {}
    for name in expected:
        tensor = weights.get(name)
        if tensor is None:
            tensor = torch.zeros(expected[name].shape)
        found |= dict.fromkeys(nnunet_names(name, whole, network), tensor)
    return found


def is_batch_norm(theirs: Mapping[str, Tensor]) -> bool:
    """Whether a state dict of nnU-Net's is of a network with batch norms, as its trainer nnUNetTrainerBN makes."""
    return any(name.endswith("norm.running_mean") for name in theirs)


def heads_of(theirs: Mapping[str, Tensor]) -> int:
    """How many resolutions of a state dict of nnU-Net's have outputs."""
    return sum(bool(re.search(r"decoder\.seg_layers\.\d+\.weight$", name)) for name in theirs)


def _expected_of(theirs: Mapping[str, Tensor], plan: Plan, network: str, source: str) -> dict[str, Tensor]:
    """The state dict of the plan's network, if it can be one with so many weights: a plan can ask for any number of
    layers."""
    if plan.least_convolutions > len(theirs):
        raise VesalError(
            f"{source} holds {len(theirs)} weights, and plans.json describes {plan.least_convolutions} convolutions; "
            "get both again from where the model was trained."
        )
    try:
        return _expected(plan, network)
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        # What torch says of sizes that nobody can count.
        raise VesalError(
            f"plans.json describes a network that cannot be built ({str(error)[:120]}); get it again from where the "
            "model was trained."
        ) from error


def _expected(plan: Plan, network: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        return build_network(network, plan).state_dict()


def _without_prefix(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = dict(_stripped(theirs))
    return {names[name]: one for name, one in theirs.items()}


def _stripped(names: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    for name in names:
        short = name
        while (prefix := next((one for one in _PREFIXES if short.startswith(one)), None)) is not None:
            short = short.removeprefix(prefix)
        yield name, short
