"""Mixed precision: autocast, the gradient scaler of float16, and the optimizer's step."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import torch
from torch import Tensor, nn


class Precision:
    """Autocast and gradient scaling for the device."""

    def __init__(self, name: str, device: torch.device) -> None:
        if name == "auto":
            name = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "32"
        self._device = device.type
        self._dtype = {"bf16": torch.bfloat16, "16": torch.float16}.get(name)
        scaled = self._dtype is torch.float16 and device.type == "cuda"
        self.scaler = torch.amp.GradScaler(device.type, enabled=scaled)

    def forward(self) -> contextlib.AbstractContextManager[Any]:
        """The context of the forward pass."""
        return torch.autocast(self._device, dtype=self._dtype, enabled=self._dtype is not None)

    def backward(self, loss: Tensor) -> None:
        """Gradients of the (scaled) loss."""
        self.scaler.scale(loss).backward()

    def update(self, optimizer: torch.optim.Optimizer, network: nn.Module, clip: float | None) -> bool:
        """Clip and step; false when the gradients were not finite and nothing was changed."""
        self.scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(network.parameters(), clip or math.inf, foreach=True)
        finite = bool(norm.isfinite())
        if finite or self.scaler.is_enabled():
            # A scaler skips such a step itself, and learns from it.
            self.scaler.step(optimizer)
            self.scaler.update()
        return finite or self.scaler.is_enabled()
