"""The training loop, top to bottom: set up, step, validate, save."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vesal.augment.policy import Policy, default_policy
from vesal.data.patches import PatchSampler
from vesal.data.plan import Plan
from vesal.data.prepare import PreparedCase
from vesal.errors import VesalError
from vesal.infer.predictor import Model
from vesal.nn.cpu import keep_memory
from vesal.nn.losses import build_loss
from vesal.nn.package import Package, save_package
from vesal.nn.zoo import build_network
from vesal.train.checkpoint import Position, load_checkpoint, save_checkpoint
from vesal.train.log import Console, JsonLines, Listener, Row, TensorBoard, memory_mb
from vesal.train.recipe import TrainConfig
from vesal.train.schedule import WeightAverage, build_optimizer, learning_rate
from vesal.train.signals import StopSignals
from vesal.train.validation import spread, validate

_LOG_STEPS = 10
_MOST_BAD_LOSSES = 20


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
    """

    plan: Plan
    config: TrainConfig
    train: list[PreparedCase]
    validation: list[PreparedCase]
    folder: Path
    device: torch.device
    title: str
    provenance: dict[str, Any]

    @property
    def checkpoint(self) -> Path:
        """The file that a resumed run starts from."""
        return self.folder / "last.ckpt"

    @property
    def model_file(self) -> Path:
        """The best model so far."""
        return self.folder / "model.vesal"


@dataclass
class _State:
    """What changes from step to step."""

    job: TrainJob
    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None
    position: Position
    steps: int | None
    session_began: float
    elapsed_before: float
    saved_at: float = 0.0
    session_began_at: float = 0.0  # progress at which this session began

    @property
    def elapsed_s(self) -> float:
        return self.elapsed_before + time.monotonic() - self.session_began

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0..1."""
        if self.steps is not None:
            return min(1.0, self.position.step / self.steps)
        assert self.job.config.budget_s is not None
        return min(1.0, self.elapsed_s / self.job.config.budget_s)

    @property
    def out_of_patience(self) -> bool:
        """Whether early stopping ends the run."""
        patience = self.job.config.early_stopping
        return patience is not None and self.position.stale >= patience

    @property
    def shipped(self) -> nn.Module:
        """The network that validates and ships."""
        return self.network if self.average is None else self.average.network

    def save(self) -> None:
        position = replace(self.position, elapsed_s=self.elapsed_s)
        if self.job.config.deterministic:
            # The clock differs from run to run, and a run of steps does not need it.
            position = replace(position, elapsed_s=0.0)
        save_checkpoint(self.job.checkpoint, position, self.network, self.optimizer, self.average)
        self.saved_at = time.monotonic()


def train(job: TrainJob, *, resume: bool = False, quiet: bool = False) -> Position:
    """Train one fold, or go on with it.

    The best validated weights are in `job.model_file` when it returns; where there is nothing to validate
    on, the last. Ctrl-C and SIGTERM end it after the step in flight with checkpoint and model written, and
    `finished` false.

    Raises:
        VesalError: the loss stays not finite, or the checkpoint belongs to another configuration.
    """
    torch.manual_seed(job.config.seed)
    if job.device.type == "cpu":
        keep_memory()
    with ExitStack() as stack:
        stack.enter_context(_deterministic(job.config.deterministic))
        sampler = PatchSampler(
            job.train,
            job.plan,
            batch=job.config.batch,
            foreground_share=job.config.foreground_share,
            seed=job.config.seed,
        )
        state = _set_up(job, sampler, resume=resume)
        if state.position.finished and (state.progress >= 1.0 or state.out_of_patience):
            return state.position
        listeners: list[Listener] = [
            JsonLines(job.folder / "metrics.jsonl", resume_step=state.position.step),
            TensorBoard(job.folder / "tensorboard", resume_step=state.position.step),
        ]
        for listener in listeners:
            stack.callback(listener.close)
        console = stack.enter_context(Console(job.title, quiet=quiet))
        stop = stack.enter_context(StopSignals())
        batches = stack.enter_context(_prefetched(sampler, state.position.step * job.config.accumulation))
        _run(state, batches, [*listeners, console], console, stop)
        return state.position


def _set_up(job: TrainJob, sampler: PatchSampler, *, resume: bool) -> _State:
    network = build_network(job.config.network, job.plan).to(job.device)
    optimizer = build_optimizer(network, job.config)
    average = None if job.config.ema is None else WeightAverage(network, job.config.ema)
    position = Position()
    if resume and job.checkpoint.exists():
        position = load_checkpoint(job.checkpoint, network, optimizer, average)
    steps = job.config.steps
    if job.config.epochs is not None:
        steps = max(1, math.ceil(job.config.epochs * sampler.steps_per_epoch / job.config.accumulation))
    state = _State(job, network, optimizer, average, position, steps, time.monotonic(), position.elapsed_s)
    state.saved_at = time.monotonic()
    state.session_began_at = state.progress
    # A prolonged run stands at a smaller share of its new length.
    position.validated_at = min(position.validated_at, state.progress)
    return state


def _run(
    state: _State,
    batches: Iterator[tuple[Tensor, Tensor]],
    listeners: list[Listener],
    console: Console,
    stop: StopSignals,
) -> None:
    """Steps until the run's length, a signal, or early stopping ends it."""
    job, position = state.job, state.position
    policy = default_policy(job.plan, job.config.augment)
    loss = build_loss(job.config.loss, job.plan)
    precision = _Precision(job.config.precision, job.device)
    losses: list[float] = []
    bad = 0
    while state.progress < 1.0 and not stop.requested:
        value = _step(state, batches, policy, loss, precision)
        bad = bad + 1 if not math.isfinite(value) else 0
        if bad >= _MOST_BAD_LOSSES:
            raise VesalError(
                f"The loss has not been a finite number for {bad} steps (step {position.step}); "
                f"lower the learning rate, such as --set lr={job.config.lr / 10:g}."
            )
        losses.append(value)
        if position.step % _LOG_STEPS == 0 or state.progress >= 1.0:
            _tell(listeners, _training_row(state, losses))
            losses = []
        console.progress(state.progress)
        if job.validation and _validation_due(state):
            _validate(state, listeners)
            if state.out_of_patience:
                break
        if time.monotonic() - state.saved_at >= job.config.checkpoint_s and not bad:
            state.save()
    if job.validation and state.progress >= 1.0 and position.validated_at < 1.0:
        # The last step's own saving took the run past its budget.
        _validate(state, listeners)
    position.finished = not stop.requested
    if not job.validation or not job.model_file.exists():
        _ship(state)
    state.save()


def _step(
    state: _State,
    batches: Iterator[tuple[Tensor, Tensor]],
    policy: Policy,
    loss: Any,
    precision: _Precision,
) -> float:
    """One optimizer step over `accumulation` batches; the mean loss. A loss that is not finite changes nothing."""
    config, device, position = state.job.config, state.job.device, state.position
    rate = learning_rate(config, state.progress)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.network.train()
    state.optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for part in range(config.accumulation):
        image, label = next(batches)
        image, label = image.to(device, non_blocking=True), label.to(device, non_blocking=True)
        generator = _generator(config.seed, position.step, part)
        parameters = policy.draw(image.shape[0], tuple(image.shape[2:]), generator)
        image, label = policy.apply(image, label, parameters)
        with precision.forward():
            value = loss(state.network(image), label) / config.accumulation
        precision.backward(value)
        total += float(value.detach())
    position.step += 1
    if not math.isfinite(total):
        return total
    if not precision.update(state.optimizer, state.network, config.clip):
        return math.nan
    if state.average is not None:
        state.average.update(state.network, position.step)
    return total


def _validation_due(state: _State) -> bool:
    if state.progress >= 1.0:
        return True
    return state.progress - state.position.validated_at >= state.job.config.validate_every


def _validate(state: _State, listeners: list[Listener]) -> None:
    """Validate, remember, and ship the weights when they are the best so far."""
    job, position = state.job, state.position
    allowed_s = None
    if not position.validation_cases and not job.config.deterministic:
        # The whole run's allowance, shared among its validations; the first one measures what that buys.
        gained = max(1e-6, state.progress - state.session_began_at)
        run_s = job.config.budget_s or (time.monotonic() - state.session_began) / gained
        allowed_s = run_s * job.config.validation_time * job.config.validate_every
    count = position.validation_cases or len(job.validation)
    model = Model(job.plan, (state.shipped.eval(),), job.device)
    result = validate(model, spread(job.validation)[:count], allowed_s=allowed_s)
    position.validation_cases = result.cases
    position.validated_at = state.progress
    improved = result.dice is not None and (position.best_dice is None or result.dice > position.best_dice)
    # Of equals the later: where the held-out cases are empty, so that no Dice tells, the first must not win.
    better = improved or result.dice is None or result.dice == position.best_dice
    position.stale = 0 if improved else position.stale + 1
    if better:
        position.best_dice = result.dice if result.dice is not None else position.best_dice
        position.best_step = position.step
    _tell(
        listeners,
        {
            "step": position.step,
            "time_s": round(state.elapsed_s, 3),
            "val_dice": result.dice,
            "val_dice_per_class": result.per_class,
            "val_cases": result.cases,
        },
    )
    if better or not job.model_file.exists():
        _ship(state)
    state.save()


def _ship(state: _State) -> None:
    """Write the model file."""
    weights = {name: tensor.detach().cpu() for name, tensor in state.shipped.state_dict().items()}
    job = state.job
    save_package(
        job.model_file,
        Package(
            plan=job.plan,
            network=job.config.network,
            recipe=job.config.model_dump(mode="json"),
            provenance={**job.provenance, "step": state.position.step},
            weights=weights,
            scores=None,
        ),
    )


def _training_row(state: _State, losses: list[float]) -> Row:
    return {
        "step": state.position.step,
        "time_s": round(state.elapsed_s, 3),
        "progress": round(state.progress, 5),
        "train_loss": float(np.mean(losses)),
        "lr": state.optimizer.param_groups[0]["lr"],
        "memory_mb": round(memory_mb(state.job.device), 1),
    }


def _tell(listeners: list[Listener], row: Row) -> None:
    for listener in listeners:
        listener.row(row)


class _Precision:
    """Autocast and gradient scaling for the device."""

    def __init__(self, name: str, device: torch.device) -> None:
        if name == "auto":
            name = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "32"
        self._device = device.type
        self._dtype = {"bf16": torch.bfloat16, "16": torch.float16}.get(name)
        scaled = self._dtype is torch.float16 and device.type == "cuda"
        self._scaler = torch.amp.GradScaler(device.type, enabled=scaled)

    def forward(self) -> contextlib.AbstractContextManager[Any]:
        """The context of the forward pass."""
        return torch.autocast(self._device, dtype=self._dtype, enabled=self._dtype is not None)

    def backward(self, loss: Tensor) -> None:
        """Gradients of the (scaled) loss."""
        self._scaler.scale(loss).backward()

    def update(self, optimizer: torch.optim.Optimizer, network: nn.Module, clip: float | None) -> bool:
        """Clip and step; false when the gradients were not finite and nothing was changed."""
        self._scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(network.parameters(), clip or math.inf, foreach=True)
        finite = bool(norm.isfinite())
        if finite or self._scaler.is_enabled():
            # A scaler skips such a step itself, and learns from it.
            self._scaler.step(optimizer)
            self._scaler.update()
        return finite or self._scaler.is_enabled()


@contextmanager
def _prefetched(sampler: PatchSampler, first: int) -> Iterator[Iterator[tuple[Tensor, Tensor]]]:
    """Batches from number `first` on, two ahead of their use, cut by a thread of their own."""

    def cut(number: int) -> tuple[Tensor, Tensor]:
        image, label = sampler.batch(number)
        return torch.from_numpy(image), torch.from_numpy(label)

    with ThreadPoolExecutor(1) as pool:

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            ahead: list[Future[tuple[Tensor, Tensor]]] = [pool.submit(cut, first + i) for i in range(2)]
            number = first + 2
            while True:
                ready = ahead.pop(0).result()
                ahead.append(pool.submit(cut, number))
                number += 1
                yield ready

        yield batches()


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    """Bitwise repeatable kernels inside the block, if wanted."""
    if wanted:
        # CUDA's matrix products are repeatable only with a workspace of their own, chosen before the first.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _generator(seed: int, step: int, part: int) -> torch.Generator:
    """The randomness of one batch's augmentation: a function of seed and place in the run."""
    state = np.random.SeedSequence([seed, step, part]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
