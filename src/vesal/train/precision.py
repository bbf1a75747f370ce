"""The arithmetic of training: autocast, the gradient scaler of float16, the optimizer's step, the GPU's kernels."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vesal.nn.cpu.bfloat16 import computes_bfloat16
from vesal.nn.zoo import is_own
from vesal.train.recipe import TrainConfig

_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


class Precision:
    """Autocast and gradient scaling for the device: weights, their updates, sums of norms and the loss stay float32.

    Args:
        name: 32, bf16, 16, or auto: bf16 where the device computes it by itself, else 32.
        device: of the training.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        if name == "auto":
            name = "bf16" if _has_bfloat16(device) else "32"
        self.device = device.type
        self.dtype = {"bf16": torch.bfloat16, "16": torch.float16}.get(name, torch.float32)
        scaled = self.dtype is torch.float16 and device.type == "cuda"
        self.scaler = torch.amp.GradScaler(device.type, enabled=scaled)

    @classmethod
    def of(cls, config: TrainConfig, device: torch.device) -> Precision:
        """As a configuration chooses it; auto takes bf16 on a CPU for our own networks alone.

        Others' convolutions lack what `vesal.nn.cpu.convolution` does against a mistake of oneDNN's.
        """
        name: str = config.precision
        if name == "auto" and device.type == "cpu" and not is_own(config.network):
            name = "32"
        return cls(name, device)

    def forward(self) -> contextlib.AbstractContextManager[Any]:
        """The context of the forward pass."""
        narrow = self.dtype is not torch.float32
        return torch.autocast(self.device, dtype=self.dtype if narrow else None, enabled=narrow)

    def backward(self, loss: Tensor) -> None:
        """Gradients of the (scaled) loss."""
        self.scaler.scale(loss).backward()

    def update(
        self,
        optimizer: torch.optim.Optimizer,
        network: nn.Module,
        clip: float | None,
        loss: Tensor | None = None,
    ) -> Tensor:
        """Clip and step.

        Args:
            optimizer, network: of the gradients.
            clip: largest norm of the gradient; None does not clip.
            loss: () on the device; one that is not finite is not stepped on.

        Returns:
            () bool on the device: false where loss or gradients were not finite and nothing was changed. With a
            gradient scaler, which leaves out such steps itself and learns from them, the loss alone decides.
        """
        self.scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(network.parameters(), clip or math.inf, foreach=True)
        sound = torch.isfinite(norm if loss is None else loss)
        if self.scaler.is_enabled():
            self.scaler.step(optimizer)
            self.scaler.update()
            return sound
        sound = sound & norm.isfinite()
        step_where(optimizer, sound, wait=self.device != "cuda")
        return sound


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and computes_bfloat16()


def step_where(optimizer: torch.optim.Optimizer, sound: Tensor, *, wait: bool) -> None:
    """Step if `sound`, () bool on the device; else leave weights and optimizer as they are.

    Args:
        optimizer: with gradients in its parameters.
        sound: whether to.
        wait: look at it first. Without it a fused optimizer's kernel looks, as it does for gradient scalers, and
            the CPU goes on; others, and the first step, which makes the optimizer's buffers, are waited for anyway.
    """
    if wait or not optimizer.state or not getattr(optimizer, "_step_supports_amp_scaling", False):
        if bool(sound):
            optimizer.step()
        return
    optimizer.found_inf = (~sound).float()  # type: ignore[attr-defined]
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf  # type: ignore[attr-defined]


def memory_format(config: TrainConfig, dimension: int, device: torch.device) -> torch.memory_format | None:
    """In which network and images are kept; None as they come. (On a CPU the network sees to it itself.)"""
    wanted = config.channels_last is not False and device.type == "cuda"
    return _LAST[dimension] if wanted else None


@contextlib.contextmanager
def kernels(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """Inside the block: bitwise repeatable kernels, if wanted; else on a GPU the fastest for the patch's size."""
    if deterministic:
        # CUDA's matrix products are repeatable only with a workspace of their own, chosen before the first.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = torch.are_deterministic_algorithms_enabled(), cudnn.benchmark, matmul.allow_tf32
    torch.use_deterministic_algorithms(deterministic or before[0])
    if device.type == "cuda":
        # Patches are all of one size, so trying what cuDNN has pays. Its convolutions use TensorFloat-32 anyway.
        cudnn.benchmark, matmul.allow_tf32 = not deterministic, True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        if device.type == "cuda":
            cudnn.benchmark, matmul.allow_tf32 = before[1:]
