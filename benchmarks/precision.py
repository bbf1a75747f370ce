"""A training step in float32 and in bfloat16, turn about, on the CPU of this machine.

python -m benchmarks.precision PLAN.json ... [--runs 5] [--network unet] [--threads 1]

PLAN.json is a run's plan, such as those in records/. One batch of noise with a bright block, the same for both; a step
goes forwards and backwards and updates the weights. The table gives the medians of processor seconds, which other
work on the machine prolongs less than the clock's, and the losses of the last step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.record import machine, versions
from vesal.nn.cpu.instance_norm import keep_memory
from vesal.nn.losses.losses import build_loss
from vesal.planning.plan import Plan
from vesal.text import times
from vesal.train.precision import Precision
from vesal.train.recipe import TrainConfig
from vesal.train.trainer import untrained

_PRECISIONS = ("32", "bf16")


def training_step(plan: Plan, name: str, network: str) -> Callable[[], float]:
    """A network in training in this precision: each call is a step and gives its loss."""
    torch.manual_seed(0)
    device = torch.device("cpu")
    config = TrainConfig(network=network, precision=name, steps=1000)  # type: ignore[arg-type]
    precision = Precision(name, device)
    trained = untrained(plan, config, device, precision)
    trained.network.train()
    loss_of = build_loss(config.loss, plan, config.loss_options)
    label = torch.zeros(plan.batch, *plan.patch, dtype=torch.uint8)
    label[(slice(None), *(slice(size // 4, size // 2) for size in plan.patch))] = 1
    image = torch.randn(plan.batch, plan.inputs, *plan.patch) + label[:, None]

    def step() -> float:
        trained.optimizer.zero_grad(set_to_none=True)
        with precision.forward():
            loss = loss_of(trained.network(image), label)
        precision.backward(loss)
        precision.update(trained.optimizer, trained.network, config.clip, loss.detach())
        return float(loss.detach())

    return step


def row(file: Path, runs: int, network: str) -> str:
    """Both precisions' steps in turn, as a row of the table."""
    plan = Plan.load(file)
    steps = {name: training_step(plan, name, network) for name in _PRECISIONS}
    took: dict[str, list[float]] = {name: [] for name in _PRECISIONS}
    losses: dict[str, float] = {}
    for number in range(runs + 2):
        for name, step in steps.items():
            began = time.process_time()
            losses[name] = step()
            if number >= 2:  # the first ones take memory and choose kernels
                took[name].append(time.process_time() - began)
    wide, narrow = (statistics.median(took[name]) for name in _PRECISIONS)
    features = " ".join(str(stage.features) for stage in plan.stages)
    what = f"{file.parent.name}, {network}, {plan.batch} x {times(plan.patch)}, {features}"
    numbers = f"{wide:.3f} | {narrow:.3f} | {wide / narrow:.2f} | {losses['32']:.4f} | {losses['bf16']:.4f}"
    return f"| {what} | {numbers} |"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("plans", nargs="+", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--network", default="unet")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    keep_memory()
    print(machine(), versions(), sep="\n")
    print(
        "| plan | float32 (s) | bfloat16 (s) | ratio | loss, float32 | loss, bfloat16 |\n|---|---|---|---|---|---|"
    )
    for file in chosen.plans:
        print(row(file, chosen.runs, chosen.network), flush=True)


if __name__ == "__main__":
    main()
