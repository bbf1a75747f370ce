"""Training steps on a quiet machine and beside a process that spins on one core, by the ways to use its threads.

    python -m benchmarks.busy PLAN.json...

On a machine with at least two cores and nothing else to do. Each way has a process of its own, for how OpenMP waits is
read when torch is loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

from benchmarks.record import machine, versions
from vesal.nn.cpu.instance_norm import keep_memory
from vesal.nn.cpu.threads import ThreadPace
from vesal.nn.losses.losses import build_loss
from vesal.planning.plan import Plan
from vesal.train.batches import Batch
from vesal.train.objective import Objective
from vesal.train.precision import Precision
from vesal.train.recipe import TrainConfig
from vesal.train.sample_threads import SampleThreads
from vesal.train.trainer import untrained

#: Ways by name: environment, threads (0: all), whether Vesal's own choice is made.
WAYS = {
    "torch's threads": ({"GOMP_SPINCOUNT": "300000"}, 0, False),
    "torch's, spinning bounded": ({}, 0, False),
    "one thread": ({}, 1, False),
    "Vesal": ({}, 0, True),
}


def steps(plan: Plan, precision: str, own: bool, count: int) -> list[float]:
    """Seconds of the steps of a network on one made-up batch, after those that settle."""
    keep_memory()
    device, config = torch.device("cpu"), TrainConfig(steps=1)
    arithmetic = Precision(precision, device)
    torch.manual_seed(0)
    network = untrained(plan, config, device, arithmetic).network.train()
    label = torch.zeros(plan.batch, *plan.patch, dtype=torch.uint8)
    label[(slice(None), *(slice(size // 4, -(size // 4)) for size in plan.patch))] = 1
    batch = Batch(torch.randn(plan.batch, plan.inputs, *plan.patch), label, None)
    threads = SampleThreads.fitting(network, config, arithmetic, plan.batch, plan.dimension) if own else None
    objective = Objective(network, build_loss(config.loss, plan, config.loss_options), arithmetic, threads)
    pace = ThreadPace(None if own and threads is None else 1)
    took = []
    for _ in range(count):
        network.zero_grad()
        began = time.perf_counter()
        with pace.step():
            float(objective.gradients(batch))
        took.append(time.perf_counter() - began)
    return took[count // 2 :]


@contextmanager
def spinning(core: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing, as fast as it can, on a core."""
    code = f"import os; os.sched_setaffinity(0, [{core}])\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("plans", nargs="+", type=Path)
    parser.add_argument("--precision", nargs="+", default=["bf16", "32"])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.way:
        if WAYS[chosen.way][1]:
            torch.set_num_threads(WAYS[chosen.way][1])
        print(
            json.dumps(
                steps(Plan.load(chosen.plans[0]), chosen.precision[0], WAYS[chosen.way][2], chosen.steps)
            )
        )
        return
    print(machine(), versions(), sep="\n")
    print("| plan | precision | way | quiet (s) | one core held (s) |\n|---|---|---|---|---|", flush=True)
    core = min(os.sched_getaffinity(0))
    for file in chosen.plans:
        for precision in chosen.precision:
            for way, (environment, _, _) in WAYS.items():
                command = [sys.executable, "-m", "benchmarks.busy", str(file), "--precision", precision]
                command += ["--way", way, "--steps", str(chosen.steps)]
                found = []
                for held in (None, core):
                    with nullcontext() if held is None else spinning(held):
                        done = subprocess.run(
                            command, env=os.environ | environment, capture_output=True, text=True, check=True
                        )
                    found.append(statistics.median(json.loads(done.stdout)))
                print(
                    f"| {file.parent.name} | {precision} | {way} | {found[0]:.3f} | {found[1]:.3f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
