"""One step of the optimizer, without a look at a number that a GPU is still computing."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from vesal.train.batches import Batch
from vesal.train.objective import Objective
from vesal.train.precision import Precision
from vesal.train.schedule import learning_rate
from vesal.train.state import State


def take_step(state: State, batches: Iterator[Batch], objective: Objective, precision: Precision) -> Tensor:
    """Train on `accumulation` batches.

    Returns:
        The mean loss, () float32 on the device. It is not finite where loss or gradients were not; weights and
        optimizer are then as they were.
    """
    position, trained, config = state.position, state.trained, state.job.config
    rate = learning_rate(config, state.clock)
    for group in trained.optimizer.param_groups:
        group["lr"] = rate
    trained.network.train()
    trained.optimizer.zero_grad(set_to_none=True)
    losses = []
    for _ in range(config.accumulation):
        value = objective(next(batches)) / config.accumulation
        precision.backward(value)
        losses.append(value.detach())
    total = torch.stack(losses).sum()
    position.step += 1
    done = precision.update(trained.optimizer, trained.network, config.clip, total)
    # On a GPU `done` is not known yet: after a step that was left out the average moves a little towards the
    # weights that stayed.
    if trained.average is not None and (done.is_cuda or bool(done)):
        trained.average.update(trained.network, position.step)
    return torch.where(done, total, math.nan)
