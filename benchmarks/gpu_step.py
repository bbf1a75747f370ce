"""Seconds of a training step on a GPU, with nnU-Net's plans for hippocampus and heart: what each means of speed gives.

python -m benchmarks.gpu_step [--plan hippocampus heart] [--steps 20] [--groups 5] [--device cuda] [-o FILE.md]

The cases are made up, of the data sets' sizes, so nothing has to be downloaded. Each row is a whole step as training
takes it: patches cut, augmented, forward and backward pass in bf16, clipping, optimizer, average of the weights. The
variants take turns, group by group, so that a GPU that warms up or is shared slows all of them alike. Then, for the
first variant, what a step waits for (torch's sync debug mode), and how long batch and network take alone.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vesal.data.crop import Crop
from vesal.data.labels import LabelSet
from vesal.nn.losses.losses import build_loss
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.preprocessing.cache import PreparedCase
from vesal.preprocessing.patches import PatchSampler
from vesal.train import trainer
from vesal.train.batches import prefetched
from vesal.train.objective import Objective
from vesal.train.precision import Precision, kernels, memory_format
from vesal.train.recipe import TrainConfig
from vesal.train.state import TrainJob
from vesal.train.trainer import take_step
from vesal.volume.geometry import Geometry

#: nnU-Net 2's optimizer.
SETTINGS: dict[str, Any] = {
    "optimizer": "sgd", "lr": 1e-2, "momentum": 0.99, "weight_decay": 3e-5, "warmup": 0.0, "ema": None,
    "steps": 100_000, "loss": "dice_ce", "clip": 12.0,
}  # fmt: skip

VARIANTS: dict[str, dict[str, Any]] = {
    "all on": {"channels_last": True, "compile": True, "device_cache": True},
    "all on, CUDA graphs": {"channels_last": True, "compile": "graphs", "device_cache": True},
    "compiled, channels first": {"channels_last": False, "compile": True, "device_cache": True},
    "compiled, loader": {"channels_last": True, "compile": True, "device_cache": False},
    "not compiled": {"channels_last": True, "compile": False, "device_cache": True},
    "not compiled, channels first": {"channels_last": False, "compile": False, "device_cache": True},
    "all off": {"channels_last": False, "compile": False, "device_cache": False},
    "all off, no augmentation": {
        "channels_last": False, "compile": False, "device_cache": False, "augment": {"enabled": False},
    },
}  # fmt: skip


def stages(features: list[int], strides: list[tuple[int, int, int]]) -> tuple[Stage, ...]:
    return tuple(
        Stage(features=of, kernel=(3, 3, 3), stride=by) for of, by in zip(features, strides, strict=True)
    )


def plans() -> dict[str, tuple[Plan, tuple[int, int, int]]]:
    """nnU-Net 2.8's 3d_fullres plans, and how large a prepared case is."""
    one, two = (1, 1, 1), (2, 2, 2)
    shared: dict[str, Any] = {
        "dimension": 3, "mirror_axes": (0, 1, 2), "channels": ("MRI",),
        "normalisation": (Normalisation(scheme="zscore"),),
    }  # fmt: skip
    return {
        "hippocampus": (
            Plan(
                **shared, spacing_mm=(1.0, 1.0, 1.0), patch=(40, 56, 40), batch=9, heads=3,
                labels=LabelSet.from_values({"anterior": 1, "posterior": 2}), median_shape=(36, 50, 35),
                stages=stages([32, 64, 128, 256], [one, two, two, two]),
            ),
            (36, 50, 35),
        ),
        "heart": (
            Plan(
                **shared, spacing_mm=(1.37, 1.25, 1.25), patch=(80, 192, 160), batch=2, heads=5,
                labels=LabelSet.from_values({"left atrium": 1}), median_shape=(115, 320, 232),
                stages=stages([32, 64, 128, 256, 320, 320], [one, two, two, two, two, (1, 2, 2)]),
            ),
            (115, 320, 232),
        ),
        "small": (  # to try this file where there is no GPU
            Plan(
                **shared, spacing_mm=(1.0, 1.0, 1.0), patch=(16, 16, 16), batch=2, heads=2,
                labels=LabelSet.from_values({"anterior": 1, "posterior": 2}), median_shape=(20, 20, 20),
                stages=stages([4, 8, 8], [one, two, two]),
            ),
            (20, 24, 20),
        ),
    }  # fmt: skip


def made_up_case(folder: Path, number: int, shape: tuple[int, int, int], classes: int) -> PreparedCase:
    generator = np.random.default_rng(number)
    image = generator.standard_normal((1, *shape), dtype=np.float32).astype(np.float16)
    label = np.zeros(shape, np.uint8)
    label[tuple(slice(size // 4, size // 2) for size in shape)] = generator.integers(1, classes + 1)
    places = {int(value): np.argwhere(label == value)[::7] for value in np.unique(label) if value}
    np.save(folder / f"{number}.image.npy", image)
    np.save(folder / f"{number}.label.npy", label)
    grid = Geometry.from_spacing(shape, (1.0, 1.0, 1.0))
    return PreparedCase(
        id=f"case_{number}", patient=f"case_{number}", annotated=None,
        image=folder / f"{number}.image.npy", label=folder / f"{number}.label.npy",
        crop=Crop(grid, grid.turn_to_ras(), (0, 0, 0), shape, None, shape),
        foreground=places, nbytes=image.nbytes + label.nbytes,
    )  # fmt: skip


class Teller:
    """In place of the console."""

    def say(self, line: str) -> None:
        print(f"    {line}", flush=True)


class Variant:
    """One way to train, ready to take steps."""

    def __init__(
        self, name: str, plan: Plan, cases: list[PreparedCase], device: torch.device, folder: Path
    ) -> None:
        print(f"  {name}", flush=True)
        settings = VARIANTS[name]
        self.config = TrainConfig(**{**SETTINGS, **settings})
        self.device, self.plan = device, plan
        job = TrainJob(plan, self.config, cases, [], folder, device, name, {})
        sampler = PatchSampler(cases, plan)
        self.precision = Precision(self.config.precision, device)
        self.state = trainer._set_up(job, sampler, self.precision, resume=False)
        self.maker = trainer._batch_maker(job, sampler, Teller())  # type: ignore[arg-type]
        loss = build_loss(self.config.loss, plan, self.config.loss_options)
        self.objective = Objective(self.state.trained.network, loss, self.precision)
        self.stack = contextlib.ExitStack()
        batches = self.stack.enter_context(prefetched(self.maker, 0))
        if self.config.compile is not False:
            first = next(batches)
            batches = itertools.chain([first], batches)
            Teller().say(self.objective.compile(first, graphs=self.config.compile == "graphs"))
        self.batches = batches
        self.took_s: list[float] = []
        self.memory_gb = 0.0

    def group(self, steps: int) -> float:
        """Mean seconds of a step over a group of them."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        began = self.now()
        for _ in range(steps):
            loss = take_step(self.state, self.batches, self.objective, self.precision)
        took = (self.now() - began) / steps
        assert bool(loss.isfinite()), "the loss is not finite"
        if self.device.type == "cuda":
            self.memory_gb = max(self.memory_gb, torch.cuda.max_memory_allocated(self.device) / 1e9)
        return took

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def alone(self, steps: int) -> tuple[float, float]:
        """Seconds of a batch that nothing runs beside, and of a step on a batch that stays."""
        began = self.now()
        for number in range(steps):
            batch = self.maker.vary(self.maker.cut(number), number)
        making = (self.now() - began) / steps
        kept: Iterator[Any] = itertools.repeat(batch)
        for _ in range(3):
            take_step(self.state, kept, self.objective, self.precision)
        began = self.now()
        for _ in range(steps):
            take_step(self.state, kept, self.objective, self.precision)
        return making, (self.now() - began) / steps

    def waits(self, steps: int = 5) -> dict[str, int]:
        """Where a step waits for the GPU, and how often in so many steps."""
        found: dict[str, int] = {}
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                for _ in range(steps):
                    take_step(self.state, self.batches, self.objective, self.precision)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        for warning in told:
            if "synchroniz" in str(warning.message):
                place = f"{Path(warning.filename).name}:{warning.lineno}"
                found[place] = found.get(place, 0) + 1
        return found


@dataclass
class Options:
    plan: list[str]
    variant: list[str]
    steps: int
    groups: int
    device: str
    output: Path | None


def measured(name: str, options: Options, device: torch.device) -> list[str]:
    plan, shape = plans()[name]
    print(f"{name}: patch {'x'.join(map(str, plan.patch))}, batch {plan.batch}", flush=True)
    with tempfile.TemporaryDirectory() as temporary, kernels(device, deterministic=False):
        folder = Path(temporary)
        count = 16 if name == "heart" else 64
        cases = [made_up_case(folder, number, shape, len(plan.labels.classes)) for number in range(count)]
        variants: dict[str, Variant] = {}
        for of in options.variant:
            try:
                variant = Variant(of, plan, cases, device, folder)
                variant.group(max(3, options.steps // 4))
                variants[of] = variant
            except RuntimeError as error:
                print(f"    left out: {error}", flush=True)
        for _ in range(options.groups):
            for variant in variants.values():
                variant.took_s.append(variant.group(options.steps))
        lines = [
            f"\n### {name}: patch {'x'.join(map(str, plan.patch))}, batch {plan.batch}\n",
            "| variant | ms a step (median) | spread | of the slowest | peak GB | batch alone, ms "
            "| step on one batch, ms |",
            "|---|---|---|---|---|---|---|",
        ]
        slowest = max(statistics.median(variant.took_s) for variant in variants.values())
        for of, variant in variants.items():
            middle = statistics.median(variant.took_s)
            making, fixed = variant.alone(options.steps)
            spread = f"{1e3 * min(variant.took_s):.2f} to {1e3 * max(variant.took_s):.2f}"
            lines.append(
                f"| {of} | {1e3 * middle:.2f} | {spread} | {middle / slowest:.2f} | {variant.memory_gb:.2f} "
                f"| {1e3 * making:.2f} | {1e3 * fixed:.2f} |"
            )
        if device.type == "cuda":
            first = next(iter(variants.values()))
            waits = first.waits() or {"nowhere": 0}
            told = ", ".join(f"{place} ({times} times in 5 steps)" for place, times in waits.items())
            lines.append(f"\nThe CPU waits for the GPU: {told}.")
        for variant in variants.values():
            variant.stack.close()
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plan", nargs="+", default=["hippocampus", "heart"], choices=list(plans()))
    parser.add_argument("--variant", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--groups", type=int, default=5)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("-o", "--output", type=Path)
    chosen = parser.parse_args()
    options = Options(chosen.plan, chosen.variant, chosen.steps, chosen.groups, chosen.device, chosen.output)
    device = torch.device(options.device)
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    layout = memory_format(TrainConfig(), 3, device)
    lines = [
        f"torch {torch.__version__}, {machine}, {Precision('auto', device).dtype}, images by default {layout}"
    ]
    for name in options.plan:
        lines += measured(name, options, device)
    text = "\n".join(lines)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
