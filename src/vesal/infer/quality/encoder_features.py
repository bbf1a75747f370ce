"""Features of torch's networks: mean and spread of what enters the norms of an encoder."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vesal.nn.cpu.instance_norm import channels_last
from vesal.nn.unet import UNet

#: Channels of one layer that are taken, evenly chosen.
_CHANNELS = 48

_SMALL = 1e-6


def encoder_of(network: Any) -> Callable[[Tensor], NDArray[np.float64]] | None:
    """One window (1, C, *patch) -> (2 F,) features of a network's encoder; None where it is none of `vesal.nn.unet`."""
    if not isinstance(network, UNet):
        return None
    unet = network

    @torch.inference_mode()
    def encoded(window: Tensor) -> NDArray[np.float64]:
        rows: list[Tensor] = []
        with _recording(_blocks(unet), rows):
            x = unet.stem(channels_last(window))
            for pool, stage in zip(unet.pools, unet.encoder, strict=True):
                x = stage(pool(x))
        features: NDArray[np.float64] = torch.cat(rows, dim=1)[0].double().cpu().numpy()
        return features

    return encoded


class WithEncoderFeatures(nn.Module):
    """A network that also gives the features of its encoder, for a graph without torch.

    (N, C, *patch) -> logits (N, K, *patch) and features (N, 2 F).
    """

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rows: list[Tensor] = []
        with _recording(_blocks(self.network), rows):
            logits = self.network(x)
        return logits, torch.cat(rows, dim=1)


def _blocks(network: UNet) -> list[nn.Module]:
    """The first block of each stage, and the last of the last."""
    stages = [list(stage.children()) for stage in network.encoder]
    return [stage[0] for stage in stages] + [stages[-1][-1]]


@contextmanager
def _recording(blocks: Sequence[nn.Module], rows: list[Tensor]) -> Iterator[None]:
    """Record what the first convolution of each block gives to this thread, as long as the context lasts: (N, 2 c),
    mean and log of the spread of c of its channels."""
    here = threading.get_ident()

    def record(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if threading.get_ident() != here:
            return
        count = output.shape[1]
        chosen = torch.linspace(0, count - 1, min(_CHANNELS, count)).round().long()
        channels = output.float()
        if len(chosen) < count:
            channels = channels[:, chosen.to(channels.device)]
        mean, spread = _moments(channels)
        rows.append(torch.cat([mean, (spread + _SMALL).log()], dim=1))

    handles = []
    try:
        for block in dict.fromkeys(blocks):
            first = next(module for module in block.modules() if isinstance(module, nn.Conv2d | nn.Conv3d))
            handles.append(first.register_forward_hook(record))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _moments(channels: Tensor) -> tuple[Tensor, Tensor]:
    """(N, c, *spatial) -> means and standard deviations (N, c)."""
    if not (torch.jit.is_tracing() or torch.compiler.is_compiling()):
        return channels.flatten(2).mean(dim=2), channels.flatten(2).std(dim=2)
    # A graph is computed by libraries that add all voxels up in one float32; axis by axis they keep their digits.
    count = math.prod(channels.shape[2:])
    mean = _mean_by_axes(channels)
    centred = channels - mean.reshape(*mean.shape, *[1] * (channels.ndim - 2))
    return mean, (_mean_by_axes(centred * centred) * (count / (count - 1))).sqrt()


def _mean_by_axes(values: Tensor) -> Tensor:
    for _ in values.shape[2:]:
        values = values.mean(dim=-1)
    return values
