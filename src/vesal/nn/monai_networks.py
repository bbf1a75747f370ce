"""MONAI's networks, built from a plan (extra `monai`; imported when the first is built).

A plan that asks for what a network does not have is refused in one sentence with the fix, so that the plan
describes what was trained. Biases are the exception: MONAI's U-Net and Attention U-Net have them in any case.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vesal.errors import UsageError
from vesal.nn.blocks import NORMS, SLOPE
from vesal.nn.padding import Sizes
from vesal.planning.plan import Plan

_ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "leaky_relu": ("leakyrelu", {"negative_slope": SLOPE, "inplace": True}),
    "relu": ("relu", {"inplace": True}),
    "prelu": ("prelu", {}),
    "gelu": ("gelu", {}),
}

_NAMED = "name the features of every stage by plan.features, which gives kernels of 3 and strides of 2"


class MissingExtraError(UsageError):
    """A network whose library is not installed."""


class MonaiNetwork(nn.Module):
    """A network of MONAI's that takes any spatial size, as ours do.

    Attributes:
        network: MONAI's.
        total_stride: along each axis, from the highest resolution to the lowest.
    """

    def __init__(self, network: nn.Module, plan: Plan, *, heads: int = 1) -> None:
        super().__init__()
        self.network = network
        self.total_stride = plan.total_stride
        self._heads = heads
        self._sizes = Sizes(plan.total_stride, plan.norm, plan.stages[-1].features)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """(N, C, *spatial) -> logits (N, K, *spatial); with several heads, in train mode, a list of them."""
        return self._sizes.run(self._logits, x, training=self.training, heads=self._heads)

    def _logits(self, x: Tensor) -> Tensor | list[Tensor]:
        return self.network(x)


class _DynUNet(MonaiNetwork):
    """Each head's logits at its own resolution; MONAI would enlarge them all to the highest."""

    def _logits(self, x: Tensor) -> Tensor | list[Tensor]:
        kept: list[Tensor] = self.network.heads  # type: ignore[assignment]
        highest = self.network.output_block(self.network.skip_layers(x))  # type: ignore[operator]
        logits = [highest, *kept] if self._heads > 1 else [highest]
        # MONAI leaves them in the network, where they would hold the graph and forbid a copy.
        kept[:] = [torch.empty(0)] * len(kept)
        return logits if self.training and self._heads > 1 else highest


@dataclass(frozen=True)
class _Fixed:
    """What a network of MONAI's leaves no choice in.

    Attributes:
        stages: the fewest that it can have.
        uniform: one kernel and one number of convolutions for all stages.
        halving: kernels of 3 and strides of 2 along every axis.
        convolutions: of every stage; None for any number.
        norm, activation: their names; None for any.
        bias: whether its convolutions can have a bias beside the norm.
    """

    stages: int = 2
    uniform: bool = False
    halving: bool = False
    convolutions: int | None = None
    norm: str | None = None
    activation: str | None = None
    bias: bool = False


def unet(plan: Plan) -> nn.Module:
    """monai.networks.nets.UNet; as many convolutions in a residual unit as the stages have."""
    nets = _nets(plan, "monai-unet", _Fixed(uniform=True, bias=True))
    return MonaiNetwork(
        nets.UNet(
            **_one_kernel(plan),
            num_res_units=plan.stages[0].convolutions,
            act=_ACTIVATIONS[plan.activation],
            norm=_norm(plan, plan.labels.outputs) or None,  # it has a norm on the outputs too
        ),
        plan,
    )


def attention_unet(plan: Plan) -> nn.Module:
    """monai.networks.nets.AttentionUnet; where it joins a skip it has instance norm and PReLU in any case."""
    fixed = _Fixed(uniform=True, convolutions=2, norm="batch", activation="relu", bias=True)
    nets = _nets(plan, "monai-attention-unet", fixed)
    return MonaiNetwork(nets.AttentionUnet(**_one_kernel(plan)), plan)


def _one_kernel(plan: Plan) -> dict[str, Any]:
    """Sizes of MONAI's U-Nets, which have one kernel for all stages."""
    kernel = plan.stages[0].kernel
    return {
        "spatial_dims": plan.dimension,
        "in_channels": plan.inputs,
        "out_channels": plan.labels.outputs,
        "channels": _features(plan),
        "strides": [stage.stride for stage in plan.stages[1:]],
        "kernel_size": kernel,
        "up_kernel_size": kernel,
    }


def dynunet(plan: Plan) -> nn.Module:
    """monai.networks.nets.DynUNet with plain blocks and as many heads as the plan has."""
    nets = _nets(plan, "monai-dynunet", _Fixed(stages=3, convolutions=2))
    strides = [stage.stride for stage in plan.stages]
    network = nets.DynUNet(
        plan.dimension,
        plan.inputs,
        plan.labels.outputs,
        kernel_size=[stage.kernel for stage in plan.stages],
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=_features(plan),
        norm_name=_norm(plan),
        act_name=_ACTIVATIONS[plan.activation],
        deep_supervision=plan.heads > 1,
        deep_supr_num=max(1, plan.heads - 1),
    )
    # It holds its layers twice, in the tree that it runs and in lists; a model file takes each weight once.
    for twice in ("input_block", "downsamples", "bottleneck", "upsamples", "deep_supervision_heads"):
        if hasattr(network, twice):
            delattr(network, twice)
    return _DynUNet(network, plan, heads=plan.heads)


def segresnet(plan: Plan) -> nn.Module:
    """monai.networks.nets.SegResNet; as many residual blocks on the way down as a stage has convolutions."""
    name = "monai-segresnet"
    nets = _nets(plan, name, _Fixed(halving=True))
    first = plan.stages[0].features
    _need_features(plan, name, [first * 2**level for level in range(len(plan.stages))])
    return MonaiNetwork(
        nets.SegResNet(
            spatial_dims=plan.dimension,
            init_filters=first,
            in_channels=plan.inputs,
            out_channels=plan.labels.outputs,
            act=_ACTIVATIONS[plan.activation],
            norm=_norm(plan),
            blocks_down=tuple(stage.convolutions for stage in plan.stages),
            blocks_up=(1,) * (len(plan.stages) - 1),
        ),
        plan,
    )


def swin_unetr(plan: Plan) -> nn.Module:
    """monai.networks.nets.SwinUNETR; as many transformer layers as the second to fifth stage have convolutions."""
    name = "monai-swin-unetr"
    nets = _nets(plan, name, _Fixed(stages=1, halving=True, activation="leaky_relu"), also="einops")
    first = max(12, round(plan.stages[0].features / 12) * 12)
    _need_features(plan, name, [first, first, 2 * first, 4 * first, 8 * first, 16 * first])
    with _NumbersOnCpu():
        network = nets.SwinUNETR(
            in_channels=plan.inputs,
            out_channels=plan.labels.outputs,
            feature_size=first,
            depths=tuple(stage.convolutions for stage in plan.stages[1:5]),
            norm_name=_norm(plan),
            spatial_dims=plan.dimension,
        )
    return MonaiNetwork(network, plan)


class _NumbersOnCpu(TorchFunctionMode):
    """Lets MONAI read the numbers of a linspace while everything else is built on the meta device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs["device"] = "cpu"
        return func(*args, **kwargs)


def _features(plan: Plan) -> list[int]:
    return [stage.features for stage in plan.stages]


def _norm(plan: Plan, *others: int) -> tuple[str, dict[str, Any]] | str:
    """The plan's norm in MONAI's words, "" for none; of so many groups as divide all features and `others`."""
    norms: dict[str, tuple[str, dict[str, Any]] | str] = {
        "instance": ("instance", {"affine": True}),
        "batch": ("batch", {}),
        "group": ("group", {"num_groups": math.gcd(8, *_features(plan), *others)}),
        "none": "",
    }
    return norms[plan.norm]


def _nets(plan: Plan, name: str, fixed: _Fixed, *, also: str | None = None) -> Any:
    """monai.networks.nets, once it is clear that the network `name` can be what the plan says."""
    for problem, fix in (*_wrong_words(plan, fixed), *_wrong_stages(plan, fixed)):
        raise UsageError(f"The network {name} {problem}; {fix}.")
    return require(name, also)


def require(name: str, also: str | None = None) -> Any:
    """monai.networks.nets, of which the network `name` is one.

    Raises:
        MissingExtraError: MONAI, or the module `also`, is not installed.
    """
    try:
        from monai.networks import nets

        if also:
            __import__(also)
    except ImportError as error:
        raise MissingExtraError(
            f"The network {name} needs MONAI, which is not installed ({error}); "
            "install it: pip install 'vesal[monai]'."
        ) from error
    return nets


def _wrong_words(plan: Plan, fixed: _Fixed) -> Iterator[tuple[str, str]]:
    """What the plan's words ask for and the network has not, each with its fix."""
    if plan.norm not in NORMS:
        yield f"has no norm '{plan.norm}'", f"set plan.norm to one of {', '.join(NORMS)}"
    if plan.activation not in _ACTIVATIONS:
        yield (
            f"has no activation '{plan.activation}'",
            f"set plan.activation to one of {', '.join(_ACTIVATIONS)}",
        )
    if plan.pooling:
        yield "goes down by strides and has no max pooling", "set plan.pooling to false"
    if plan.bias and not fixed.bias:
        yield "has no biases beside its norms", "set plan.bias to false"
    if fixed.norm not in (None, plan.norm):
        yield f"has {fixed.norm} norm alone, not {plan.norm}", f"set plan.norm to {fixed.norm}"
    if fixed.activation not in (None, plan.activation):
        fix = f"set plan.activation to {fixed.activation}"
        yield f"has the activation {fixed.activation} alone, not {plan.activation}", fix


def _wrong_stages(plan: Plan, fixed: _Fixed) -> Iterator[tuple[str, str]]:
    """What the plan's stages ask for and the network has not, each with its fix."""
    stages = plan.stages
    sizes = {size for stage in stages for size in stage.kernel}
    steps = {step for stage in stages[1:] for step in stage.stride}
    convolutions = {stage.convolutions for stage in stages}
    if len(stages) < fixed.stages:
        yield f"needs {fixed.stages} stages and the plan has {len(stages)}", _NAMED
    if any(step != 1 for step in stages[0].stride):
        yield f"keeps the resolution in its first stage, without a stride of {stages[0].stride}", _NAMED
    if any(size % 2 == 0 for size in sizes):
        yield "cannot centre an even kernel", _NAMED
    if any(stage.decoder is not None for stage in stages):
        yield "has a decoder of its own", "take the convolutions of the decoder out of the plan's stages"
    if fixed.convolutions and convolutions != {fixed.convolutions}:
        fix = f"set plan.convolutions to {fixed.convolutions}"
        yield f"has {fixed.convolutions} convolutions in every stage", fix
    if fixed.uniform and len(convolutions) > 1:
        yield "has equally many convolutions in all stages", "set plan.convolutions to their number"
    if fixed.uniform and len({stage.kernel for stage in stages}) > 1:
        yield "has one kernel for all stages", f"choose monai-dynunet, or {_NAMED}"
    if fixed.halving and not (steps <= {2} and sizes <= {3}):
        fix = f"choose monai-dynunet, or {_NAMED}, with a patch that can be halved that often"
        yield "has kernels of 3 and halves every axis from stage to stage", fix


def _need_features(plan: Plan, name: str, wanted: Sequence[int]) -> None:
    if _features(plan) != list(wanted):
        raise UsageError(
            f"The network {name} cannot have stages of {_features(plan)} features; set plan.features to, for example, "
            f"{list(wanted)}."
        )
