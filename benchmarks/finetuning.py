"""What a model of 100 hippocampi brings to 5, 10 and 20 cases of a shifted task, beside a training from the start.

    python -m benchmarks.finetuning Task04_Hippocampus OUT --source 3m --budget 75s

The shifted tasks are made of cases that the model has not seen: every second slice alone is kept (2 mm apart), and the
two parts become one class, so that the head is new ("coarse"); and the intensities are turned over besides, as another
contrast would ("coarse, inverted"). Both trainings of a pair run side by side, a thread each, for the same time, and
predict the same held-out cases. What is finished is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from vesal.evaluate.compare_text import sentence
from vesal.evaluate.paired_comparison import Comparison
from vesal.files import write_json, write_text
from vesal.run_files import FOLDS, SCORES, fold_folder
from vesal.workflow.compare import compare_runs

SOURCE_CASES, SIZES, HELD_OUT = 100, (5, 10, 20), 32
TASKS = {"coarse": False, "coarse, inverted": True}


def shifted(data: Path, names: Sequence[str], folder: Path, *, inverted: bool) -> None:
    """The cases of these names as a task of their own, in MSD's layout."""
    if (folder / "dataset.json").exists():
        return
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for name in names:
            scan = nib.load(data / part / f"{name}.nii.gz")
            array = np.asarray(scan.dataobj)[:, :, ::2]
            affine = scan.affine @ np.diag([1.0, 1.0, 2.0, 1.0])
            if part == "labelsTr":
                array = (array > 0).astype(np.uint8)
            elif inverted:
                array = array.max() - array
            nib.save(nib.Nifti1Image(np.ascontiguousarray(array), affine), folder / part / f"{name}.nii.gz")
    write_json(folder / "dataset.json", description(names, {"0": "background", "1": "hippocampus"}))


def description(names: Sequence[str], labels: dict[str, str]) -> dict[str, object]:
    """What a Decathlon's dataset.json says of these cases."""
    training = [
        {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names
    ]
    return {"name": "Hippocampus", "modality": {"0": "MRI"}, "labels": labels, "training": training}


def source_data(data: Path, names: Sequence[str], folder: Path) -> None:
    """The cases of the model, as they are."""
    if (folder / "dataset.json").exists():
        return
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / part / f"{name}.nii.gz").symlink_to((data / part / f"{name}.nii.gz").absolute())
    labels = {"0": "background", "1": "Anterior", "2": "Posterior"}
    write_json(folder / "dataset.json", description(names, labels))


def split(names: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Cases of the model, cases to fine-tune with, and held-out cases.

    >>> [len(part) for part in split([str(number) for number in range(208)])]
    [100, 20, 32]
    """
    rest = list(names[SOURCE_CASES + max(SIZES) :])
    places = np.linspace(0, len(rest) - 1, HELD_OUT).round().astype(int)
    return (
        list(names[:SOURCE_CASES]),
        list(names[SOURCE_CASES : SOURCE_CASES + max(SIZES)]),
        [rest[place] for place in places],
    )


def commands(model: Path, data: Path, out: Path, budget: str) -> dict[str, list[str]]:
    """Of both trainings of a pair."""
    common = ["--folds", str(out / FOLDS), "--fold", "0", "--budget", budget, "--device", "cpu", "--json"]
    return {
        "scratch": ["train", str(data), "-o", str(out / "scratch"), *common],
        "finetuned": ["finetune", str(model), str(data), "-o", str(out / "finetuned"), *common],
    }


def train_pair(model: Path, data: Path, out: Path, budget: str) -> Comparison:
    """Both side by side, a thread each; the comparison of their scores, B the fine-tuned one."""
    running = {
        name: subprocess.Popen(
            [sys.executable, "-m", "vesal", *words],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
        )
        for name, words in commands(model, data, out, budget).items()
        if not (out / name / SCORES).exists()
    }
    for name, process in running.items():
        if process.wait():
            raise SystemExit(f"{name} of {out} failed; run its command by hand.")
    return compare_runs(
        [out / "scratch"], [out / "finetuned"], names=("from scratch", "fine-tuned"), out=out / "compared"
    )


def table(found: dict[tuple[str, int], Comparison]) -> str:
    """A row for each task and number of cases."""
    lines = [
        "| task | cases | from scratch | fine-tuned | difference (95 % interval) | Wilcoxon p |",
        "|---|---|---|---|---|---|",
    ]
    for (task, size), comparison in found.items():
        row = comparison.overall
        values = (row.a, row.b, row.difference, row.low, row.high, row.wilcoxon_p)
        a, b, gap, low, high, p = (float("nan") if value is None else value for value in values)
        lines.append(
            f"| {task} | {size} | {a:.3f} | {b:.3f} | {gap:+.3f} ({low:+.3f} to {high:+.3f}) | {p:.2g} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make the data, train, compare, write OUT/finetuning.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--source", default="3m", help="time of the model of 100")
    parser.add_argument("--budget", default="75s", help="time of each other training")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    asked = parser.parse_args()
    names = sorted(
        path.name.removesuffix(".nii.gz") for path in (asked.data / "labelsTr").glob("[!.]*.nii.gz")
    )
    first, few, held_out = split(names)
    model = fold_folder(asked.out / "source", "all")
    if not (model / "finished.json").exists():
        source_data(asked.data, first, asked.out / "data" / "source")
        words = [
            str(asked.out / "data" / "source"),
            "-o",
            str(asked.out / "source"),
            "--budget",
            asked.source,
        ]
        subprocess.run(
            [sys.executable, "-m", "vesal", "train", *words, "--device", "cpu", "--json"], check=True
        )
    found: dict[tuple[str, int], Comparison] = {}
    for task, inverted in TASKS.items():
        folder = asked.out / "data" / task.replace(", ", "-")
        shifted(asked.data, [*few, *held_out], folder, inverted=inverted)
        for size in map(int, asked.sizes.split(",")):
            out = asked.out / folder.name / str(size)
            out.mkdir(parents=True, exist_ok=True)
            (out / FOLDS).write_text(json.dumps({"train": few[:size], "val": held_out}))
            found[task, size] = train_pair(model / "model.vesal", folder, out, asked.budget)
            print(f"{task}, {size} cases: {sentence(found[task, size])}", flush=True)
            write_text(asked.out / "finetuning.md", table(found))


if __name__ == "__main__":
    main()
