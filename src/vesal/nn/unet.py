"""One U-Net, in two and three dimensions.

Shapes: N patches, C input channels, K outputs, *spatial the 2 or 3 axes of the plan's patch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from vesal.data.plan import Stage
from vesal.errors import UsageError, unknown_name
from vesal.nn.blocks import Bricks, ConvNormAct, ResidualBlock, initialise
from vesal.nn.cpu import channels_last

#: What an encoder's stages are made of.
ENCODERS: dict[str, type[ConvNormAct] | type[ResidualBlock]] = {
    "plain": ConvNormAct,
    "residual": ResidualBlock,
}


class UNet(nn.Module):
    """Encoder, skips and decoder (Ronneberger et al., 2015; Çiçek et al., 2016), as nnU-Net lays them out.

    The encoder's stage i has `stages[i].convolutions` blocks, the first of which has its stride. The decoder
    goes up again by transposed convolution, joins the encoder's stage of that resolution, and has as many
    ConvNormAct as the stage has blocks. Lists are indexed by resolution, the highest first, in the names of
    the weights too: `encoder.0.1.conv.weight`, `ups.0.weight`, `decoder.0.1.norm.bias`, `heads.0.weight`.

    Args:
        stages: one a resolution, the highest first.
        channels: C.
        outputs: K.
        heads: how many resolutions, the highest first, have outputs (deep supervision).
        encoder: plain (ConvNormAct) or residual (a ConvNormAct as stem, then residual blocks).
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
        pooling: bool = False,
        bricks: Bricks | None = None,
    ) -> None:
        super().__init__()
        _check(stages, heads)
        if encoder not in ENCODERS:
            raise unknown_name("encoder", encoder, ENCODERS)
        bricks = bricks or Bricks(len(stages[0].kernel))
        self.total_stride = tuple(math.prod(steps) for steps in zip(*(s.stride for s in stages), strict=True))
        self._norm = bricks.norm
        self.stem: nn.Module
        if encoder == "residual":
            self.stem = ConvNormAct(bricks, channels, stages[0].features, stages[0].kernel)
            channels = stages[0].features
        else:
            self.stem = nn.Identity()
        inputs = [channels, *(stage.features for stage in stages[:-1])]
        ones = (1,) * bricks.dimension
        self.pools = nn.ModuleList(
            bricks.max_pooling(stage.stride) if pooling and stage.stride != ones else nn.Identity()
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
        self.decoder = nn.ModuleList(
            _stack(ConvNormAct, bricks, stage, 2 * stage.features, ones) for stage in stages[:-1]
        )
        self.heads = nn.ModuleList(
            bricks.convolution(stage.features, outputs, ones, bias=True) for stage in stages[:heads]
        )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """(N, C, *spatial) -> logits (N, K, *spatial); while training with several heads, a list of logits.

        Args:
            x: its spatial sizes are multiples of `total_stride`, not necessarily the plan's patch.

        Returns:
            In train mode with more than one head: one (N, K, *spatial / stride) a head, the highest
            resolution first. Else the highest alone.

        Raises:
            UsageError: the spatial size does not fit the strides.
        """
        if not (torch.jit.is_tracing() or torch.compiler.is_compiling()):
            self._check_size(x)
        x = self.stem(channels_last(x))
        skips = []
        for pool, stage in zip(self.pools, self.encoder, strict=True):
            x = stage(pool(x))
            skips.append(x)
        skips.pop()
        every_head = self.training and len(self.heads) > 1
        logits = []
        for level in reversed(range(len(self.ups))):
            x = self.decoder[level](torch.cat([self.ups[level](x), skips.pop()], dim=1))
            if every_head and level < len(self.heads):
                logits.append(self.heads[level](x))
        return logits[::-1] if every_head else self.heads[0](x)

    def _check_size(self, x: Tensor) -> None:
        size, strides = tuple(x.shape[2:]), self.total_stride
        if len(size) != len(strides):
            raise UsageError(
                f"This network takes (N, C, {len(strides)} axes); it was given {tuple(x.shape)}."
            )
        if any(s < 1 or s % stride for s, stride in zip(size, strides, strict=True)):
            raise UsageError(f"Patch {size} is not a multiple of the network's strides {strides}; pad it.")
        # A batch norm takes its mean over the batch too, and while predicting it takes none.
        lonely = self._norm == "instance" or (self._norm == "batch" and self.training and len(x) == 1)
        if lonely and size == strides:
            raise UsageError(
                f"Patch {size} shrinks to a single voxel, which {self._norm} norm cannot normalise; "
                "choose a larger patch or fewer stages."
            )


def _stack(
    block: type[ConvNormAct] | type[ResidualBlock],
    bricks: Bricks,
    stage: Stage,
    inputs: int,
    stride: Sequence[int],
) -> nn.Sequential:
    first = block(bricks, inputs, stage.features, stage.kernel, stride)
    rest = (
        block(bricks, stage.features, stage.features, stage.kernel) for _ in range(stage.convolutions - 1)
    )
    return nn.Sequential(first, *rest)


def _check(stages: Sequence[Stage], heads: int) -> None:
    if not stages:
        raise UsageError("A network needs at least one stage.")
    if any(step != 1 for step in stages[0].stride):
        raise UsageError(
            f"The first stage has stride {stages[0].stride}; it keeps the resolution, so it is all 1."
        )
    if any(stage.convolutions < 1 for stage in stages):
        raise UsageError("A stage has no convolution; each needs at least one.")
    if not 1 <= heads <= max(1, len(stages) - 1):
        raise UsageError(
            f"{heads} heads do not fit {len(stages)} stages; there is one a decoder stage at most."
        )
