"""Torch's convolutions, computed in the fastest way on a CPU.

Weights, results and names are torch's. What pays was measured with torch 2.13 (oneDNN) on AVX2, channels last:

- Kernels of 3 by `vesal.nn.cpu.winograd`, where it pays; see there.
- Kernels of 1 in 3D as one product of matrices: 32 -> 3 channels forward and backward in 0.23 of the time.
- The gradients of a transposed convolution without overlap likewise: 64 -> 32 channels in 0.33 of the time.
- A small single volume by oneDNN, as a batch is: torch leaves it for a way of its own (8 -> 8 channels of 40 x 56 x 40
  voxels in 66 ms in place of 6).
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

# Samples times channels times depth times height up to which torch (2.13) leaves oneDNN for a single volume.
_SMALL = 20480

_Sizes = tuple[int, ...]


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
    if _needs_float32(module, x):
        with torch.autocast("cpu", enabled=False):
            return module._conv_forward(x.float(), module.weight, module.bias).bfloat16()
    if not cpu.applies(x):
        return None
    y = _by_matrices(module, x) if _plain(module) else None
    if y is None and _is_small_volume(module, x):
        return _of_small_volume(module, x)
    return y


def _by_matrices(module: nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor | None:
    weight, bias = module.weight, module.bias
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


def _is_small_volume(module: nn.Conv2d | nn.Conv3d, x: Tensor) -> bool:
    """One of those for which torch leaves oneDNN."""
    return (
        x.ndim == 5
        and len(x) == 1
        and math.prod(x.shape[:4]) <= _SMALL
        and x.dtype is torch.float32
        and module.groups == 1
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and torch.backends.mkldnn.is_available()
    )


def _of_small_volume(module: nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor:
    weight, bias = module.weight, module.bias
    how: tuple[Any, ...] = module.stride, module.padding, module.dilation
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        y: Tensor = _SmallVolume.apply(x, weight, *how)
    else:
        y = _by_onednn(x, weight, *how)
    return y if bias is None else y + bias.view(-1, 1, 1, 1)


def _by_onednn(x: Tensor, weight: Tensor, stride: _Sizes, padding: _Sizes, dilation: _Sizes) -> Tensor:
    y: Tensor = torch.ops.aten.mkldnn_convolution(x, weight, None, padding, stride, dilation, 1)
    return y


class _SmallVolume(Function):
    """Torch chooses the way of the gradients by the size of the batch; zeros beside the volume make it oneDNN's."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, stride: _Sizes, padding: _Sizes, dilation: _Sizes
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = stride, padding, dilation
        return _by_onednn(x, weight, *ctx.how)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        dy = torch.cat([gradients[0], torch.zeros_like(gradients[0])])
        wanted = [*ctx.needs_input_grad[:2], False]
        dx, dw, _ = torch.ops.aten.convolution_backward(
            dy, torch.cat([x, x]), weight, None, *ctx.how, False, [0, 0, 0], 1, wanted
        )
        return None if dx is None else dx[:1], dw, None, None, None


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
