"""Networks of a MONAI bundle as Vesal's, which are MONAI's classes built from a plan, and their weights."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vesal.errors import VesalError
from vesal.nn.monai_bundle.bundle_config import Component
from vesal.nn.zoo import build_network
from vesal.planning.plan import Plan, Stage
from vesal.text import listed, times

#: Of MONAI's activations Vesal's names, and the slope that a leaky one has there.
_ACTIVATIONS = {"relu": "relu", "prelu": "prelu", "leakyrelu": "leaky_relu", "gelu": "gelu"}
_SLOPE = 0.01
#: More than any of these networks has, whose lowest resolution would be less than a voxel.
_MOST_STAGES = 16
#: More channels than any of them has.
_MOST_CHANNELS = 1 << 16
_NORMS = {"instance": "instance", "batch": "batch", "group": "group"}
#: Names of the parameters that make the outputs, whose order can be changed.
_OUTPUTS = {
    "monai-segresnet": re.compile(r"network\.conv_final\.2\.conv\.(weight|bias)"),
    "monai-dynunet": re.compile(
        r"network\.(output_block|heads\.\d+)\.conv\.conv\.(weight|bias)|.*superhead.*"
    ),
    "monai-swin-unetr": re.compile(r"network\.out\.conv\.conv\.(weight|bias)"),
}
#: What a DynUNet holds a second time.
_TWICE = ("input_block.", "downsamples.", "bottleneck.", "upsamples.", "deep_supervision_heads.")
#: Of weights that are not a network's own.
_PREFIXES = ("module.", "_orig_mod.", "network.")


@dataclass(frozen=True)
class BundleNetwork:
    """A network that a bundle describes.

    Attributes:
        name: in `vesal.nn.zoo.NETWORKS`.
        inputs, outputs: channels.
        stages: of the plan.
        norm, activation: of the plan.
        scaled: its instance norms have weights and biases.
        bias: its convolutions have one beside the norm.
        heads: with outputs.
    """

    name: str
    inputs: int
    outputs: int
    stages: tuple[Stage, ...]
    norm: str
    activation: str
    scaled: bool = True
    bias: bool = False
    heads: int = 1


@dataclass
class _Arguments:
    """Of a class of MONAI's; whoever takes one says what it is by default there."""

    of: str
    values: Mapping[str, Any]
    taken: set[str] = field(default_factory=set)

    def get(self, name: str, default: Any = None) -> Any:
        self.taken.add(name)
        return self.values.get(name, default)

    def need(self, name: str, *allowed: Any) -> None:
        """An argument that Vesal's network has no choice in; the first of `allowed` is MONAI's default.

        Raises:
            VesalError: it is none of these.
        """
        value = self.get(name, allowed[0])
        if _plain(value) not in [_plain(one) for one in allowed]:
            raise VesalError(
                f"The bundle's {self.of} has {name} = {str(value)[:60]}, which Vesal's has not; it has {allowed[0]}."
            )

    def passed_over(self, *names: str) -> None:
        """What changes nothing in a prediction."""
        self.taken |= set(names)

    def done(self) -> None:
        """Raise VesalError where an argument was not looked at."""
        if rest := sorted(set(self.values) - self.taken):
            raise VesalError(f"The bundle's {self.of} has {listed(rest)}, which Vesal does not know.")

    def counts(self, name: str, default: Any = None) -> tuple[int, ...]:
        """Whole numbers above zero."""
        found = self.get(name, default)
        items = list(found) if isinstance(found, (list, tuple)) else [found]
        whole = all(type(one) is int and 0 < one <= _MOST_CHANNELS for one in items)
        if not 1 <= len(items) <= _MOST_STAGES or not whole:
            raise VesalError(
                f"The bundle's {self.of} has {name} = {str(found)[:60]}; Vesal needs whole numbers from 1 to "
                f"{_MOST_CHANNELS} there."
            )
        return tuple(items)

    def norm(self, name: str, default: Any) -> tuple[str, dict[str, Any]]:
        kind, more = _named(self.get(name, default))
        if kind not in _NORMS or set(more) - {"affine", "num_groups"}:
            raise VesalError(
                f"The bundle's {self.of} has the norm {kind[:40]} with {str(more)[:60]}; Vesal imports "
                f"{listed(list(_NORMS))}."
            )
        return _NORMS[kind], more

    def activation(self, name: str, default: Any) -> str:
        kind, more = _named(self.get(name, default))
        slope = more.get("negative_slope", _SLOPE)
        if kind not in _ACTIVATIONS or set(more) - {"inplace", "negative_slope"} or slope != _SLOPE:
            raise VesalError(
                f"The bundle's {self.of} has the activation {kind[:40]} with {str(more)[:60]}; Vesal imports "
                f"{listed(list(_ACTIVATIONS))}."
            )
        return _ACTIVATIONS[kind]


def bundle_network(found: Component) -> BundleNetwork:
    """What the entry `network_def` describes.

    Raises:
        VesalError: Vesal has no network like it.
    """
    if found.name not in _NETWORKS:
        raise VesalError(
            f"The network of this bundle is {found.name[:60]}, which Vesal does not import; it imports "
            f"{listed(list(_NETWORKS))}."
        )
    arguments = _Arguments(found.name, found.arguments)
    if (dimensions := arguments.get("spatial_dims", arguments.get("dimensions", 3))) != 3:
        raise VesalError(
            f"The network of this bundle is {str(dimensions)[:20]}D; Vesal imports those of 3D scans."
        )
    network = _NETWORKS[found.name](arguments)
    arguments.done()
    return network


def _unet(given: _Arguments) -> BundleNetwork:
    channels, strides = given.counts("channels"), given.get("strides", [])
    units = given.get("num_res_units", 0)
    if type(units) is not int or units < 1:
        raise VesalError(
            f"The bundle's UNet has num_res_units = {str(units)[:20]}, and Vesal's one of MONAI's has residual units, "
            "1 or more."
        )
    kernel = _axes(given.get("kernel_size", 3))
    if kernel != _axes(given.get("up_kernel_size", 3)) or not isinstance(strides, list):
        raise VesalError("The bundle's UNet has other kernels on its way up, or no list of strides.")
    if len(strides) != len(channels) - 1:
        raise VesalError(
            f"The bundle's UNet has {len(channels)} channels and {len(strides)} strides, and MONAI's one less of these."
        )
    given.need("bias", True)
    given.need("adn_ordering", "NDA")
    given.passed_over("dropout")
    norm, more = given.norm("norm", "INSTANCE")
    outputs = given.counts("out_channels")[0]
    _need_groups(given, norm, more, [*channels, outputs])
    rows = zip(channels, [1, *strides], strict=True)
    stages = [
        Stage(features=width, kernel=kernel, stride=_axes(step), convolutions=units) for width, step in rows
    ]
    return BundleNetwork(
        "monai-unet",
        given.counts("in_channels")[0],
        outputs,
        tuple(stages),
        norm,
        given.activation("act", "PRELU"),
        scaled=norm != "instance" or bool(more.get("affine", False)),
        bias=True,
    )


def _segresnet(given: _Arguments) -> BundleNetwork:
    first = given.counts("init_filters", 8)[0]
    blocks = given.counts("blocks_down", (1, 2, 2, 4))
    given.need("blocks_up", (1,) * 3 if len(blocks) == 4 else None, (1,) * (len(blocks) - 1))
    given.need("use_conv_final", True)
    given.need("upsample_mode", "nontrainable")
    given.need("norm_name", "", "group")
    given.passed_over("dropout_prob")
    norm, more = given.norm("norm", ("GROUP", {"num_groups": 8}))
    if given.get("norm_name"):
        norm, more = "group", {"num_groups": given.get("num_groups", 8)}
    given.passed_over("num_groups")
    features = [first * 2**level for level in range(len(blocks))]
    _need_groups(given, norm, more, features)
    return BundleNetwork(
        "monai-segresnet",
        given.counts("in_channels", 1)[0],
        given.counts("out_channels", 2)[0],
        _halving(features, blocks),
        norm,
        given.activation("act", ("RELU", {"inplace": True})),
        scaled=norm != "instance" or bool(more.get("affine", False)),
    )


def _dynunet(given: _Arguments) -> BundleNetwork:
    kernels, strides = given.get("kernel_size"), given.get("strides")
    lists = isinstance(kernels, list) and isinstance(strides, list)
    if not lists or not 1 <= len(kernels) == len(strides) <= _MOST_STAGES:
        raise VesalError("The bundle's DynUNet has not one kernel_size and one stride for each stage.")
    up = given.get("upsample_kernel_size")
    if not isinstance(up, list) or [_axes(one) for one in up] != [_axes(one) for one in strides[1:]]:
        raise VesalError("The bundle's DynUNet goes up by other steps than down, which Vesal's has not.")
    # As MONAI chooses them for 3D where none are given.
    usual = [min(2 ** (5 + level), 320) for level in range(len(strides))]
    features = given.counts("filters", usual) if given.get("filters") is not None else tuple(usual)
    if len(features) < len(strides):
        raise VesalError(f"The bundle's DynUNet has {len(features)} filters for {len(strides)} stages.")
    given.need("res_block", False)
    given.need("trans_bias", False)
    given.passed_over("dropout")
    norm, more = given.norm("norm_name", ("INSTANCE", {"affine": True}))
    _need_groups(given, norm, more, features[: len(strides)])
    deep, count = given.get("deep_supervision", False), given.counts("deep_supr_num", 1)[0]
    rows = zip(features[: len(strides)], kernels, strides, strict=True)
    return BundleNetwork(
        "monai-dynunet",
        given.counts("in_channels")[0],
        given.counts("out_channels")[0],
        tuple(Stage(features=width, kernel=_axes(size), stride=_axes(step)) for width, size, step in rows),
        norm,
        given.activation("act_name", ("leakyrelu", {"inplace": True, "negative_slope": 0.01})),
        scaled=norm != "instance" or bool(more.get("affine", False)),
        heads=1 + count if deep else 1,
    )


def _swin_unetr(given: _Arguments) -> BundleNetwork:
    first, depths = given.counts("feature_size", 24)[0], given.counts("depths", (2, 2, 2, 2))
    given.need("num_heads", (3, 6, 12, 24))
    for name, value in (
        ("patch_size", 2), ("window_size", 7), ("qkv_bias", True), ("mlp_ratio", 4.0), ("normalize", True),
        ("patch_norm", False), ("downsample", "merging"), ("use_v2", False), ("use_hyena", False),
    ):  # fmt: skip
        given.need(name, value)
    given.passed_over("img_size", "drop_rate", "attn_drop_rate", "dropout_path_rate", "use_checkpoint")
    norm, more = given.norm("norm_name", "instance")
    if len(depths) != 4:
        raise VesalError(f"The bundle's SwinUNETR has {len(depths)} depths, and Vesal's four.")
    features = [first, first, 2 * first, 4 * first, 8 * first, 16 * first]
    _need_groups(given, norm, more, features)
    return BundleNetwork(
        "monai-swin-unetr",
        given.counts("in_channels")[0],
        given.counts("out_channels")[0],
        _halving(features, (2, *depths, 2)),
        norm,
        "leaky_relu",
        scaled=norm != "instance" or bool(more.get("affine", False)),
    )


#: MONAI's classes.
_NETWORKS: dict[str, Callable[[_Arguments], BundleNetwork]] = {
    "UNet": _unet,
    "DynUNet": _dynunet,
    "SegResNet": _segresnet,
    "SwinUNETR": _swin_unetr,
}


def bundle_weights(
    theirs: Mapping[str, Tensor], plan: Plan, network: BundleNetwork, source: Path, order: Sequence[int]
) -> dict[str, Tensor]:
    """A state dict of MONAI's as that of Vesal's network.

    Args:
        theirs: MONAI's.
        plan: of the network.
        network: that is described.
        source: the file, for messages.
        order: which of its outputs each of the plan's is.

    Raises:
        VesalError: it is not of this network, or its outputs cannot be put in that order.
    """
    if plan.least_convolutions > len(theirs):
        raise VesalError(
            f"{source} holds {len(theirs)} weights, and network_def describes {plan.least_convolutions} convolutions; "
            "get the bundle again."
        )
    try:
        with torch.device("meta"):
            expected = build_network(network.name, plan).state_dict()
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        # What torch and MONAI say of sizes that cannot be.
        raise VesalError(
            f"network_def describes a network that cannot be built ({str(error)[:120]})."
        ) from error
    theirs = {name: one for name, one in _without_prefix(theirs).items() if not _is_twice(name, network)}
    found, absent, wrong = {}, [], []
    for name, like in expected.items():
        own = name.removeprefix("network.")
        tensor = theirs.get(own)
        if tensor is None and not network.scaled and own.endswith((".weight", ".bias")) and like.ndim == 1:
            # A norm without weights is one of ones and zeros.
            tensor = (torch.ones if own.endswith("weight") else torch.zeros)(like.shape)
        if tensor is None:
            absent.append(own)
        elif tensor.shape != like.shape:
            wrong.append(
                f"{own} ({times(tensor.shape) or 'one'} there, {times(like.shape) or 'one'} by network_def)"
            )
        else:
            found[name] = tensor.detach().clone()
    unknown = [name for name in theirs if f"network.{name}" not in expected]
    if absent or unknown or wrong:
        reasons = [f"has no {listed(absent, 2)}"] * bool(absent)
        reasons += [f"holds {listed(unknown, 2)}, which is not of this network"] * bool(unknown)
        reasons += [f"differs in {listed(wrong, 2)}"] * bool(wrong)
        raise VesalError(f"{source} does not fit the bundle's network_def: it {'; it '.join(reasons)}.")
    if list(order) != list(range(len(order))):
        if network.name not in _OUTPUTS:
            raise VesalError(
                f"The regions of this bundle are painted in another order than its {network.name} puts them out, "
                "and Vesal cannot change that order in this network."
            )
        for name in found:
            if _OUTPUTS[network.name].fullmatch(name):
                found[name] = found[name][list(order)]
    return found


def _is_twice(name: str, network: BundleNetwork) -> bool:
    return network.name == "monai-dynunet" and name.startswith(_TWICE)


def _without_prefix(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES:
        if theirs and all(name.startswith(prefix) for name in theirs):
            theirs = {name.removeprefix(prefix): one for name, one in theirs.items()}
    return dict(theirs)


def _named(value: Any) -> tuple[str, dict[str, Any]]:
    """("group", {"num_groups": 8}) of MONAI's ways to name a layer: a text, or a text and its arguments."""
    name, more = value if isinstance(value, (list, tuple)) and len(value) == 2 else (value, {})
    return str(name).lower(), dict(more) if isinstance(more, dict) else {"": more}


def _need_groups(given: _Arguments, norm: str, more: Mapping[str, Any], features: Sequence[int]) -> None:
    """Vesal's group norm has so many groups as divide all features, 8 at most."""
    groups = math.gcd(8, *features)
    wrong = norm == "group" and more.get("num_groups") != groups
    if wrong or (norm != "instance" and more.get("affine", True) is not True):
        raise VesalError(
            f"The bundle's {given.of} has a {norm} norm with {dict(more)}; Vesal's has {groups} groups."
        )


def _halving(features: Sequence[int], convolutions: Sequence[int]) -> tuple[Stage, ...]:
    rows = zip(features, convolutions, strict=True)
    return tuple(
        Stage(features=width, kernel=(3,) * 3, stride=(2 if level else 1,) * 3, convolutions=count)
        for level, (width, count) in enumerate(rows)
    )


def _axes(value: Any) -> tuple[int, ...]:
    """One whole number along each of three axes."""
    found = tuple(value) if isinstance(value, (list, tuple)) else (value,) * 3
    if len(found) != 3 or not all(type(one) is int and one > 0 for one in found):
        raise VesalError(
            f"The bundle's network has a kernel or a stride of {str(value)[:60]}, which is none in 3D."
        )
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value.lower() if isinstance(value, str) else value
