"""Transposed convolutions whose steps are as long as their kernels, as products: no two of them overlap.

Each voxel becomes a block by a linear map of its features, which is a convolution of one voxel and a reordering.
Libraries that lack the transposed convolution in 3D, such as onnxruntime on WebGPU, have these.
"""

from __future__ import annotations

import math
from typing import TypeGuard

import torch
from torch import Tensor, nn


class BlockUpsampling(nn.Module):
    """Computes what a transposed convolution does, (N, C, *S) -> (N, K, *S times the steps).

    Args:
        of: the transposed convolution; its kernel is as long as its steps, and nothing is padded.
    """

    def __init__(self, of: nn.ConvTranspose2d | nn.ConvTranspose3d) -> None:
        super().__init__()
        self.steps = tuple(of.stride)
        self.features = of.out_channels
        block = math.prod(self.steps)
        axes = len(self.steps)
        plain = nn.Conv3d if isinstance(of, nn.ConvTranspose3d) else nn.Conv2d
        self.products = plain(of.in_channels, block * self.features, 1, bias=of.bias is not None)
        with torch.no_grad():
            weight = of.weight.flatten(2).permute(2, 1, 0)
            self.products.weight.copy_(weight.reshape(block * self.features, of.in_channels, *(1,) * axes))
            if of.bias is not None and self.products.bias is not None:
                self.products.bias.copy_(of.bias.repeat(block))

    def forward(self, features: Tensor) -> Tensor:
        size, axes = features.shape[2:], len(self.steps)
        blocks = self.products(features).reshape(-1, *self.steps, self.features, *size)
        # Each axis' place in the block comes behind the block's own place along it.
        order = [0, axes + 1]
        for axis in range(axes):
            order += [axes + 2 + axis, 1 + axis]
        sizes = [count * step for count, step in zip(size, self.steps, strict=True)]
        return blocks.permute(*order).reshape(-1, self.features, *sizes)


def with_block_upsampling(network: nn.Module) -> nn.Module:
    """The network with every such transposed convolution replaced, in place."""
    for name, part in network.named_children():
        if _is_blockwise(part):
            setattr(network, name, BlockUpsampling(part))
        else:
            with_block_upsampling(part)
    return network


def _is_blockwise(part: nn.Module) -> TypeGuard[nn.ConvTranspose2d | nn.ConvTranspose3d]:
    if not isinstance(part, nn.ConvTranspose2d | nn.ConvTranspose3d):
        return False
    plain = not any(part.padding) and not any(part.output_padding) and part.groups == 1
    return plain and part.kernel_size == part.stride and set(part.dilation) == {1}
