"""Learning rates and the average of the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from vesal.train.recipe import TrainConfig


@dataclass(frozen=True)
class Clock:
    """How far a run is.

    Attributes:
        progress: share of the run, 0 to 1.
        epoch: passes over the cases so far, fractions included.
        reductions: how often a plateau has reduced the learning rate.
    """

    progress: float
    epoch: float = 0.0
    reductions: int = 0


def learning_rate(config: TrainConfig, clock: Clock) -> float:
    """The learning rate now: linear warm-up, then the schedule, never below lr_min.

    >>> config = TrainConfig(lr=0.1, warmup=0.1, steps=100)
    >>> [round(learning_rate(config, Clock(p)), 4) for p in (0.05, 0.1, 1.0)]
    [0.05, 0.1, 0.0]
    """
    schedule = SCHEDULES[config.schedule]
    if config.schedule != "one_cycle" and clock.progress < config.warmup:
        return config.lr * clock.progress / config.warmup
    return max(config.lr_min, schedule(config, clock))


def _restarts(config: TrainConfig, clock: Clock) -> float:
    """Cosine with warm restarts (SGDR, Loshchilov and Hutter, 2017)."""
    epoch, period = clock.epoch, config.lr_period
    if config.lr_growth == 1.0:
        return _between(config.lr_min, config.lr, epoch % period / period)
    while epoch >= period:
        epoch -= period
        period *= config.lr_growth
    return _between(config.lr_min, config.lr, epoch / period)


def _one_cycle(config: TrainConfig, clock: Clock) -> float:
    """Up from lr / 25 and down to lr / 250,000 by cosines (Smith and Topin, 2018, with torch's numbers)."""
    if clock.progress < config.warmup:
        return _between(config.lr / 25, config.lr, 1.0 - clock.progress / config.warmup)
    return _between(config.lr / 250_000, config.lr, _after_warmup(config, clock))


#: Schedules by name: (config, clock) -> learning rate after the warm-up.
SCHEDULES: dict[str, Callable[[TrainConfig, Clock], float]] = {
    "poly": lambda config, clock: config.lr * (1.0 - _after_warmup(config, clock)) ** 0.9,  # nnU-Net's
    "cosine": lambda config, clock: _between(config.lr_min, config.lr, _after_warmup(config, clock)),
    "constant": lambda config, _clock: config.lr,
    "restarts": _restarts,
    "step": lambda config, clock: config.lr * config.lr_factor ** math.floor(clock.epoch / config.lr_period),
    "plateau": lambda config, clock: config.lr * config.lr_factor**clock.reductions,
    "one_cycle": _one_cycle,
}


def _after_warmup(config: TrainConfig, clock: Clock) -> float:
    share = (clock.progress - config.warmup) / (1.0 - config.warmup)
    return min(max(share, 0.0), 1.0)


def _between(low: float, high: float, share: float) -> float:
    """From `high` at share 0 to `low` at share 1 along half a cosine."""
    return low + (high - low) * 0.5 * (1.0 + math.cos(math.pi * share))


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
