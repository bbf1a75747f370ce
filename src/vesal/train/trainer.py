"""The training loop, top to bottom: set up, step, validate, save."""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from vesal.augment.policy import Policy
from vesal.errors import UsageError, unknown_name
from vesal.infer.model import Model
from vesal.nn.cpu.instance_norm import keep_memory
from vesal.nn.cpu.threads import ThreadPace
from vesal.nn.losses.losses import LOSSES, LOSSES_ELSEWHERE, Loss, build_loss
from vesal.nn.model_file import Package, save_package
from vesal.nn.zoo import build_network, require
from vesal.planning.plan import Plan
from vesal.preprocessing.patches import PatchSampler
from vesal.train.batches import Batch, BatchMaker, cases_on_device, prefetched
from vesal.train.checkpoint import Position, Trained, has_checkpoint, resume_checkpoint
from vesal.train.distributed import passes_each
from vesal.train.interrupt import StopRequest
from vesal.train.logs.loss_meter import LossMeter
from vesal.train.logs.rows import Row, memory_mb
from vesal.train.logs.training_dice import TrainingDice, is_logged
from vesal.train.logs.training_logs import TrainingLogs
from vesal.train.objective import Objective, to_train, wants_compiling
from vesal.train.optimizers import build_optimizer
from vesal.train.precision import Precision, kernels, memory_format
from vesal.train.recipe import TrainConfig
from vesal.train.sample_threads import SampleThreads
from vesal.train.schedule import Clock, WeightAverage, learning_rate
from vesal.train.state import State, TrainJob
from vesal.train.validation import measure, spread, summarise


def train(job: TrainJob, *, resume: bool = False, quiet: bool = False) -> Position:
    """Train one fold, or go on with it.

    The best validated weights are in `job.model_file` when it returns; where there is nothing to validate
    on, or the file of a finished fold is gone, the last. Ctrl-C and SIGTERM end it after the step in flight
    with checkpoint and model written, and `finished` false.

    Raises:
        UsageError: the monitored quantity is of a class that the data set does not have.
        VesalError: the loss stays not finite, or the checkpoint belongs to another configuration.
    """
    config = job.config
    check_plan(config, job.plan)
    torch.manual_seed(config.seed)
    if job.device.type == "cpu":
        keep_memory()
    with ExitStack() as stack:
        stack.enter_context(kernels(job.device, deterministic=config.deterministic))
        sampler = PatchSampler(
            job.train,
            job.plan,
            foreground_share=config.foreground_share,
            seed=config.seed,
            elsewhere=job.elsewhere,
        )
        precision = Precision.of(config, job.device)
        notes: list[str] = []
        state = _set_up(job, sampler, precision, resume=resume, tell=notes.append)
        position = state.position
        if position.finished and (state.progress >= 1.0 or state.ended_early):
            if not job.model_file.exists():
                _ship(state)  # somebody removed it; the last weights are all that is left
            return position
        logs = _open_logs(job, position.step, quiet, stack)
        for note in notes:
            logs.say(note)
        logs.text.say(f"{job.title}: {'begins' if not position.step else 'goes on'} at step {position.step}")
        stop = stack.enter_context(StopRequest())
        maker = BatchMaker(
            sampler,
            Policy(job.plan, config.augment),
            job.device,
            seed=config.seed,
            accumulation=config.accumulation,
            device_cache=cases_on_device(sampler, job.device, config.device_cache, logs.say),
            memory_format=memory_format(config, job.plan.dimension, job.device),
        )
        first = position.step * config.accumulation + job.team.rank
        batches = stack.enter_context(prefetched(maker, first, job.team.size))
        if position.step == 0:
            patch = torch.zeros(1, job.plan.inputs, *job.plan.patch, device=job.device)
            logs.board.graph(state.trained.network, patch)
        _run(state, batches, logs, stop, precision)
        end = "ended" if position.finished else "was stopped"
        logs.text.say(f"{job.title}: {end} at step {position.step}, best at step {position.best_step}")
        return position


def _open_logs(job: TrainJob, step: int, quiet: bool, stack: ExitStack) -> TrainingLogs:
    """The logs of a training; of several processes those of all but the first go nowhere."""
    folder = job.folder
    if not job.team.leads:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vesal-logs-")))
    return TrainingLogs.open(
        folder, job.title, resume_step=step, quiet=quiet or not job.team.leads, stack=stack
    )


def check_names(config: TrainConfig) -> None:
    """Find out before the data are read whether network and loss are there.

    Raises:
        UsageError: one is not, or needs an extra that is not installed.
    """
    require(config.network)
    if config.loss not in LOSSES:
        raise unknown_name("loss", config.loss, LOSSES, LOSSES_ELSEWHERE)


def check_plan(config: TrainConfig, plan: Plan) -> None:
    """Find out before the preparation whether network, loss and monitored quantity go with the plan.

    Raises:
        UsageError: one of them does not.
    """
    with torch.device("meta"):
        build_network(config.network, plan, checkpointing=config.gradient_checkpointing)
    build_loss(config.loss, plan, config.loss_options)
    if config.augment.enabled and config.augment.drop_channels > 0 and len(plan.channels) < 2:
        raise UsageError(
            f"augment.drop_channels is for scans of several channels, and these have one ({plan.channels[0]}); "
            "leave it out."
        )
    _, _, name = config.monitor.partition("/")
    if name and name not in plan.labels.classes:
        raise unknown_name("class to monitor", name, plan.labels.classes)


def untrained(
    plan: Plan,
    config: TrainConfig,
    device: torch.device,
    precision: Precision,
    weights: Mapping[str, Tensor] | None = None,
    frozen: Collection[str] = (),
) -> Trained:
    """What a training begins with, on its device.

    `weights` take the place of those that are drawn; those with the names in `frozen` are not trained.
    """
    network = build_network(config.network, plan, checkpointing=config.gradient_checkpointing)
    network.load_state_dict(weights or {}, strict=False)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
    network = network.to(device)
    if (layout := memory_format(config, plan.dimension, device)) is not None:
        network = network.to(memory_format=layout)  # type: ignore[call-overload]
    average = None if config.ema is None else WeightAverage(network, config.ema)
    return Trained(network, build_optimizer(network, config), average, precision.scaler)


def _set_up(
    job: TrainJob, sampler: PatchSampler, precision: Precision, *, resume: bool, tell: Callable[[str], None]
) -> State:
    config = job.config
    trained = untrained(job.plan, config, job.device, precision, job.weights, job.frozen)
    position = Position()
    if resume and has_checkpoint(job.checkpoint):
        position = resume_checkpoint(job.checkpoint, trained, tell)
    passes_each(job.team, config.accumulation)
    job.team.same(trained.network)
    if trained.average is not None:
        job.team.same(trained.average.network)
    epoch_steps = config.epoch_steps or sampler.steps_per_epoch / config.accumulation
    steps = config.steps
    if config.epochs is not None:
        steps = max(1, math.ceil(config.epochs * epoch_steps))
    state = State(job, trained, position, steps, epoch_steps)
    # A prolonged run stands at a smaller share of its new length.
    position.validated_at = min(position.validated_at, state.progress)
    return state


def _run(
    state: State, batches: Iterator[Batch], logs: TrainingLogs, stop: StopRequest, precision: Precision
) -> None:
    """Steps until the run's length, a signal, early stopping or a target ends it."""
    job, position = state.job, state.position
    loss = build_loss(job.config.loss, job.plan, job.config.loss_options)
    network = state.trained.network
    threads = SampleThreads.fitting(network, job.config, precision, job.plan.batch, job.plan.dimension)
    objective = Objective(network, loss, precision, threads)
    pace = ThreadPace(1 if threads or job.config.deterministic or job.device.type != "cpu" else None)
    if wants_compiling(job.config, state.steps, job.device):
        first = next(batches)
        batches = itertools.chain([first], batches)
        graphs = job.config.compile == "graphs" and job.config.accumulation == 1
        logs.say(objective.compile(first, graphs=graphs))
    loss_meter = LossMeter.on(job.device, position, job.config.lr)
    dice = TrainingDice(job.plan.labels)
    while not (stopping := state.agree(stop.requested)) and state.progress < 1.0:
        sampled = is_logged(position.step + 1) or position.step + 1 == state.steps
        with pace.step():
            loss_meter.add(take_step(state, batches, objective, precision, dice if sampled else None))
        if sampled or state.progress >= 1.0:
            logs.row(_step_row(state, loss_meter, dice))
        logs.console.progress(state.progress, position.step)
        if job.validation and state.validation_due:
            loss_meter.read()
            _validate(state, logs, loss)
            if state.ended_early:
                break
        if time.monotonic() - state.saved_at >= job.config.checkpoint_s:
            loss_meter.read()
            if not loss_meter.bad:
                state.save()
    loss_meter.read()
    if job.validation and state.progress >= 1.0 and position.validated_at < 1.0:
        # The last step's own saving took the run past its budget.
        _validate(state, logs, loss)
    position.finished = not stopping
    if not job.validation or not job.model_file.exists():
        _ship(state)
    state.save()


def _step_row(state: State, loss_meter: LossMeter, dice: TrainingDice) -> Row:
    return {
        "step": state.position.step,
        "time_s": round(state.elapsed_s, 3),
        "progress": round(state.progress, 5),
        "epoch": round(state.epoch, 4),
        "train_loss": loss_meter.mean(),
        **dice.read(),
        "lr": state.trained.optimizer.param_groups[0]["lr"],
        **memory_mb(state.job.device),
    }


def take_step(
    state: State,
    batches: Iterator[Batch],
    objective: Objective,
    precision: Precision,
    dice: TrainingDice | None = None,
) -> Tensor:
    """Train on `accumulation` batches, without a look at a number that a GPU is still computing.

    Of several processes each takes its share of the batches.

    `dice` takes in the last of them.

    Returns:
        The mean loss, () float32 on the device. It is not finite where loss or gradients were not; weights and
        optimizer are then as they were.
    """
    position, trained, config = state.position, state.trained, state.job.config
    rate = learning_rate(config, Clock(state.progress, state.epoch, position.reductions))
    for group in trained.optimizer.param_groups:
        group["lr"] = rate
    to_train(trained.network)
    trained.optimizer.zero_grad(set_to_none=True)
    losses = []
    passes = passes_each(state.job.team, config.accumulation)
    for number in range(1, passes + 1):
        last = dice if number == passes else None
        losses.append(objective.gradients(next(batches), last, 1 / config.accumulation))
    total = state.job.team.add_up(trained.network, torch.stack(losses).sum())
    position.step += 1
    done = precision.update(trained.optimizer, trained.network, config.clip, total)
    # On a GPU `done` is not known yet: after a step that was left out the average moves a little towards the
    # weights that stayed.
    if trained.average is not None and (done.is_cuda or bool(done)):
        trained.average.update(trained.network, position.step)
    return torch.where(done, total, math.nan)


def _validate(state: State, logs: TrainingLogs, loss: Loss) -> None:
    """Validate, remember, and ship the weights when they are the best so far."""
    job, position, config = state.job, state.position, state.job.config
    # The first one measures what the time buys.
    allowed = None if position.validation_cases or config.deterministic else state.validation_allowance
    count = position.validation_cases or len(job.validation)
    model = Model(job.plan, (state.shipped.eval(),), job.device)
    began = time.monotonic()
    cases = job.team.own(spread(job.validation)[:count])
    own = measure(model, cases, loss=loss, overlap=config.overlap, allowed=allowed)
    # The pictures stay where they are.
    others = job.team.gather((replace(own, example=None), time.monotonic() - began))
    result = summarise([own if rank == job.team.rank else of for rank, (of, _) in enumerate(others)])
    took_s = max(seconds for _, seconds in others)
    position.validation_s = (position.validation_s[0] + took_s, took_s)
    position.validation_cases = result.cases
    position.validated_at, position.validated_epoch = state.progress, state.epoch
    logs.row(
        {
            "step": position.step,
            "time_s": round(state.elapsed_s, 3),
            "epoch": round(state.epoch, 4),
            "val_dice": result.dice,
            "val_dice_per_class": result.per_class,
            "val_loss": result.loss,
            "val_cases": result.cases,
        }
    )
    if state.judge(result) or not job.model_file.exists():
        _ship(state)
    state.save()
    if result.example is not None and job.draw is not None:
        last = state.progress >= 1.0 or state.ended_early
        logs.board.example(partial(job.draw, result.example, job.plan.labels), position.step, last=last)


def _ship(state: State) -> None:
    """Write the model file; of several processes the first does."""
    if not state.job.team.leads:
        return
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
            locator_weights=None if job.locator_weights is None else dict(job.locator_weights),
            scores=None,
        ),
    )
