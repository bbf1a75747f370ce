"""What a plan's network costs: parameters, activations, multiplications. Arithmetic; no network is built.

The layers are those of the U-Nets of `vesal.nn`; a test holds the counts against the real networks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vesal.data.plan import Stage
from vesal.errors import unknown_name

_ENCODERS = {"unet": "plain", "residual-unet": "residual"}

#: A step costs about three forward passes: the backward pass computes gradients of inputs and of weights.
_PASSES = 3

#: Arrays of an activation's size that training keeps for each convolution: its output (the norm's input), the
#: norm's output (which the activation overwrites), and one of gradients on the way back.
_KEPT = 3

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
    """

    inputs: int
    outputs: int
    taps: int
    voxels: int
    reads: int
    norm: bool
    bias: bool = False

    @property
    def parameters(self) -> int:
        """Weights, biases, scale and shift of the norm."""
        return self.inputs * self.outputs * self.taps + self.outputs * (2 * self.norm + self.bias)

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
    """What the counts depend on: the sizes of a network and of its input patch."""

    stages: tuple[Stage, ...]
    channels: int
    outputs: int
    heads: int
    patch: tuple[int, ...]
    name: str = "unet"

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
        return _KEPT * batch * self.activations * bytes_per_number + 4.0 * _WEIGHT_COPIES * self.parameters

    def layers(self) -> Iterator[Layer]:
        """All convolutions.

        Raises:
            UsageError: the name is not of a network whose layers are known.
        """
        if self.name not in _ENCODERS:
            raise unknown_name("network with known costs", self.name, _ENCODERS)
        voxels = _voxels(self.patch, self.stages)
        inputs = self.channels
        residual = _ENCODERS[self.name] == "residual"
        if residual:
            yield _convolution(inputs, self.stages[0].features, self.stages[0].kernel, voxels[0])
            inputs = self.stages[0].features
        for stage, count in zip(self.stages, voxels, strict=True):
            for _ in range(stage.convolutions):
                yield _convolution(inputs, stage.features, stage.kernel, count)
                if residual:
                    yield _convolution(stage.features, stage.features, stage.kernel, count)
                    if inputs != stage.features:
                        yield _convolution(inputs, stage.features, (1,), count)
                inputs = stage.features
        pairs = list(itertools.pairwise(self.stages))
        for (stage, below), count in zip(pairs, voxels, strict=False):
            yield Layer(below.features, stage.features, math.prod(below.stride), count, 1, norm=False)
            yield _convolution(2 * stage.features, stage.features, stage.kernel, count)
            for _ in range(stage.convolutions - 1):
                yield _convolution(stage.features, stage.features, stage.kernel, count)
        for stage, count in zip(self.stages[: self.heads], voxels, strict=False):
            yield Layer(stage.features, self.outputs, 1, count, 1, norm=False, bias=True)


def _convolution(inputs: int, outputs: int, kernel: Sequence[int], voxels: int) -> Layer:
    taps = math.prod(kernel)
    return Layer(inputs, outputs, taps, voxels, taps, norm=True)


def _voxels(patch: Sequence[int], stages: Sequence[Stage]) -> list[int]:
    """Voxels of the patch at each stage."""
    size, found = list(patch), []
    for stage in stages:
        size = [-(-length // step) for length, step in zip(size, stage.stride, strict=True)]
        found.append(math.prod(size))
    return found
