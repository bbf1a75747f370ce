"""Optimizers, learning rates and the average of the weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from vesal.errors import unknown_name
from vesal.train.recipe import TrainConfig


def build_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The configured optimizer; vectors (norms, biases) get no weight decay."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, lr=config.lr)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr)
    raise unknown_name("optimizer", config.optimizer, ("adamw", "adam", "sgd"))


def learning_rate(config: TrainConfig, progress: float) -> float:
    """The learning rate at `progress` (0..1) of the run: linear warm-up, then the schedule.

    Poly is (1 - progress) ** 0.9, as nnU-Net has it.

    >>> config = TrainConfig(lr=0.1, warmup=0.1, steps=100)
    >>> [round(learning_rate(config, p), 4) for p in (0.05, 0.1, 1.0)]
    [0.05, 0.1, 0.0]
    """
    if progress < config.warmup:
        return config.lr * progress / config.warmup
    rest = (progress - config.warmup) / (1.0 - config.warmup)
    rest = min(max(rest, 0.0), 1.0)
    if config.schedule == "poly":
        return config.lr * (1.0 - rest) ** 0.9
    if config.schedule == "cosine":
        return config.lr * 0.5 * (1.0 + math.cos(math.pi * rest))
    return config.lr


class WeightAverage:
    """Exponential moving average of a network's weights.

    The decay rises with the steps, min(decay, (1 + t) / (10 + t)), so that a short run is not held back by
    its random start (the rule of TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self._average = [
            tensor for tensor in self.network.state_dict().values() if tensor.is_floating_point()
        ]

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after optimizer step `step` (from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]
        torch._foreach_lerp_(self._average, current, 1.0 - decay)
