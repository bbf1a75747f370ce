"""The same numbers faster, where the CPU computes.

A training step of a small 3D U-Net (8 to 128 features, 2 patches of 40x56x40) takes about two thirds of the
time with these three, measured beside plain torch 2.13 (oneDNN) on AVX2:

- Channels last in memory. oneDNN then needs no reordering around each convolution.
- Instance norm and activation as one function. Torch's instance norm would leave that layout, and its group
  norm sums squares there without taking the mean off first, which loses digits.
- The weights' gradient of narrow 3D convolutions as a sum of 2D ones, for which oneDNN has a direct kernel.

Tracing, compiling, autocast and other devices take torch's own modules; the weights are the same.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}

# At most so many outputs make a 3D convolution narrow: with 8 the 2D way takes half the time, with 32 the same.
_NARROW = 16

# Columns that a reduction over rows needs to use the whole vector unit.
_COLUMNS = 64


def applies(x: Tensor) -> bool:
    """Whether this file's functions may stand in for torch's modules on `x`."""
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and torch.backends.mkldnn.is_available()
        and not torch.is_autocast_enabled("cpu")
        and not torch.jit.is_tracing()
        and not torch.compiler.is_compiling()
    )


def channels_last(x: Tensor) -> Tensor:
    """`x` (N, C, *spatial) with its channels innermost in memory, where that is faster."""
    # Not contiguous(): of a single channel it changes nothing, and the convolution would not see the layout.
    return x.to(memory_format=_CHANNELS_LAST[x.ndim]) if applies(x) else x


def convolve(conv: nn.Module, x: Tensor) -> Tensor:
    """What `conv(x)` gives, with a faster gradient where it is narrow and in 3D."""
    if (
        isinstance(conv, nn.Conv3d)
        and conv.out_channels <= _NARROW
        and conv.bias is None
        and torch.is_grad_enabled()
        and applies(x)
        and x.is_contiguous(memory_format=torch.channels_last_3d)
    ):
        return _NarrowConvolution.apply(x, conv.weight, conv.stride, conv.padding)
    return conv(x)


def instance_norm_act(x: Tensor, norm: nn.Module, slope: float) -> Tensor:
    """Instance norm with weights, then a leaky ReLU with `slope` >= 0 left of zero (1 leaves it out).

    Equal to `leaky_relu(norm(x), slope)` up to rounding; `x` is (N, C, *spatial).
    """
    return _InstanceNormAct.apply(x, norm.weight, norm.bias, norm.eps, slope)


class _InstanceNormAct(Function):
    """Saves the centred input and the output, which the next convolution saves anyway."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float) -> Tensor:
        rows = _Rows(x)
        flat = rows.of(x)
        centred = flat - rows.spread(rows.mean(flat))
        y = centred * centred
        inverse = torch.rsqrt(rows.mean(y) + eps)  # (N, C): 1 / standard deviation
        torch.addcmul(rows.spread(bias.expand_as(inverse)), centred, rows.spread(inverse * weight), out=y)
        if slope != 1:
            F.leaky_relu_(y, slope)
        ctx.save_for_backward(centred, y, inverse, weight)
        ctx.rows, ctx.slope = rows, slope
        return rows.back(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        centred, y, inverse, weight = ctx.saved_tensors
        rows: _Rows = ctx.rows
        dy = rows.of(gradients[0])
        if ctx.slope != 1:
            dy = torch.ops.aten.leaky_relu_backward(dy, y, ctx.slope, True)
        product = dy * centred
        mean_dy = rows.mean(dy)
        mean_product = rows.mean(product) * inverse  # of dy and the normalised input
        scale = inverse * weight
        torch.addcmul(
            rows.spread(-scale * mean_dy), centred, rows.spread(-scale * inverse * mean_product), out=product
        )
        dx = product.addcmul_(dy, rows.spread(scale))
        return rows.back(dx), rows.voxels * mean_product.sum(0), rows.voxels * mean_dy.sum(0), None, None


class _Rows:
    """(N, C, *spatial) seen as a matrix a sample, so that means and scales of a channel run over whole vectors.

    A row holds the channels of as many neighbouring voxels as fill `_COLUMNS`.
    """

    def __init__(self, x: Tensor) -> None:
        self.shape = x.shape
        self.voxels = x.shape[2:].numel()
        self.fold = max(1, _COLUMNS // x.shape[1])
        while self.voxels % self.fold:
            self.fold //= 2

    def of(self, x: Tensor) -> Tensor:
        """x as (N, rows, columns); without a copy if its channels are last in memory."""
        return x.movedim(1, -1).reshape(self.shape[0], self.voxels // self.fold, self.fold * self.shape[1])

    def back(self, rows: Tensor) -> Tensor:
        """What `of` was given, with its channels last in memory."""
        return rows.view(self.shape[0], *self.shape[2:], self.shape[1]).movedim(-1, 1)

    def mean(self, rows: Tensor) -> Tensor:
        """(N, C) over the voxels."""
        return rows.mean(1).view(self.shape[0], self.fold, self.shape[1]).mean(1)

    def spread(self, values: Tensor) -> Tensor:
        """(N, C) as something to broadcast against what `of` gives."""
        return values.repeat(1, self.fold)[:, None]


class _NarrowConvolution(Function):
    """conv3d whose weight gradient is taken slice by slice.

    The gradient of the kernel's k-th plane is that of a 2D convolution over all pairs of an output slice and
    the input slice that the plane saw. With channels last such slices are a batch without copying.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv3d(x, weight, stride=stride, padding=padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding = ctx.stride, ctx.padding
        dy = gradients[0].contiguous(memory_format=torch.channels_last_3d)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = _gradients(dy, x, weight, stride, padding, (True, False, False))[0]
        dw = torch.zeros_like(weight)
        for plane in range(weight.shape[2]):
            offset = plane - padding[0]  # output slice i saw input slice i * stride + offset
            first = max(0, -(offset // stride[0]))
            last = min(dy.shape[2] - 1, (x.shape[2] - 1 - offset) // stride[0])
            if last < first:
                continue
            seen = slice(first * stride[0] + offset, last * stride[0] + offset + 1, stride[0])
            for sample, gradient in zip(x, dy, strict=True):
                slices = sample.transpose(0, 1)[seen]
                of = gradient.transpose(0, 1)[first : last + 1]
                mask = (False, True, False)
                dw[:, :, plane] += _gradients(of, slices, weight[:, :, plane], stride[1:], padding[1:], mask)[
                    1
                ]
        return dx, dw, None, None


def _gradients(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    mask: tuple[bool, bool, bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Of a convolution's input, weight and bias, as far as `mask` asks for them."""
    ones, zeros = [1] * len(stride), [0] * len(stride)
    return torch.ops.aten.convolution_backward(
        dy, x, weight, None, stride, padding, ones, False, zeros, 1, mask
    )
