"""A CT of 1024x1024x800 voxels, file to file, with and without --max-ram: seconds, peak memory, and the masks.

python -m benchmarks.bounded_memory --work FOLDER [--max-ram 4G] [--own-grid | --training]

The scan is the body of benchmarks.large_ct at 0.4x0.4x0.625 mm, compressed as scans are. The network learns for a
minute on four such bodies at four times that spacing, where it also predicts: what the memory goes to is the scan and
its mask. With --own-grid the network is made up (it copies nothing but intensities, in five classes) and predicts on
the scan's own grid in windows of 128x128x128, so that the prepared image and the logits are as large as the scan.
With --training nothing is predicted there: the four bodies are trained on from the start, one of them held out, and a
second model is fine-tuned from the first, each with the limit and without.
Memory is that of the whole process tree, seen from outside (benchmarks.processes).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.large_ct import phantom
from benchmarks.large_export import Levels, made_up_plan
from benchmarks.processes import Finished, run
from vesal.data.dataset import Case
from vesal.data.labels import LabelSet
from vesal.files import write_json
from vesal.infer.model import Model
from vesal.memory_limit import parse_size
from vesal.nn.model_file import load_package, save_package
from vesal.planning.plan import Normalisation
from vesal.volume.geometry import Geometry
from vesal.volume.io import write_label, write_volume
from vesal.volume.volume import LabelMap, Volume
from vesal.workflow.predict import predict_cases
from vesal.workflow.requests.predict_options import PredictOptions

SHAPE, SPACING_MM = (1024, 1024, 800), (0.4, 0.4, 0.625)
TRAINING_SHAPE, TRAINING_SPACING_MM = (256, 256, 200), (1.6, 1.6, 2.5)
CASES, STEPS = 4, 60
#: Of the made-up network.
CLASSES = 5

_PLAN = ("plan.patch=[32,32,32]", "plan.batch=2", "plan.width=0.5")
_WINDOW = (64, 64, 64)


def write_scan(work: Path) -> Path:
    """The large scan, if it is not there yet."""
    path = work / "scan" / "large.nii.gz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        image, _ = phantom(SHAPE, SPACING_MM, seed=100)
        write_volume(path, Volume(image[None], Geometry.from_spacing(SHAPE, SPACING_MM)))
    return path


def training_data(work: Path) -> Path:
    """The folder of labelled bodies, written if it is not there yet."""
    data = work / "Task91_PhantomCT"
    names = [f"ct_{number}" for number in range(CASES)]
    pairs = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names]
    if not (data / "dataset.json").exists():
        grid = Geometry.from_spacing(TRAINING_SHAPE, TRAINING_SPACING_MM)
        for number, pair in enumerate(pairs):
            image, label = phantom(TRAINING_SHAPE, TRAINING_SPACING_MM, number)
            for path in pair.values():
                (data / path).parent.mkdir(parents=True, exist_ok=True)
            write_volume(data / pair["image"], Volume(image[None], grid))
            write_label(data / pair["label"], LabelMap(label, grid))
        about = {"name": "PhantomCT", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "organ"}}
        write_json(data / "dataset.json", about | {"numTraining": CASES, "training": pairs, "test": []})
    return data


def _vesal(*arguments: object, log: Path) -> Finished:
    return run([sys.executable, "-m", "vesal.cli", *map(str, arguments)], log=log)


def trained(work: Path) -> Path:
    """The model's file, trained if it was not before."""
    data, out = training_data(work), work / "run"
    if not (out / "benchmark.vesal").exists():
        sets = [part for setting in _PLAN for part in ("--set", setting)]
        how = ["--device", "cpu", "--fold", "none", "--steps", STEPS, *sets]
        _vesal("train", data, "-o", out, *how, log=work / "train.log")
        package = load_package(next(out.glob("fold_*/model.vesal")))
        package = replace(package, plan=package.plan.model_copy(update={"patch": _WINDOW}))
        save_package(out / "benchmark.vesal", package)
    return out / "benchmark.vesal"


def train_within(work: Path, max_ram: str) -> None:
    """Train and fine-tune with one body held out, within the limit and without; print what each took."""
    data = training_data(work)
    for name in (max_ram, "unbounded"):
        runs = {kind: work / f"{kind}-{name}" for kind in ("train", "finetune")}
        for out in runs.values():
            shutil.rmtree(out, ignore_errors=True)
        how = ["--device", "cpu", "--steps", STEPS] + (["--max-ram", max_ram] if name == max_ram else [])
        model = runs["train"] / "fold_0" / "model.vesal"
        for begin in (
            ["train", data, "-o", runs["train"], "--fold", 0],
            ["finetune", model, data, "-o", runs["finetune"], "--fold", 0],
        ):
            done = _vesal(*begin, *how, log=work / f"{begin[0]}-{name}.log")
            row = {"command": begin[0], "max_ram": name, "seconds": round(done.seconds, 1)}
            print(json.dumps(row | {"peak_mb": round(done.peak_mb)}), flush=True)


def on_own_grid(scan: Path, out: Path, max_ram: int | None) -> None:
    """Predict by the made-up network, in this process."""
    plan = made_up_plan().model_copy(
        update={
            "spacing_mm": SPACING_MM,
            "normalisation": (Normalisation(scheme="window", lower=-1000.0, upper=1000.0),),
            "labels": LabelSet.from_values({f"class {value}": value for value in range(1, CLASSES)}),
        }
    )
    model = Model(plan, (Levels(CLASSES),), torch.device("cpu"))
    found = predict_cases(
        model, [Case(id="large", images=(scan,), patient="large")], out, PredictOptions(max_ram=max_ram)
    )
    assert not found.failures, found.failures
    print(json.dumps({"seconds": found.seconds}))


def predicted(work: Path, scan: Path, max_ram: str | None, *, own_grid: bool) -> tuple[Finished, Path]:
    """Predict in a process of its own."""
    out = work / f"mask{'-own-grid' * own_grid}-{max_ram or 'unbounded'}.nii.gz"
    out.unlink(missing_ok=True)
    if own_grid:
        command = [sys.executable, "-m", "benchmarks.bounded_memory"]
        command += ["--work", str(work), "--child", str(out)]
    else:
        command = [sys.executable, "-m", "vesal.cli", "predict", str(trained(work)), str(scan)]
        command += ["-o", str(out), "--device", "cpu", "--json"]
    command += ["--max-ram", max_ram] if max_ram else []
    return run(command, log=work / "predict.log"), out


def main() -> None:
    """Predict once without a limit and once within it; say what it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--max-ram")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--own-grid", action="store_true")
    which.add_argument("--training", action="store_true")
    parser.add_argument("--child", type=Path, help="for itself")
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    if chosen.training:
        train_within(chosen.work, chosen.max_ram or "2G")
        return
    scan = write_scan(chosen.work)
    if chosen.child is not None:
        most = None if chosen.max_ram is None else parse_size(chosen.max_ram)
        on_own_grid(scan, chosen.child, most)
        return
    masks = []
    for max_ram in (chosen.max_ram or "4G", None):
        done, out = predicted(chosen.work, scan, max_ram, own_grid=chosen.own_grid)
        masks.append(out)
        row = {"max_ram": max_ram, "seconds": round(done.seconds, 1), "peak_mb": round(done.peak_mb)}
        print(
            json.dumps(
                row | {"backend": json.loads(done.output[done.output.index("{") :]).get("backend", "")}
            ),
            flush=True,
        )
    import nibabel as nib

    bounded, whole = (nib.load(path).dataobj for path in masks)
    differ = foreground = 0
    for first in range(0, SHAPE[2], 50):
        part, other = (np.asarray(of[..., first : first + 50]) for of in (bounded, whole))
        differ += int(np.count_nonzero(part != other))
        foreground += int(np.count_nonzero(other))
    print(json.dumps({"voxels": int(np.prod(SHAPE)), "foreground": foreground, "voxels that differ": differ}))


if __name__ == "__main__":
    main()
