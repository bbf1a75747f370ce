"""The cost of a plan's network: parameters, activations, multiplications. Arithmetic; no network is built.

The layers are those of the U-Nets of `vesal.nn`; a test holds the counts against the real networks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vesal.errors import unknown_name
from vesal.planning.plan import Plan, Stage

#: Networks whose layers are known, and what sets them apart from the plain U-Net.
_KNOWN = {"unet": "", "residual-unet": "residual", "attention-unet": "gated"}

#: A step costs about three forward passes: the backward pass computes gradients of inputs and of weights.
_PASSES = 3

#: Arrays of an activation's size that training keeps for each convolution: its output (the norm's input), the
#: norm's output (which the activation overwrites), and one of gradients on the way back.
_KEPT = 3

#: Bytes of a logit: itself, its logarithm and probability in float32, and their gradients (measured on a CPU with 100
#: classes: 20 under a softmax, 23 with regions).
_LOGIT_BYTES = 20

#: Copies of the weights: themselves, gradients, two moments of the optimizer, the exponential average.
_WEIGHT_COPIES = 5


@dataclass(frozen=True)
class Layer:
    """A convolution of the network.

    Attributes:
        inputs, outputs: channels.
        taps: voxels of its kernel.
        voxels: of its output for one patch.
        reads: input voxels that each output voxel sums over (1 for a transposed convolution without overlap).
        norm, bias: whether it has an affine norm behind it, a bias of its own.
        slope: whether its activation learns a number (PReLU).
    """

    inputs: int
    outputs: int
    taps: int
    voxels: int
    reads: int
    norm: bool = False
    bias: bool = False
    slope: bool = False

    @property
    def parameters(self) -> int:
        """Weights, biases, scale and shift of the norm, slope of the activation."""
        return (
            self.inputs * self.outputs * self.taps + self.outputs * (2 * self.norm + self.bias) + self.slope
        )

    @property
    def activations(self) -> int:
        """Numbers that it puts out for one patch."""
        return self.outputs * self.voxels

    @property
    def multiplications(self) -> int:
        """For one patch, forwards."""
        return self.inputs * self.outputs * self.reads * self.voxels


@dataclass(frozen=True)
class Network:
    """What the counts depend on: the sizes of a network and of its input patch.

    Going down by max pooling changes no count: a stage's convolutions put out as much as with a stride.

    Attributes:
        channels: of the input, foreground channel included.
        stages, outputs, heads, patch, norm, activation, bias: as in the plan.
        name: of the network.
    """

    stages: tuple[Stage, ...]
    channels: int
    outputs: int
    heads: int
    patch: tuple[int, ...]
    name: str = "unet"
    norm: str = "instance"
    activation: str = "leaky_relu"
    bias: bool = False

    @property
    def parameters(self) -> int:
        """Trainable numbers."""
        return sum(layer.parameters for layer in self.layers())

    @property
    def activations(self) -> int:
        """Outputs of all convolutions for one patch (nnU-Net's measure of memory)."""
        return sum(layer.activations for layer in self.layers())

    def step_operations(self, batch: int) -> float:
        """Floating-point operations of a training step: two a multiplication, forwards and backwards."""
        return 2.0 * _PASSES * batch * sum(layer.multiplications for layer in self.layers())

    def step_bytes(self, batch: int, bytes_per_number: int) -> float:
        """Memory of a training step (an estimate: kernels' workspaces are not in it)."""
        logits = self.outputs * sum(self._voxels()[: self.heads])
        kept = _KEPT * (self.activations - logits) * bytes_per_number + _LOGIT_BYTES * logits
        return batch * kept + 4.0 * _WEIGHT_COPIES * self.parameters

    def layers(self) -> Iterator[Layer]:
        """All convolutions.

        Raises:
            UsageError: the name is not of a network whose layers are known.
        """
        if self.name not in _KNOWN:
            raise unknown_name("network with known costs", self.name, _KNOWN)
        voxels = self._voxels()
        yield from self._encoder(voxels, residual=_KNOWN[self.name] == "residual")
        yield from self._decoder(voxels, gated=_KNOWN[self.name] == "gated")
        for stage, count in zip(self.stages[: self.heads], voxels, strict=False):
            yield Layer(stage.features, self.outputs, 1, count, 1, bias=True)

    def _voxels(self) -> list[int]:
        """Of each stage."""
        size, voxels = list(self.patch), list[int]()
        for stage in self.stages:
            size = [-(-length // step) for length, step in zip(size, stage.stride, strict=True)]
            voxels.append(math.prod(size))
        return voxels

    def _encoder(self, voxels: Sequence[int], *, residual: bool) -> Iterator[Layer]:
        inputs = self.channels
        if residual:
            yield self._convolution(inputs, self.stages[0].features, self.stages[0].kernel, voxels[0])
            inputs = self.stages[0].features
        for stage, count in zip(self.stages, voxels, strict=True):
            for _ in range(stage.convolutions):
                yield self._convolution(inputs, stage.features, stage.kernel, count)
                if residual:
                    # The block's activation comes after the sum with the shortcut, which has none of its own.
                    yield self._convolution(stage.features, stage.features, stage.kernel, count)
                    if inputs != stage.features:
                        yield self._convolution(inputs, stage.features, (1,), count, act=False)
                inputs = stage.features

    def _decoder(self, voxels: Sequence[int], *, gated: bool) -> Iterator[Layer]:
        for (stage, below), count in zip(itertools.pairwise(self.stages), voxels, strict=False):
            yield Layer(below.features, stage.features, math.prod(below.stride), count, 1, bias=self.bias)
            if gated:
                hidden = max(1, stage.features // 2)
                yield Layer(stage.features, hidden, 1, count, 1)
                yield Layer(stage.features, hidden, 1, count, 1, bias=True)
                yield Layer(hidden, 1, 1, count, 1, bias=True)
            yield self._convolution(2 * stage.features, stage.features, stage.kernel, count)
            for _ in range(stage.decoder_convolutions - 1):
                yield self._convolution(stage.features, stage.features, stage.kernel, count)

    def _convolution(
        self, inputs: int, outputs: int, kernel: Sequence[int], voxels: int, *, act: bool = True
    ) -> Layer:
        taps, norm = math.prod(kernel), self.norm != "none"
        slope = act and self.activation == "prelu"
        return Layer(inputs, outputs, taps, voxels, taps, norm, bias=self.bias or not norm, slope=slope)


def network_of(plan: Plan, name: str = "unet") -> Network:
    """The network of that name for a plan, as far as its costs depend on it; its counts are those of the real one."""
    sizes = (plan.stages, plan.inputs, plan.labels.outputs, plan.heads, plan.patch)
    return Network(*sizes, name, plan.norm, plan.activation, plan.bias)


def count_operations(plan: Plan, network: str = "unet") -> float:
    """Floating-point operations of a training step: two a multiplication, backward pass included."""
    return network_of(plan, network).step_operations(plan.batch)
