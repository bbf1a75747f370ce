"""One fold to train, and where its training stands."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vesal.data.labels import LabelSet
from vesal.planning.plan import Plan
from vesal.preprocessing.cache import PreparedCase
from vesal.run_files import CHECKPOINT, MODEL
from vesal.train.checkpoint import Position, Trained, save_checkpoint
from vesal.train.distributed import ALONE, Team
from vesal.train.recipe import TrainConfig
from vesal.train.schedule import WeightAverage
from vesal.train.validation import ENOUGH_CASES, Allowance, Example, Validation

#: Of all that validations may take: the most of one, however few cases it shows.
_QUARTER = 0.25


@dataclass(frozen=True)
class TrainJob:
    """One fold to train.

    Attributes:
        plan, config: what to train and how.
        train, validation: prepared cases; validation may be empty (train on all).
        folder: takes model.vesal, last.ckpt, metrics.jsonl and tensorboard/.
        device: to train on.
        title: shown beside the progress bar.
        provenance: goes into the model file.
        draw: makes TensorBoard's picture, (height, width, 3) uint8, of a held-out case; without it there is none.
        weights: that it begins with, by their names in the network; others are drawn by chance.
        frozen: names of the weights that are not trained.
        elsewhere: prepared places of the training scans away from the labels, for the fine stage of two.
        locator_weights: of the coarse stage: those that it begins with, and once it is trained those that go into the
            model file beside its own.
        team: the processes that train it together.
    """

    plan: Plan
    config: TrainConfig
    train: list[PreparedCase]
    validation: list[PreparedCase]
    folder: Path
    device: torch.device
    title: str
    provenance: dict[str, Any]
    draw: Callable[[Example, LabelSet], NDArray[np.uint8]] | None = None
    weights: Mapping[str, Tensor] | None = None
    frozen: frozenset[str] = frozenset()
    elsewhere: tuple[PreparedCase, ...] = ()
    locator_weights: Mapping[str, Tensor] | None = None
    team: Team = ALONE

    @property
    def checkpoint(self) -> Path:
        """The file that a resumed run starts from."""
        return self.folder / CHECKPOINT

    @property
    def model_file(self) -> Path:
        """The best model so far."""
        return self.folder / MODEL


@dataclass
class State:
    """What changes from step to step.

    Attributes:
        job: what is trained.
        trained: network, optimizer, average of the weights, gradient scaler.
        position: counters that the checkpoint keeps.
        steps: of the whole run; None where a time budget ends it.
        epoch_steps: optimizer steps of an epoch.
    """

    job: TrainJob
    trained: Trained
    position: Position
    steps: int | None
    epoch_steps: float

    def __post_init__(self) -> None:
        self.session_began = self.saved_at = time.monotonic()
        self._elapsed_before = self.position.elapsed_s
        #: The time that all processes agreed on, where there are several.
        self._agreed_s = self.position.elapsed_s
        #: Progress at which this session began.
        self.session_began_at = self.progress

    @property
    def elapsed_s(self) -> float:
        """Training time over all sessions; of several processes that at the last `agree`."""
        return self._agreed_s if self.job.team.size > 1 else self._own_s

    @property
    def _own_s(self) -> float:
        return self._elapsed_before + time.monotonic() - self.session_began

    def agree(self, stop: bool) -> bool:
        """Whether any process is asked to stop; from here on all of them stand at the same time of the run."""
        self._agreed_s, stop = self.job.team.agree(self._own_s, stop)
        return stop

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0..1."""
        if self.steps is not None:
            return min(1.0, self.position.step / self.steps)
        assert self.job.config.budget_s is not None
        return min(1.0, self.elapsed_s / self.job.config.budget_s)

    @property
    def epoch(self) -> float:
        """Epochs done, fractions included."""
        return self.position.step / self.epoch_steps

    @property
    def ended_early(self) -> bool:
        """Whether early stopping, or a target that was reached, ends the run."""
        patience = self.job.config.early_stopping
        return self.position.reached or (patience is not None and self.position.stale >= patience)

    @property
    def shipped(self) -> nn.Module:
        """The network that validates and ships."""
        average: WeightAverage | None = self.trained.average
        return self.trained.network if average is None else average.network

    @property
    def validation_due(self) -> bool:
        """Whether it is time to validate, and a time budget leaves room for it."""
        config, position = self.job.config, self.position
        if self.progress >= 1.0:
            return True
        if config.validate_epochs is None:
            due = self.progress - position.validated_at >= config.validate_every
        else:
            due = self.epoch - position.validated_epoch >= config.validate_epochs - 1e-9
        if not due or config.budget_s is None:
            return due
        spent, newest = position.validation_s
        # The clock's noise shall not put off validations that fit on the whole.
        return spent + newest <= 1.5 * config.validation_time * self.elapsed_s or spent == 0.0

    @property
    def validation_allowance(self) -> Allowance:
        """What a validation may take of the time that all of the run's may: its share, or more where that shows too few
        cases; then there are fewer validations, but four at least.
        """
        config = self.job.config
        gained = max(1e-6, self.progress - self.session_began_at)
        run_s = config.budget_s or (time.monotonic() - self.session_began) / gained
        share = config.validate_every
        if config.validate_epochs is not None:
            share = min(1.0, config.validate_epochs * self.progress / max(self.epoch, 1e-9))
        all_s = run_s * config.validation_time
        return Allowance(all_s * share, -(-ENOUGH_CASES // self.job.team.size), all_s * max(share, _QUARTER))

    def judge(self, result: Validation) -> bool:
        """Count a validation in; whether its weights shall ship: those that are best, of few cases the newest."""
        config, position = self.job.config, self.position
        value = self._monitored(result)
        improved = value is not None and (
            position.best is None or _better(config.monitor, value, position.best)
        )
        few = config.monitor != "train_loss" and result.cases < ENOUGH_CASES
        # Of equals the later: where held-out cases are empty, so that there is no metric, the first must not win.
        ships = improved or few or value is None or value == position.best
        # A validation that measured nothing, as where no held-out case has the class, speaks neither for nor against.
        position.stale = 0 if improved else position.stale + (value is not None)
        position.waited = 0 if improved else position.waited + (value is not None)
        if config.schedule == "plateau" and position.waited > config.lr_patience:
            position.reductions += 1
            position.waited = 0
        if improved:
            position.best = value
        if ships:
            position.best_step = position.step
        if value is not None and config.target is not None:
            position.reached = value == config.target or _better(config.monitor, value, config.target)
        position.train_losses = (0.0, 0)
        return ships

    def _monitored(self, result: Validation) -> float | None:
        monitor = self.job.config.monitor
        if monitor == "val_loss":
            return result.loss
        if monitor == "train_loss":
            total, count = self.position.train_losses
            return total / count if count else None
        _, _, name = monitor.partition("/")
        return result.per_class[name] if name else result.dice

    def save(self) -> None:
        """Write the checkpoint; of several processes the first does."""
        self.saved_at = time.monotonic()
        if not self.job.team.leads:
            return
        position = replace(self.position, elapsed_s=self.elapsed_s)
        if self.job.config.deterministic:
            # The clock differs from run to run, and a run of steps does not need it.
            position = replace(position, elapsed_s=0.0, validation_s=(0.0, 0.0))
        save_checkpoint(self.job.checkpoint, position, self.trained)
        self.saved_at = time.monotonic()


def _better(monitor: str, value: float, than: float) -> bool:
    if math.isnan(than):
        return not math.isnan(value)
    return value < than if monitor.endswith("loss") else value > than
