"""Torch's convolutions, computed in the fastest way on a CPU.

Weights, results and names are torch's. What pays was measured with torch 2.13 (oneDNN) on AVX2, channels last:

- Kernels of 3 by `vesal.nn.cpu.winograd`, where it pays; see there.
- Kernels of 1 in 3D as one product of matrices: 32 -> 3 channels forward and backward in 0.23 of the time.
- The gradients of a transposed convolution without overlap likewise: 64 -> 32 channels in 0.33 of the time.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from vesal.nn.cpu import instance_norm as cpu
from vesal.nn.cpu import winograd

# What makes Winograd's way worth the while: channels on the one side and the other, rows of the matrices, and the
# share of the tiles that lies inside the volume.
_LEAST_CHANNELS = (16, 32)
_LEAST_ROWS, _LEAST_FILLED = 120, 0.6

# Channels from which on it gains forward too, along one axis alone.
_LEAST_CHANNELS_FLAT = 64

# Channels from which on a product of matrices is faster than oneDNN's kernel of 1.
_LEAST_CHANNELS_POINTWISE = 16


class Conv2d(nn.Conv2d):
    """torch's, with zeros around."""

    def forward(self, x: Tensor) -> Tensor:
        y = _convolved(self, x)
        return super().forward(x) if y is None else y


class Conv3d(nn.Conv3d):
    """torch's, with zeros around."""

    def forward(self, x: Tensor) -> Tensor:
        y = _convolved(self, x)
        return super().forward(x) if y is None else y


class ConvTranspose2d(nn.ConvTranspose2d):
    """torch's."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        y = None if output_size else _upsampled(self, x)
        return super().forward(x, output_size) if y is None else y


class ConvTranspose3d(nn.ConvTranspose3d):
    """torch's."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        y = None if output_size else _upsampled(self, x)
        return super().forward(x, output_size) if y is None else y


def _needs_float32(module: nn.Conv2d | nn.Conv3d, x: Tensor) -> bool:
    """Whether bfloat16 would give wrong gradients of the weights.

    OneDNN's (3.12, in torch 2.13) are wrong, some of them not finite, where a kernel runs over fewer voxels than it has
    taps: one of 3 over a depth of 2, and with a stride of 2 over a width of 1; one of 5 over 3 or 4 (found with AVX-512
    BF16). That is a network's deepest stage, which costs next to nothing in float32 too.
    """
    return cpu.applies_in_bfloat16(x) and any(
        size < taps for size, taps in zip(x.shape[2:], module.kernel_size, strict=True)
    )


def _convolved(module: nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor | None:
    """The convolution by another way than torch's; None if that is neither faster nor needed."""
    weight, bias = module.weight, module.bias
    if _needs_float32(module, x):
        with torch.autocast("cpu", enabled=False):
            return module._conv_forward(x.float(), weight, bias).bfloat16()
    if not cpu.applies(x) or not _plain(module):
        return None
    if set(module.kernel_size) == {1}:
        if x.ndim < 5 or weight.shape[1] < _LEAST_CHANNELS_POINTWISE:
            return None
        return F.linear(x.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)
    if not _winograd_pays(x, weight):
        return None
    forward_pays = module.kernel_size == (3, 3, 3) or min(weight.shape[:2]) >= _LEAST_CHANNELS_FLAT
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        y = _Convolution.apply(x, weight, forward_pays)
    elif forward_pays:
        y = winograd.convolve(x, weight)
    else:
        return None
    return y if bias is None else y + bias.view(-1, *[1] * (x.ndim - 2))


def _plain(module: nn.Conv2d | nn.Conv3d) -> bool:
    """A stride of 1, one group, and as many zeros around as keep the size."""
    return (
        set(module.stride) == {1}
        and set(module.dilation) == {1}
        and module.groups == 1
        and module.padding_mode == "zeros"
        and module.padding == tuple(size // 2 for size in module.kernel_size)
    )


def _winograd_pays(x: Tensor, weight: Tensor) -> bool:
    taps = tuple(weight.shape[2:])
    if taps not in ((3, 3), (3, 3, 3), (1, 3, 3)):
        return False
    if any(n < least for n, least in zip(sorted(weight.shape[:2]), _LEAST_CHANNELS, strict=True)):
        return False
    rows, filled = winograd.rows(x.shape, taps)
    return rows >= _LEAST_ROWS and filled >= _LEAST_FILLED


class _Convolution(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, forward_pays: bool) -> Tensor:
        ctx.save_for_backward(x, weight)
        if forward_pays:
            return winograd.convolve(x, weight)
        function = F.conv3d if x.ndim == 5 else F.conv2d
        return function(x, weight, padding=tuple(size // 2 for size in weight.shape[2:]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        dx, dw = winograd.gradients(x, weight, gradients[0], of_input=ctx.needs_input_grad[0])
        return dx, dw, None


def _upsampled(module: nn.ConvTranspose2d | nn.ConvTranspose3d, x: Tensor) -> Tensor | None:
    """The transposed convolution with faster gradients; None if there is nothing to gain."""
    weight, bias = module.weight, module.bias
    gradients = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    if not cpu.applies(x) or not gradients or min(weight.shape[:2]) < _LEAST_CHANNELS_POINTWISE:
        return None
    plain = set(module.padding) == set(module.output_padding) == {0} and set(module.dilation) == {1}
    if not plain or module.groups != 1 or module.stride != module.kernel_size:
        return None
    y = _Upsampling.apply(x, weight)
    return y if bias is None else y + bias.view(-1, *[1] * (x.ndim - 2))


class _Upsampling(Function):
    """Without overlap each voxel becomes a block of its own: one product of matrices, and its blocks put apart."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        function = F.conv_transpose3d if x.ndim == 5 else F.conv_transpose2d
        return function(x, weight, stride=tuple(weight.shape[2:]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        n, c, *sizes = x.shape
        k, *strides = weight.shape[1:]
        axes = range(len(sizes))
        # (N, X, sx, Y, sy, ..., K) -> (N X Y ..., sx sy ... K)
        pairs = (length for pair in zip(sizes, strides, strict=True) for length in pair)
        blocks = gradients[0].movedim(1, -1).reshape(n, *pairs, k)
        order = (0, *(1 + 2 * axis for axis in axes), *(2 + 2 * axis for axis in axes), -1)
        blocks = blocks.permute(order).reshape(n * math.prod(sizes), math.prod(strides) * k)
        kernel = weight.movedim(1, -1).reshape(c, -1)
        dx = (blocks @ kernel.t()).view(n, *sizes, c).movedim(-1, 1)
        dw = (x.movedim(1, -1).reshape(-1, c).t() @ blocks).view(c, *strides, k).movedim(-1, 1)
        return dx, dw.contiguous()
