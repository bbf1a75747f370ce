"""What is measured: the comparisons of each part, their sides, and what a side runs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from benchmarks.nnunet import CONFIGURATION, Workspace, dataset_name, dataset_number, write_raw
from benchmarks.processes import Worker, run
from benchmarks.results import OURS
from benchmarks.shared_model import Models
from vesal.nn.cpu.bfloat16 import computes_bfloat16

Measured = dict[str, Any]
Measure = Callable[[], Measured]
Sides = dict[str, Measure]

HIPPOCAMPUS, HEART = "Task04_Hippocampus", "Task02_Heart"
MIRRORED_HEART = "predict-heart-mirrored"

#: The scans that are predicted.
CASES = {HIPPOCAMPUS: "hippocampus_001", HEART: "la_003"}


@dataclass(frozen=True)
class Comparison:
    """Sides that do the same work.

    Attributes:
        row: its name in the table.
        opened: gives the sides, each of which measures once when called, inside a block; some need a program that
            lives through all runs.
        notes: lines for under the table, from what was measured of each side.
    """

    row: str
    opened: Callable[[], contextlib.AbstractContextManager[Sides]]
    notes: Callable[[Mapping[str, list[Measured]]], list[str]] = lambda _: []


@dataclass(frozen=True)
class Setup:
    """Where the bench works.

    Attributes:
        data: the folder of the Decathlon's data sets.
        work: scratch that is kept: nnU-Net's folders, models, logs.
        say: takes lines of progress.
    """

    data: Path
    work: Path
    say: Callable[[str], None]

    @property
    def workspace(self) -> Workspace:
        """nnU-Net's folders."""
        return Workspace(self.work / "nnunet")

    def log(self, name: str) -> Path:
        """Where a program's complaints go."""
        (self.work / "logs").mkdir(parents=True, exist_ok=True)
        return self.work / "logs" / f"{name}.log"

    def raw(self, task: str) -> str:
        """The data set in nnU-Net's layout; its name there."""
        return write_raw(self.data / task, self.workspace)

    def planned(self, task: str) -> str:
        """The data set, planned and prepared by nnU-Net; its name there."""
        dataset = self.raw(task)
        folder = self.workspace.preprocessed / dataset
        wanted = json.loads((self.workspace.raw / dataset / "dataset.json").read_text())["numTraining"]
        if len(list(folder.glob(f"*_{CONFIGURATION}/*.pkl"))) < wanted:
            self.say(f"nnU-Net plans and prepares {dataset}")
            plan_and_preprocess(self, task)
        return dataset

    def models(self, task: str) -> Models:
        """The shared network; trained now if it was not before."""
        models = Models.of(task, self.work)
        if not models.ready:
            self.planned(task)
            self.say(f"training the network that is shared for {task}, some minutes")
            command = [sys.executable, "-m", "benchmarks.shared_model", task]
            run([*command, "--work", str(self.work), "--data", str(self.data)], log=self.log("shared_model"))
        return models

    @cached_property
    def backends(self) -> tuple[str, ...]:
        """Names that this Vesal's --backend takes; none where it has no such option."""
        lines = subprocess.run(
            [program("vesal"), "predict", "--help"], capture_output=True, text=True, check=True
        )
        return ("auto", "torch") if "--backend" in lines.stdout else ()


def program(name: str) -> str:
    """A program of this environment."""
    return str(Path(sys.executable).parent / name)


def module(name: str, *arguments: object) -> list[str]:
    """A command that runs a file of this folder."""
    return [sys.executable, "-m", f"benchmarks.{name}", *map(str, arguments)]


@contextmanager
def ready(sides: Sides) -> Iterator[Sides]:
    """Sides that need nothing between their runs."""
    yield sides


# --- preparation -----------------------------------------------------------------------------------------


def plan_and_preprocess(setup: Setup, task: str, *, processes: int | None = None) -> Measured:
    """nnU-Net's fingerprint, plan and preparation, from nothing; by default with its own numbers of processes."""
    dataset = setup.raw(task)
    shutil.rmtree(setup.workspace.preprocessed / dataset, ignore_errors=True)
    command = [
        program("nnUNetv2_plan_and_preprocess"),
        "-d",
        dataset_number(dataset),
        "-c",
        CONFIGURATION,
        "--no_pbar",
    ]
    command += [] if processes is None else ["-npfp", str(processes), "-np", str(processes)]
    done = run(command, environment=setup.workspace.environment, log=setup.log("plan_and_preprocess"))
    return {"seconds": done.seconds, "peak_mb": done.peak_mb}


def prepare(setup: Setup, task: str, *, as_nnunet: bool) -> Measured:
    """Vesal's, at nnU-Net's spacing or at that of its own plan."""
    plans = ["--as-nnunet", setup.workspace.plans_file(dataset_name(Path(task)))] if as_nnunet else []
    done = run(module("preparation", setup.data / task, *plans), log=setup.log("preparation"))
    return {"seconds": done.seconds, "peak_mb": done.peak_mb, **json.loads(done.output.splitlines()[-1])}


def preparation(setup: Setup) -> Iterator[Comparison]:
    """From the files to prepared cases, by whole processes."""
    for task in (HIPPOCAMPUS, HEART):
        setup.raw(task)
        sides: Sides = {
            "nnU-Net": partial(plan_and_preprocess, setup, task),
            # Its 8 and 4 processes each import torch; on few cores fewer of them may be faster.
            "nnU-Net, a process a core": partial(plan_and_preprocess, setup, task, processes=os.cpu_count()),
            OURS: partial(prepare, setup, task, as_nnunet=True),
            f"{OURS}, its own plan": partial(prepare, setup, task, as_nnunet=False),
        }
        yield Comparison(_PREPARATION[task], partial(ready, sides), _told_preparation)


def _told_preparation(measured: Mapping[str, list[Measured]]) -> list[str]:
    return [
        f"{side}: {one['cases']} cases at {' x '.join(f'{mm:.3g}' for mm in one['spacing_mm'])} mm, of that "
        f"{one['fingerprint_s']:.2f} s fingerprint, {one['plan_s']:.2f} s plan, {one['prepare_s']:.2f} s preparation."
        for side, ones in measured.items()
        for one in ones[:1]
        if "spacing_mm" in one
    ]


# --- training step ---------------------------------------------------------------------------------------


@contextmanager
def workers(setup: Setup, commands: Mapping[str, Sequence[object]]) -> Iterator[Sides]:
    """A worker a side; each is started when it is first measured, and they end with the block."""
    with ExitStack() as stack:
        started: dict[str, Worker] = {}

        def measure(side: str) -> Measured:
            if side not in started:
                name, *arguments = commands[side]
                log = setup.log(f"{name}-{side.replace(' ', '-')}")
                started[side] = Worker(module(str(name), *arguments), setup.workspace.environment, log)
                stack.callback(started[side].close)
            return {**started[side].measure(), **started[side].about}

        yield {side: partial(measure, side) for side in commands}


def step(setup: Setup) -> Iterator[Comparison]:
    """One training step with nnU-Net's plan for hippocampus; a ready batch, then with each tool's loader."""
    setup.planned(HIPPOCAMPUS)
    where = ("--work", setup.work, "--data", setup.data)
    sides: dict[str, tuple[object, ...]] = {"nnU-Net": ("steps", "nnunet", *where)}
    if computes_bfloat16():
        # Elsewhere bfloat16 is emulated: minutes a step, which nobody would ask for.
        sides["nnU-Net under bfloat16 autocast"] = ("steps", "nnunet", "--autocast", *where)
    sides |= {OURS: ("steps", "vesal", *where), "MONAI DynUNet": ("steps", "monai", *where)}
    yield Comparison("training step, ready batch", partial(workers, setup, sides), _told_step)
    yield Comparison(
        "training step, loader and augmentation",
        partial(
            workers,
            setup,
            {
                "nnU-Net": ("steps", "nnunet", "--loader", *where),
                OURS: ("steps", "vesal", "--loader", *where),
            },
        ),
    )


def _told_step(measured: Mapping[str, list[Measured]]) -> list[str]:
    found = {side: ones[0] for side, ones in measured.items() if ones}
    counts = ", ".join(f"{side} {one['parameters']:,}" for side, one in found.items())
    sizes = next(iter(found.values()))
    lines = [
        f"Patch {'x'.join(map(str, sizes['patch']))}, batch {sizes['batch']}, SGD with momentum 0.99, Dice + "
        f"cross-entropy on the two highest resolutions. Numbers that are learned: {counts} (nnU-Net's third head has "
        "weight 0 in its loss and is not counted; DynUNet has no bias before a norm).",
        "On a CPU nnU-Net compiles nothing (nnUNetTrainer._do_i_compile) and computes in float32, so that is its "
        "default; under autocast is what a patch of its trainer would give. Vesal takes bfloat16 by itself where the "
        "processor multiplies it.",
    ]
    learned = {one["parameters"] for side, one in found.items() if not side.startswith("MONAI")}
    if len(learned) > 1:
        lines.append(f"THE NETWORKS DIFFER: {sorted(learned)}.")
    return lines


# --- prediction ------------------------------------------------------------------------------------------


def predict_nnunet(setup: Setup, task: str, *, mirror: bool) -> Measured:
    """nnUNetv2_predict of one scan, a whole process."""
    models, case = setup.models(task), CASES[task]
    folder, out = setup.work / "scans" / case, setup.work / "masks" / f"nnU-Net-{mirror:d}"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(setup.data / task / "imagesTr" / f"{case}.nii.gz", folder / f"{case}_0000.nii.gz")
    command = [program("nnUNetv2_predict"), "-i", folder, "-o", out, "-d", dataset_number(models.dataset)]
    command += ["-c", CONFIGURATION, "-f", "0", "-device", "cpu", "--disable_progress_bar"]
    command += [] if mirror else ["--disable_tta"]
    done = run(
        list(map(str, command)), environment=setup.workspace.environment, log=setup.log("nnUNetv2_predict")
    )
    return {"seconds": done.seconds, "peak_mb": done.peak_mb, "mask": str(out / f"{case}.nii.gz")}


def predict_vesal(setup: Setup, task: str, *, mirror: bool, backend: str) -> Measured:
    """vesal predict of one scan, a whole process."""
    models, case = setup.models(task), CASES[task]
    out = setup.work / "masks" / f"Vesal-{backend}-{mirror:d}"
    command = [program("vesal"), "predict", models.vesal, setup.data / task / "imagesTr" / f"{case}.nii.gz"]
    command += ["-o", out, "--device", "cpu", "--json"]
    command += ["--backend", backend] if setup.backends else []
    command += ["--tta"] if mirror else []
    done = run(list(map(str, command)), log=setup.log("vesal-predict"))
    computed_by = json.loads(done.output).get("backend", "torch")
    mask = str(out / f"{case}.nii.gz")
    return {"seconds": done.seconds, "peak_mb": done.peak_mb, "mask": mask, "backend": computed_by}


def prediction(setup: Setup, *, task: str, mirror: bool) -> Iterator[Comparison]:
    """From the file of a scan to the file of its mask."""
    setup.models(task)
    sides: Sides = {"nnU-Net": partial(predict_nnunet, setup, task, mirror=mirror)}
    sides[OURS] = partial(predict_vesal, setup, task, mirror=mirror, backend="auto")
    if "torch" in setup.backends:
        sides[f"{OURS}, --backend torch"] = partial(
            predict_vesal, setup, task, mirror=mirror, backend="torch"
        )
    truth = setup.data / task / "labelsTr" / f"{CASES[task]}.nii.gz"
    yield Comparison(_PREDICTION[task, mirror], partial(ready, sides), partial(_told_masks, truth))


def _told_masks(truth: Path, measured: Mapping[str, list[Measured]]) -> list[str]:
    masks = {side: read_labels(Path(ones[-1]["mask"])) for side, ones in measured.items() if ones}
    true = read_labels(truth)
    against = ", ".join(f"{side} {mean_dice(mask, true):.4f}" for side, mask in masks.items())
    backends = ", ".join(
        f"{side} {ones[-1]['backend']}" for side, ones in measured.items() if ones and "backend" in ones[-1]
    )
    lines = [
        f"Mean Dice against the truth: {against}.",
        f"The network was computed by: nnU-Net torch, {backends}.",
    ]
    if len(masks) > 1 and OURS in masks:
        beside = ", ".join(
            f"{side} {mean_dice(mask, masks[OURS]):.5f}" for side, mask in masks.items() if side != OURS
        )
        lines.append(f"Mean Dice against {OURS}'s mask: {beside}.")
    return lines


def read_labels(path: Path) -> np.ndarray[Any, Any]:
    """The voxels of a label map as whole numbers."""
    return np.asarray(nibabel.load(path).dataobj).astype(np.int16)


def mean_dice(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Mean over the labels that are in either of two label maps on one grid; 1 where there is none.

    >>> round(mean_dice(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2])), 3)
    0.667
    """
    values = [value for value in np.union1d(np.unique(one), np.unique(other)) if value != 0]
    scores = [
        2 * np.count_nonzero((one == value) & (other == value))
        / (np.count_nonzero(one == value) + np.count_nonzero(other == value))
        for value in values
    ]  # fmt: skip
    return float(np.mean(scores)) if scores else 1.0


# --- windows in memory -----------------------------------------------------------------------------------


def windows(setup: Setup) -> Iterator[Comparison]:
    """MONAI's sliding windows and Vesal's over one volume in memory, with the same weights, in one process."""
    setup.models(HIPPOCAMPUS)

    @contextmanager
    def both() -> Iterator[Sides]:
        with workers(setup, {"both": ("windows", "--work", setup.work)}) as found:
            latest: list[Measured] = []

            def ours() -> Measured:
                latest[:] = [found["both"]()]
                return {"seconds": latest[0][OURS]}

            def theirs() -> Measured:
                measured = latest.pop() if latest else found["both"]()
                return {"seconds": measured["MONAI"], "equal": measured["equal"]}

            yield {OURS: ours, "MONAI": theirs}

    def lines(measured: Mapping[str, list[Measured]]) -> list[str]:
        equal = min(one["equal"] for one in measured["MONAI"])
        return [f"Noise, 80x84x80 voxels; both find the same class in {equal:.2%} of them."]

    yield Comparison("18 windows in memory", both, lines)


# --- export ----------------------------------------------------------------------------------------------


def export_once(setup: Setup, side: str, size: str) -> Measured:
    """The call in a process of its own, which measures it."""
    command = module("export", side, size, "--work", setup.work)
    done = run(command, environment=setup.workspace.environment, log=setup.log("export"))
    measured: Measured = json.loads(done.output.splitlines()[-1])
    return measured


def export(setup: Setup) -> Iterator[Comparison]:
    """From logits on the prepared grid to labels on the scan's own."""
    setup.planned(HEART)
    for size, row in _EXPORT.items():
        sides: Sides = {
            "nnU-Net": partial(export_once, setup, "nnunet", size),
            OURS: partial(export_once, setup, "vesal", size),
        }

        def lines(_: Mapping[str, list[Measured]], size: str = size) -> list[str]:
            one, two = (np.load(setup.work / "export" / f"{size}-{side}.npy") for side in ("nnunet", "vesal"))
            return [f"The labels are equal in {np.mean(one == two):.4%} of the voxels."]

        yield Comparison(row, partial(ready, sides), lines)


def large_export(setup: Setup) -> Iterator[Comparison]:
    """Vesal alone, for what a network with many classes asks of everything around it."""

    def measure() -> Measured:
        done = run(module("large_export", "--work", setup.work), log=setup.log("export"))
        measured: Measured = json.loads(done.output.splitlines()[-1])
        return measured

    def lines(measured: Mapping[str, list[Measured]]) -> list[str]:
        one = measured[OURS][-1]
        return [
            f"Of that {one['prepare_s']:.1f} s preparation, {one['segment_s']:.1f} s windows and export, "
            f"{one['write_s']:.1f} s writing; {one['right']:.2%} of the voxels are within one class of the intensity "
            "that they were made from."
        ]

    yield Comparison(
        "60 classes, 512x512x400 from 1.5 mm, a made-up network", partial(ready, {OURS: measure}), lines
    )


_PREPARATION = {
    HIPPOCAMPUS: "fingerprint, plan, preparation: hippocampus, 208 cases",
    HEART: "fingerprint, plan, preparation: heart, 12 cases",
}
_PREDICTION = {
    (HIPPOCAMPUS, False): "file to file: a hippocampus",
    (HIPPOCAMPUS, True): "file to file: a hippocampus, mirrored",
    (HEART, False): "file to file: heart la_003",
    (HEART, True): "file to file: heart la_003, mirrored",
}
_EXPORT = {
    "heart": "export: 2 classes, 267x267x119 to 320x320x130",
    "organs": "export: 14 classes, 171x171x171 to 256x256x256",
}

#: The parts by name, in the order in which they are measured.
PARTS: dict[str, Callable[[Setup], Iterator[Comparison]]] = {
    "preparation": preparation,
    "step": step,
    "windows": windows,
    "export": export,
    "large-export": large_export,
    "predict-hippocampus": partial(prediction, task=HIPPOCAMPUS, mirror=False),
    "predict-hippocampus-mirrored": partial(prediction, task=HIPPOCAMPUS, mirror=True),
    "predict-heart": partial(prediction, task=HEART, mirror=False),
    MIRRORED_HEART: partial(prediction, task=HEART, mirror=True),
}
