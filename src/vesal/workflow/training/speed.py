"""How fast this device trains now: a few training steps, timed; and how much of its memory is free."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from vesal.augment.policy import Policy
from vesal.nn.cpu.instance_norm import keep_memory
from vesal.nn.losses.losses import build_loss
from vesal.parallel import available_memory
from vesal.planning.cost import count_operations
from vesal.planning.patch_size import MEMORY_GB, MEMORY_SHARE, MOST_MEMORY_GB
from vesal.planning.plan import Plan
from vesal.train.batches import Batch
from vesal.train.objective import Objective
from vesal.train.precision import Precision
from vesal.train.recipe import TrainConfig
from vesal.train.sample_threads import SampleThreads
from vesal.train.trainer import untrained

#: Share of the training time that goes into steps; the rest validates (a tenth at most), saves, and waits for patches.
IN_STEPS = 0.9

#: Passes that are not counted: the first takes memory and chooses kernels, on a GPU a few more do.
_WARM = {"cpu": 1, "cuda": 3, "mps": 3}

#: Passes whose median counts.
_COUNTED = 5

#: The slowest of these takes so many times as long as the fastest where other work holds the cores. Beside a process
#: that spins on one of two cores a pass of 0.06 s took 0.9 to 13 s with two threads, 0.11 s with one.
_UNSTEADY = 1.3

#: The least memory that is planned for, and in what steps: a little more or less free shall not change a plan.
_MEMORY_STEP_GB = 0.5


def time_pass(plan: Plan, config: TrainConfig, device: torch.device, limit_s: float) -> float:
    """Train a plan's network for a few steps on made-up patches, and forget it: the median seconds of one batch.

    A step augments, goes forwards and backwards, updates weights and their average, as in training. Patches are
    not cut: training does that ahead in a thread of its own. It changes no global random state. Where other work on a
    CPU makes threads wait for each other, fewer are tried too, as training does (`vesal.nn.cpu.threads`).

    Args:
        plan: whose patch and batch are taken.
        config: network, loss, optimizer, precision and augmentation.
        device: to train on.
        limit_s: no pass but the first is begun where it would probably end after so many seconds.

    Raises:
        RuntimeError: torch could not do it; `vesal.errors.out_of_memory` says whether for want of memory.
        ValueError: the network cannot be trained on patches of this size.
    """
    if device.type == "cpu":
        keep_memory()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        trial, threads = _trial(plan, config, device), torch.get_num_threads()
        found = _timed(trial, _WARM.get(device.type, 1), limit_s)
        pass_s = statistics.median(found)
        held_up = len(found) < _COUNTED or max(found) > _UNSTEADY * min(found)
        if held_up and threads > 1 and device.type == "cpu":
            torch.set_num_threads(threads // 2)
            try:
                pass_s = min(pass_s, statistics.median(_timed(trial, 1, limit_s)))
            finally:
                torch.set_num_threads(threads)
    del trial
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return pass_s


def _timed(trial: Callable[[int], float], warm: int, limit_s: float) -> list[float]:
    """Seconds of the passes that count, or of the last before them where there was no time for more."""
    took: list[float] = []
    began = time.perf_counter()
    while len(took) < warm + _COUNTED:
        # The time of a warm-up pass does not predict the next.
        likely = took[-1] if len(took) > warm else 0.0
        if took and time.perf_counter() - began + likely > limit_s:
            break
        took.append(trial(len(took)))
    return took[warm:] or took[-1:]


def cut_to(plan: Plan, operations: float) -> Plan:
    """The plan with a smaller batch, then smaller patches, until a pass costs no more operations, or nearly so.

    A patch keeps twice the product of its strides along each axis, which every norm needs.
    """
    while count_operations(plan) > operations:
        if plan.batch > 2:
            plan = plan.model_copy(update={"batch": max(2, plan.batch // 2)})
            continue
        strides = plan.total_stride
        counts = [size // step for size, step in zip(plan.patch, strides, strict=True)]
        longest = max(
            (axis for axis in range(len(counts)) if counts[axis] > 2),
            key=plan.patch.__getitem__,
            default=None,
        )
        if longest is None:
            break
        counts[longest] = max(2, counts[longest] // 2)
        patch = tuple(count * step for count, step in zip(counts, strides, strict=True))
        plan = plan.model_copy(update={"patch": patch})
    return plan


def usable_memory_gb(device: torch.device) -> float | None:
    """Memory that a plan may count on: a share of what is free now; None for the planner's constant.

    On a GPU at most `MOST_MEMORY_GB`, on a CPU less than `MEMORY_GB` or None.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        most = MOST_MEMORY_GB
    elif device.type == "cpu":
        free, most = available_memory(), MEMORY_GB
    else:
        return None
    usable = min(most, MEMORY_SHARE * free / 1e9)
    usable = max(_MEMORY_STEP_GB, usable // _MEMORY_STEP_GB * _MEMORY_STEP_GB)
    return None if usable == MEMORY_GB else usable


def _trial(plan: Plan, config: TrainConfig, device: torch.device) -> Callable[[int], float]:
    """A network in training on one made-up batch: number of a pass -> its seconds."""
    precision = Precision.of(config, device)
    trained = untrained(plan, config, device, precision)
    trained.network.train()
    label = torch.zeros(plan.batch, *plan.patch, dtype=torch.uint8)
    label[(slice(None), *(slice(size // 4, -(-3 * size // 4)) for size in plan.patch))] = 1
    policy = Policy(plan, config.augment)
    loss = build_loss(config.loss, plan, config.loss_options)
    threads = SampleThreads.fitting(trained.network, config, precision, plan.batch, plan.dimension)
    objective = Objective(trained.network, loss, precision, threads)
    image = torch.randn(plan.batch, plan.inputs, *plan.patch).to(device)
    label = label.to(device)

    def run(number: int) -> float:
        began = time.perf_counter()
        parameters = policy.draw(plan.batch, plan.patch, torch.Generator().manual_seed(number))
        varied, target = parameters.apply(image, label)
        trained.optimizer.zero_grad(set_to_none=True)
        value = objective.gradients(Batch(varied, target, None))
        precision.update(trained.optimizer, trained.network, config.clip)
        if trained.average is not None:
            trained.average.update(trained.network, number + 1)
        # Its value is there only when the device is done.
        float(value)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter() - began

    return run
