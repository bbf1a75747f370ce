"""One training step of nnU-Net's network for hippocampus, in nnU-Net, Vesal and MONAI: a worker of `beside`.

python -m benchmarks.steps SIDE [--loader] [--autocast] --work FOLDER

SIDE is nnunet, vesal or monai; --autocast computes another tool's step in bfloat16, which Vesal chooses by itself. The
batch is ready and stays the same, or with --loader comes from the tool's own loader and augmentation, as in its
training: nnU-Net's in processes of their own, which fill their queue before the clock starts, so that during the step
they make one batch, as they do all through a training.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.nnunet import CONFIGURATION, Workspace, vesal_plan
from benchmarks.processes import descendants, high_water_mb, serve
from benchmarks.weights import without_losing_heads
from vesal.augment.policy import Policy
from vesal.layouts.registry import load_dataset
from vesal.nn.cpu.instance_norm import keep_memory
from vesal.nn.cpu.threads import ThreadPace
from vesal.nn.losses.losses import build_loss
from vesal.nn.zoo import build_network
from vesal.planning.plan import Plan
from vesal.preprocessing.cache import PreparedCase
from vesal.preprocessing.patches import PatchSampler
from vesal.preprocessing.prepare import prepare_dataset
from vesal.train.batches import Batch, BatchMaker, prefetched
from vesal.train.checkpoint import Position, Trained
from vesal.train.objective import Objective
from vesal.train.optimizers import build_optimizer
from vesal.train.precision import Precision
from vesal.train.recipe import TrainConfig
from vesal.train.sample_threads import SampleThreads
from vesal.train.state import State, TrainJob
from vesal.train.trainer import take_step

DATASET = "Dataset004_Hippocampus"

#: Of nnU-Net's plan for the data set's 260 training cases; for a part of them it plans less.
BATCH = 9

#: nnU-Net's optimizer and loss in Vesal's words; the augmentation is Vesal's, which is nnU-Net's by its numbers.
NNUNET_SETTINGS: dict[str, Any] = {
    "optimizer": "sgd", "lr": 1e-2, "momentum": 0.99, "weight_decay": 3e-5, "schedule": "poly", "warmup": 0.0,
    "loss": "dice_ce", "clip": 12.0, "ema": None, "steps": 1000,
}  # fmt: skip

Step = Callable[[], float]


def vesal_step(cases: list[PreparedCase], plan: Plan, folder: Path, *, loader: bool) -> tuple[Step, int]:
    """Vesal's own step, as its training takes it, and how many numbers are learned."""
    keep_memory()
    config = TrainConfig(**NNUNET_SETTINGS)
    device = torch.device("cpu")
    network = build_network(config.network, plan)
    precision = Precision(config.precision, device)
    job = TrainJob(plan, config, cases, [], folder, device, "bench", {})
    trained = Trained(network, build_optimizer(network, config), None, precision.scaler)
    sampler = PatchSampler(cases, plan, foreground_share=config.foreground_share)
    state = State(job, trained, Position(), config.steps, sampler.steps_per_epoch)
    # The samples of a batch side by side, where training does so.
    threads = SampleThreads.fitting(network, config, precision, plan.batch, plan.dimension)
    objective = Objective(network, build_loss(config.loss, plan, config.loss_options), precision, threads)
    pace = ThreadPace(1 if threads else None)
    maker = BatchMaker(sampler, Policy(plan, config.augment), device)
    loading = prefetched(maker, 0)
    batches: Iterator[Batch] = loading.__enter__() if loader else itertools.repeat(maker.cut(0))

    def step() -> float:
        # Named so that the loader lives as long as the step that takes its batches.
        _ = loading
        with pace.step():
            return float(take_step(state, batches, objective, precision))

    return step, sum(parameter.numel() for parameter in network.parameters())


def nnunet_step(
    plans: dict[str, Any], plan: Plan, description: dict[str, Any], *, loader: bool
) -> tuple[Step, int]:
    """nnU-Net's own step."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    plans = {**plans, "continue_training": False}
    teacher = nnUNetTrainer(plans, CONFIGURATION, "all", description, torch.device("cpu"))
    teacher.initialize()
    teacher.dataloader_train, teacher.dataloader_val = teacher.get_dataloaders()
    teacher.network.train()
    learned = without_losing_heads(teacher.network.state_dict(), len(plan.stages), plan.heads)
    if loader:
        return lambda: float(teacher.train_step(next(teacher.dataloader_train))["loss"]), learned
    batch = next(teacher.dataloader_train)
    for made_by in (teacher.dataloader_train, teacher.dataloader_val):
        made_by._finish()
    return lambda: float(teacher.train_step(batch)["loss"]), learned


def dynunet(plan: Plan, *, deep_supervision: bool) -> Any:
    """MONAI's DynUNet with the plan's stages; no biases before its norms, for it has none there."""
    from monai.networks.nets import DynUNet

    return DynUNet(
        3,
        plan.inputs,
        plan.labels.outputs,
        kernel_size=[stage.kernel for stage in plan.stages],
        strides=[stage.stride for stage in plan.stages],
        upsample_kernel_size=[stage.stride for stage in plan.stages[1:]],
        filters=[stage.features for stage in plan.stages],
        deep_supervision=deep_supervision,
        deep_supr_num=max(1, plan.heads - 1),
        trans_bias=True,
    )


def monai_step(cases: list[PreparedCase], plan: Plan) -> tuple[Step, int]:
    """A step with MONAI's network and loss, as its tutorial of DynUNet takes it."""
    from monai.losses import DiceCELoss

    network = dynunet(plan, deep_supervision=plan.heads > 1).train()
    loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=1e-2, momentum=0.99, weight_decay=3e-5, nesterov=True
    )
    image, label = (torch.from_numpy(array) for array in PatchSampler(cases, plan).batch(0))
    target = label[:, None].long()

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        output = network(image)
        outputs = torch.unbind(output, dim=1) if plan.heads > 1 else (output,)
        shares = [0.5**level for level in range(len(outputs))]
        value = sum(share * loss(head, target) for share, head in zip(shares, outputs, strict=True)) / sum(
            shares
        )
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 12.0)
        optimizer.step()
        return float(value.detach())

    return step, sum(parameter.numel() for parameter in network.parameters())


def settle(longest_s: float = 120.0) -> None:
    """Wait until the processes that this one started have nothing left to do."""
    ticks, began = -1.0, time.monotonic()
    while time.monotonic() - began < longest_s:
        spent = sum(map(_ticks, descendants(os.getpid())[1:]))
        if spent - ticks <= 3 and ticks >= 0:
            return
        ticks = spent
        time.sleep(0.5)


def _ticks(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return float(fields[11]) + float(fields[12])
    return 0.0


def main() -> None:
    """Set up, then measure on demand."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("side", choices=("nnunet", "vesal", "monai"))
    parser.add_argument("--loader", action="store_true")
    parser.add_argument("--autocast", action="store_true")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    chosen = parser.parse_args()
    workspace = Workspace(chosen.work / "nnunet")
    os.environ.update(workspace.environment)
    torch.manual_seed(0)
    plans = json.loads(workspace.plans_file(DATASET).read_text())
    plans["configurations"][CONFIGURATION]["batch_size"] = BATCH
    dataset = load_dataset(chosen.data / "Task04_Hippocampus")
    plan = vesal_plan(plans, dataset.labels, dataset.channels)
    if chosen.side == "nnunet":
        description = json.loads((workspace.raw / DATASET / "dataset.json").read_text())
        step, learned = nnunet_step(plans, plan, description, loader=chosen.loader)
    else:
        cases, _ = prepare_dataset(dataset.cases, plan, chosen.work / "prepared")
        if chosen.side == "vesal":
            step, learned = vesal_step(cases, plan, chosen.work, loader=chosen.loader)
        else:
            step, learned = monai_step(cases, plan)
    bfloat16 = torch.autocast("cpu", torch.bfloat16, enabled=chosen.autocast)
    with bfloat16:
        step()

    def measure() -> dict[str, float]:
        settle()
        began = time.perf_counter()
        with bfloat16:
            loss = step()
        return {"seconds": time.perf_counter() - began, "loss": loss, "peak_mb": high_water_mb()}

    serve({"parameters": learned, "patch": plan.patch, "batch": plan.batch}, measure)


if __name__ == "__main__":
    # nnU-Net's workers import this file anew and must find nothing to do in it.
    sys.exit(main())
