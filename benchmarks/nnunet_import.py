"""Models that nnU-Net trained here, imported: are Vesal's masks nnU-Net's, and what do they take?

    python -m benchmarks.nnunet_import DATA --work FOLDER [--sets hippocampus-3d ...] [--minutes 3] [--scans 20]

DATA holds Task04_Hippocampus of the Medical Segmentation Decathlon. Each set, of which one is 2D and two have regions,
is planned, prepared and trained by nnU-Net for so many minutes, in FOLDER; then nnU-Net and `vesal import`, `vesal
predict` predict scans that were not trained on, both with all mirrored copies and steps of half a window, each as its
users run it: one process from files to files.
What is there already is not trained again. What is printed is Markdown.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.nnunet import PLANS, TRAINER, Workspace, dataset_number
from benchmarks.nnunet_training import train
from benchmarks.parts import mean_dice, program, read_labels
from benchmarks.processes import Finished, run
from benchmarks.record import commit, machine, versions
from benchmarks.results import markdown
from vesal.files import read_json, write_json
from vesal.phantoms.registry import make_phantom
from vesal.volume.io import write_label, write_volume
from vesal.volume.volume import LabelMap, Volume

#: Scans that are trained on.
_TRAINING = 60
_PHANTOMS = 24
#: BraTS' labels, with its third value counted on, as nnU-Net has them.
_TUMOUR = {"background": 0, "whole tumour": [1, 2, 3], "tumour core": [1, 3], "enhancing tumour": [3]}


_WHOLE_AND_PART = {"background": 0, "whole": [1, 2], "posterior": [2]}


@dataclass(frozen=True)
class Trained:
    """A model that is compared.

    Attributes:
        dataset: nnU-Net's name.
        configuration: that is trained.
        write: (raw folder, folder of the scans to predict, their number) writes the data.
        change: of the configuration in plans.json, so that minutes of training suffice.
    """

    dataset: str
    configuration: str
    write: Callable[[Path, Path, Path, int], None]
    change: Callable[[dict[str, Any]], None] = lambda found: None


def write_hippocampus(
    data: Path, raw: Path, scans: Path, count: int, regions: dict[str, Any] | None = None, **more: Any
) -> None:
    """The first scans for training, others to predict, byte for byte; `regions` in the place of the labels."""
    task = data / "Task04_Hippocampus"
    source = json.loads((task / "dataset.json").read_text())
    cases = sorted(Path(entry["label"]).name.removesuffix(".nii.gz") for entry in source["training"])
    for case in cases[:_TRAINING]:
        shutil.copyfile(task / "imagesTr" / f"{case}.nii.gz", raw / "imagesTr" / f"{case}_0000.nii.gz")
        shutil.copyfile(task / "labelsTr" / f"{case}.nii.gz", raw / "labelsTr" / f"{case}.nii.gz")
    for case in cases[_TRAINING : _TRAINING + count]:
        shutil.copyfile(task / "imagesTr" / f"{case}.nii.gz", scans / f"{case}_0000.nii.gz")
    labels = {name: int(value) for value, name in source["labels"].items()}
    describe(raw, source["modality"], regions or labels, **more)


def write_regions(data: Path, raw: Path, scans: Path, count: int) -> None:
    """The hippocampus whole, and its posterior part within it."""
    write_hippocampus(data, raw, scans, count, _WHOLE_AND_PART, regions_class_order=[1, 2])


def write_tumours(data: Path, raw: Path, scans: Path, count: int) -> None:
    """Phantoms of brain tumours; DATA is not used."""
    for number in range(_PHANTOMS + count):
        image, label = make_phantom("brain-tumour", number)
        into = raw / "imagesTr" if number < _PHANTOMS else scans
        for channel, values in enumerate(image.array):
            one = Volume(values[None], image.geometry)
            write_volume(into / f"phantom_{number:03}_{channel:04}.nii.gz", one)
        if number < _PHANTOMS:
            values = np.where(label.array == 4, 3, label.array).astype(np.uint8)
            write_label(raw / "labelsTr" / f"phantom_{number:03}.nii.gz", LabelMap(values, label.geometry))
    names = {str(number): name for number, name in enumerate(("FLAIR", "T1", "T1ce", "T2"))}
    describe(raw, names, _TUMOUR, regions_class_order=[2, 1, 3])


def describe(raw: Path, channels: dict[str, str], labels: dict[str, Any], **more: Any) -> None:
    """Write dataset.json."""
    count = len(list((raw / "labelsTr").glob("*.nii.gz")))
    head = {"channel_names": channels, "labels": labels, "numTraining": count, "file_ending": ".nii.gz"}
    write_json(raw / "dataset.json", head | more)


def narrow(found: dict[str, Any]) -> None:
    """Features and batches with which some hundred steps fit into minutes."""
    network = found["architecture"]["arch_kwargs"]
    network["features_per_stage"] = [min(64, 8 * 2**level) for level in range(network["n_stages"])]
    found["batch_size"] = min(2, found["batch_size"])


def smaller(found: dict[str, Any]) -> None:
    """A patch that holds a tumour, and such features."""
    found["patch_size"] = [48, 64, 48]
    narrow(found)


SETS = {
    "hippocampus-3d": Trained("Dataset104_Hippocampus", "3d_fullres", write_hippocampus, narrow),
    "hippocampus-2d": Trained("Dataset104_Hippocampus", "2d", write_hippocampus, narrow),
    "hippocampus-regions": Trained("Dataset106_HippocampusRegions", "3d_fullres", write_regions, narrow),
    "tumours-3d": Trained("Dataset105_Tumours", "3d_fullres", write_tumours, smaller),
}


def ready(chosen: Trained, data: Path, workspace: Workspace, out: Path, count: int) -> Path:
    """Write, plan and prepare what is not there; the folder of the scans to predict."""
    raw, scans = workspace.raw / chosen.dataset, out.parent / f"{chosen.dataset}_scans"
    if not (raw / "dataset.json").exists():
        for folder in (raw / "imagesTr", raw / "labelsTr", scans):
            folder.mkdir(parents=True, exist_ok=True)
        chosen.write(data, raw, scans, count)
    done = workspace.preprocessed / chosen.dataset / f"{PLANS}_{chosen.configuration}"
    plans = workspace.plans_file(chosen.dataset)
    environment, log = workspace.environment, out / "prepare.log"
    number = ["-d", dataset_number(chosen.dataset)]
    if not plans.exists():
        fingerprint = [program("nnUNetv2_extract_fingerprint"), *number, "-np", "2"]
        run(fingerprint, environment=environment, log=log)
        run([program("nnUNetv2_plan_experiment"), *number], environment=environment, log=log)
        described = read_json(plans)
        for one in SETS.values():
            if one.dataset == chosen.dataset:
                one.change(described["configurations"][one.configuration])
        write_json(plans, described)
    if not done.is_dir():
        command = [program("nnUNetv2_preprocess"), *number, "-c", chosen.configuration, "-np", "2"]
        run(command, environment=environment, log=log)
    return scans


def model_folder(chosen: Trained, workspace: Workspace) -> Path:
    """Where nnU-Net's trainer leaves the model."""
    return workspace.results / chosen.dataset / f"{TRAINER}__{PLANS}__{chosen.configuration}"


def compare(name: str, data: Path, work: Path, minutes: float, count: int) -> dict[str, Any]:
    """Train, import, predict by both, and compare voxel for voxel."""
    chosen, workspace, out = SETS[name], Workspace(work / "nnunet"), work / name
    out.mkdir(parents=True, exist_ok=True)
    scans = ready(chosen, data, workspace, out, count)
    folder = model_folder(chosen, workspace)
    environment = workspace.environment | {"nnUNet_n_proc_DA": "2"}
    if not (folder / "fold_0" / "checkpoint_final.pth").exists():
        child = ["-m", "benchmarks.nnunet_import", str(data), "--work", str(work), "--train", name]
        run(
            [sys.executable, *child, "--minutes", str(minutes)],
            environment=environment,
            log=out / "train.log",
        )
    for masks in ("theirs", "ours"):
        shutil.rmtree(out / masks, ignore_errors=True)
    theirs = [program("nnUNetv2_predict_from_modelfolder"), "-i", scans, "-o", out / "theirs", "-m", folder]
    theirs += ["-f", "0", "-device", "cpu", "-npp", "1", "-nps", "1", "--disable_progress_bar"]
    first = run(list(map(str, theirs)), environment=environment, log=out / "predict.log")
    vesal = [sys.executable, "-m", "vesal.cli"]
    model = out / "model.vesal"
    wanted = ["import", str(folder), "-o", str(model), "--licence", "unknown", "--json"]
    imported = run([*vesal, *wanted], log=out / "import.log")
    ours = ["predict", str(model), str(scans), "-o", str(out / "ours"), "--device", "cpu", "--tta", "--json"]
    second = run([*vesal, *ours], log=out / "predict.log")
    found = differing(out / "theirs", out / "ours") | {
        "set": name,
        "import_s": imported.seconds,
        "steps": read_json(folder / "fold_0" / "steps.json")["steps"],
        "backend": json.loads(second.output)["backend"],
    }
    for side, done in (("theirs", first), ("ours", second)):
        found |= measured(side, done)
    write_json(out / "result.json", found)
    return found


def measured(side: str, done: Finished) -> dict[str, float]:
    """Seconds and memory of a side."""
    return {f"{side}_s": done.seconds, f"{side}_mb": done.peak_mb}


def differing(theirs: Path, ours: Path) -> dict[str, Any]:
    """Voxels that differ between the masks of the same names, and the least Dice between two."""
    voxels = other = foreground = 0
    dice = []
    files = sorted(theirs.glob("*.nii.gz"))
    for file in files:
        one, two = read_labels(file), read_labels(ours / file.name)
        voxels, other = voxels + one.size, other + int(np.count_nonzero(one != two))
        foreground += int(np.count_nonzero(one))
        dice.append(mean_dice(one, two))
    return {
        "scans": len(files),
        "voxels": voxels,
        "differ": other,
        "foreground": foreground,
        "least_dice": min(dice),
    }


def table(found: list[dict[str, Any]]) -> str:
    """A row a set."""
    header = [
        "set",
        "steps trained",
        "scans",
        "voxels",
        "foreground",
        "voxels that differ",
        "equal",
        "least Dice",
    ]
    header += [
        "nnU-Net (s)",
        "Vesal (s)",
        "ratio",
        "nnU-Net (MB)",
        "Vesal (MB)",
        "ratio",
        "Vesal's network by",
    ]
    cells = []
    for one in found:
        row = [
            one["set"],
            one["steps"],
            one["scans"],
            f"{one['voxels']:,}",
            f"{one['foreground']:,}",
            one["differ"],
        ]
        row += [f"{1 - one['differ'] / one['voxels']:.4%}", f"{one['least_dice']:.5f}"]
        for unit, digits in (("s", 1), ("mb", 0)):
            theirs, ours = one[f"theirs_{unit}"], one[f"ours_{unit}"]
            row += [f"{theirs:.{digits}f}", f"{ours:.{digits}f}", f"{theirs / ours:.2f}"]
        cells.append([str(cell) for cell in (*row, one["backend"])])
    return markdown(header, cells)


def main() -> None:
    """Compare each set; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is written")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--minutes", type=float, default=3.0, help="of each training")
    parser.add_argument("--scans", type=int, default=20, help="that are predicted")
    parser.add_argument("--train", choices=list(SETS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    data, work = given.data.resolve(), given.work.resolve()
    if given.train:
        chosen = SETS[given.train]
        train(chosen.dataset, 0, 60.0 * given.minutes, chosen.configuration)
        return
    found = [compare(name, data, work, given.minutes, given.scans) for name in given.sets]
    print(f"{machine()} {versions()} {commit()}\n\n{table(found)}")


if __name__ == "__main__":
    main()
