"""One U-Net, in two and three dimensions.

Shapes: N patches, C input channels, K outputs, *spatial the 2 or 3 axes of the plan's patch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vesal.errors import UsageError, unknown_name
from vesal.nn.blocks import MAX_POOLING, AttentionGate, Bricks, ConvNormAct, ResidualBlock, initialise
from vesal.nn.cpu.instance_norm import channels_last
from vesal.nn.padding import Sizes
from vesal.planning.plan import Stage, total_stride

#: What an encoder's stages are made of.
ENCODERS: dict[str, type[ConvNormAct] | type[ResidualBlock]] = {
    "plain": ConvNormAct,
    "residual": ResidualBlock,
}

#: What the encoder's features pass on their way to the decoder: nothing, or an `AttentionGate`.
SKIPS = ("plain", "gated")


class UNet(nn.Module):
    """Encoder, skips and decoder (Ronneberger et al., 2015; Çiçek et al., 2016), as nnU-Net lays them out.

    The encoder's stage i has `stages[i].convolutions` blocks, the first of which has its stride. The decoder
    goes up again by transposed convolution, joins the encoder's stage of that resolution, and has as many
    ConvNormAct as the stage has blocks (or as its `decoder` says). Lists are indexed by resolution, the highest
    first, in the names of the weights too: `encoder.0.1.conv.weight`, `ups.0.weight`, `decoder.0.1.norm.bias`,
    `heads.0.weight`.

    Attributes:
        total_stride: along each axis, from the highest resolution to the lowest.
        checkpointing: whether training keeps only what goes from stage to stage and computes the rest again
            in the backward pass: less memory, about a third more time, the same gradients.

    Args:
        stages: one a resolution, the highest first.
        channels: C.
        outputs: K.
        heads: how many resolutions, the highest first, have outputs (deep supervision).
        encoder: plain (ConvNormAct) or residual (a ConvNormAct as stem, then residual blocks).
        skips: plain, or gated by attention (Oktay et al., 2018).
        pooling: go down by max pooling, in place of a stride of the stage's first convolution.
        bricks: norm, activation, bias; None is nnU-Net's choice: instance norm, leaky ReLU.

    Raises:
        UsageError: sizes below 1, even kernels, a strided first stage, too many heads, an unknown name.

    >>> stages = [Stage(features=4 * 2**i, kernel=(3, 3), stride=(1 + (i > 0),) * 2) for i in range(3)]
    >>> UNet(stages, channels=1, outputs=2).eval()(torch.zeros(1, 1, 16, 24)).shape
    torch.Size([1, 2, 16, 24])
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        channels: int,
        outputs: int,
        *,
        heads: int = 1,
        encoder: Literal["plain", "residual"] = "plain",
        skips: Literal["plain", "gated"] = "plain",
        pooling: bool = False,
        bricks: Bricks | None = None,
    ) -> None:
        super().__init__()
        _check(stages, heads)
        if encoder not in ENCODERS:
            raise unknown_name("encoder", encoder, ENCODERS)
        if skips not in SKIPS:
            raise unknown_name("kind of skips", skips, SKIPS)
        bricks = bricks or Bricks(len(stages[0].kernel))
        self.total_stride = total_stride(stages)
        self.sizes = Sizes(self.total_stride, bricks.norm, stages[-1].features)
        self.checkpointing = False
        self.stem: nn.Module
        if encoder == "residual":
            self.stem = ConvNormAct(bricks, channels, stages[0].features, stages[0].kernel)
            channels = stages[0].features
        else:
            self.stem = nn.Identity()
        inputs = [channels, *(stage.features for stage in stages[:-1])]
        ones = (1,) * bricks.dimension
        self.pools = nn.ModuleList(
            MAX_POOLING[bricks.dimension](stage.stride) if pooling and stage.stride != ones else nn.Identity()
            for stage in stages
        )
        self.encoder = nn.ModuleList(
            _stack(ENCODERS[encoder], bricks, stage, features, ones if pooling else stage.stride)
            for stage, features in zip(stages, inputs, strict=True)
        )
        self.ups = nn.ModuleList(
            bricks.upsampling(below.features, stage.features, below.stride)
            for stage, below in itertools.pairwise(stages)
        )
        self.gates = (
            nn.ModuleList(AttentionGate(bricks, stage.features) for stage in stages[:-1])
            if skips == "gated"
            else None
        )
        self.decoder = nn.ModuleList(
            _stack(ConvNormAct, bricks, stage, 2 * stage.features, ones, stage.decoder_convolutions)
            for stage in stages[:-1]
        )
        self.heads = nn.ModuleList(
            bricks.convolution(stage.features, outputs, ones, bias=True) for stage in stages[:heads]
        )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """(N, C, *spatial) -> logits (N, K, *spatial); while training with several heads, a list of logits.

        Args:
            x: of any spatial size; one that is no multiple of `total_stride` is padded with zeros and the
                logits cut back, except while training with several heads.

        Returns:
            In train mode with more than one head: one (N, K, *spatial / stride) a head, the highest
            resolution first. Else the highest alone.

        Raises:
            UsageError: the spatial size cannot be used.
        """
        return self.sizes.run(self._logits, x, training=self.training, heads=len(self.heads))

    def _logits(self, x: Tensor) -> Tensor | list[Tensor]:
        x = self.stem(channels_last(x))
        skips = []
        for level in range(len(self.encoder)):
            x = self._maybe_recomputed(self._down, level, x)
            skips.append(x)
        skips.pop()
        every_head = self.training and len(self.heads) > 1
        logits = []
        for level in reversed(range(len(self.ups))):
            x = self._maybe_recomputed(self._up, level, x, skips.pop())
            if every_head and level < len(self.heads):
                logits.append(self.heads[level](x))
        return logits[::-1] if every_head else self.heads[0](x)

    def _down(self, level: int, x: Tensor) -> Tensor:
        return self.encoder[level](self.pools[level](x))

    def _up(self, level: int, x: Tensor, skip: Tensor) -> Tensor:
        x = self.ups[level](x)
        if self.gates is not None:
            skip = self.gates[level](skip, x)
        return self.decoder[level](torch.cat([x, skip], dim=1))

    def _maybe_recomputed(self, step: Callable[..., Tensor], *arguments: Any) -> Tensor:
        """`step(*arguments)`, whose inner activations are forgotten until the backward pass needs them."""
        needed = self.checkpointing and self.training and torch.is_grad_enabled()
        if not needed or torch.jit.is_tracing():
            return step(*arguments)
        # No layer draws at random: there is no random state to restore.
        result = checkpoint(
            step,
            *arguments,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=lambda: (nullcontext(), _statistics_kept(self)),
        )
        assert isinstance(result, Tensor)
        return result


@contextmanager
def _statistics_kept(network: nn.Module) -> Iterator[None]:
    """Batch norms do not take a batch into their statistics again that is computed a second time.

    They still pass them on, for autograd counts what a layer saves.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def _stack(
    block: type[ConvNormAct] | type[ResidualBlock],
    bricks: Bricks,
    stage: Stage,
    inputs: int,
    stride: Sequence[int],
    count: int | None = None,
) -> nn.Sequential:
    """So many blocks, as many as the stage says where no number is given; the first has the stride."""
    first = block(bricks, inputs, stage.features, stage.kernel, stride)
    rest = (
        block(bricks, stage.features, stage.features, stage.kernel)
        for _ in range((count or stage.convolutions) - 1)
    )
    return nn.Sequential(first, *rest)


def _check(stages: Sequence[Stage], heads: int) -> None:
    if not stages:
        raise UsageError("A network needs at least one stage.")
    if any(step != 1 for step in stages[0].stride):
        raise UsageError(
            f"The first stage has stride {stages[0].stride}; it keeps the resolution, so it is all 1."
        )
    if any(min(stage.convolutions, stage.decoder_convolutions) < 1 for stage in stages):
        raise UsageError("A stage has no convolution; each needs at least one.")
    if not 1 <= heads <= max(1, len(stages) - 1):
        raise UsageError(
            f"{heads} heads do not fit {len(stages)} stages; there is one a decoder stage at most."
        )
