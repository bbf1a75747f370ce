"""nnU-Net itself, trained as long as a run of Vesal's and on its split, by the same machine.

    python -m benchmarks.nnunet_training TASK --folds RUN/folds.json --fold 0 --budget 20m --work FOLDER

TASK is a folder of the Medical Segmentation Decathlon. nnU-Net plans and prepares as it always does; its trainer's
steps are its own, and its learning rate, which falls over 250,000 steps, falls over the time instead. The held-out
scans are predicted without mirroring, as Vesal's are, and measured by `vesal evaluate`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.nnunet import CONFIGURATION, PLANS, TRAINER, Workspace, dataset_number, write_raw
from benchmarks.parts import program
from benchmarks.processes import run
from benchmarks.record import machine
from vesal.data.folds import Folds
from vesal.files import read_json, write_json
from vesal.train.recipe import parse_duration

#: Written by the trainer beside its checkpoint.
_STEPS = "steps.json"


def train(dataset: str, fold: int, seconds: float, configuration: str = CONFIGURATION) -> None:
    """Train a fold for so long; in a process of its own, whose environment names nnU-Net's folders."""
    import torch
    from nnunetv2.paths import nnUNet_preprocessed
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    def run_training(self: Any) -> None:
        self.on_train_start()
        self.network.train()
        began, steps = time.monotonic(), 0
        while (share := (time.monotonic() - began) / seconds) < 1.0:
            for group in self.optimizer.param_groups:
                group["lr"] = self.initial_lr * (1.0 - share) ** 0.9
            self.train_step(next(self.dataloader_train))
            steps += 1
        took = {"steps": steps, "seconds": time.monotonic() - began, "budget_s": seconds}
        write_json(Path(self.output_folder) / _STEPS, took)
        self.on_train_end()

    # Under its own name, by which its predictor looks for the class.
    timed = type(TRAINER, (nnUNetTrainer,), {"run_training": run_training})
    prepared = Path(str(nnUNet_preprocessed)) / dataset
    plans = read_json(prepared / f"{PLANS}.json") | {"continue_training": False}
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    timed(
        plans=plans,
        configuration=configuration,
        fold=fold,
        dataset_json=read_json(prepared / "dataset.json"),
        device=torch.device("cpu"),
    ).run_training()


def ready(task: Path, folds: Path, workspace: Workspace, log: Path) -> str:
    """Plan and prepare where that is not done, and give nnU-Net the run's split; its name of the data set."""
    dataset = write_raw(task, workspace)
    if not workspace.plans_file(dataset).exists():
        command = ["-d", dataset_number(dataset), "-c", CONFIGURATION, "--no_pbar", "-npfp", "2", "-np", "2"]
        run([program("nnUNetv2_plan_and_preprocess"), *command], environment=workspace.environment, log=log)
    split = Folds(**read_json(folds))
    splits = [{"train": split.train(fold), "val": split.validation(fold)} for fold in range(split.count)]
    write_json(workspace.preprocessed / dataset / "splits_final.json", splits)
    return dataset


def measured(task: Path, dataset: str, fold: int, workspace: Workspace, out: Path) -> dict[str, Any]:
    """Predict the fold's held-out scans with what was trained, and measure them."""
    held_out = read_json(workspace.preprocessed / dataset / "splits_final.json")[fold]["val"]
    scans, truth, masks = (out / name for name in ("scans", "truth", "masks"))
    for folder in (scans, truth):
        folder.mkdir(parents=True, exist_ok=True)
    for case in held_out:
        shutil.copyfile(task / "imagesTr" / f"{case}.nii.gz", scans / f"{case}_0000.nii.gz")
        shutil.copyfile(task / "labelsTr" / f"{case}.nii.gz", truth / f"{case}.nii.gz")
    command = [program("nnUNetv2_predict"), "-i", str(scans), "-o", str(masks), "-d", dataset_number(dataset)]
    command += ["-c", CONFIGURATION, "-f", str(fold), "-chk", "checkpoint_final.pth", "--disable_tta"]
    command += ["-device", "cpu", "-npp", "1", "-nps", "1", "--disable_progress_bar", "--continue_prediction"]
    predicted = run(command, environment=workspace.environment, log=out / "predict.log")
    evaluate = ["-m", "vesal.cli", "evaluate", str(masks), str(truth), "-o", str(out / "scores")]
    shutil.rmtree(out / "scores", ignore_errors=True)
    run([sys.executable, *evaluate], log=out / "evaluate.log")
    rows = read_json(out / "scores" / "scores.json")["summary"]
    dice = {row["class"]: [row["mean"], row["low"], row["high"]] for row in rows if row["metric"] == "dice"}
    return {
        "dice": dice,
        "cases": len(held_out),
        "predict_s": predicted.seconds,
        "predict_mb": predicted.peak_mb,
    }


def main() -> None:
    """Train, predict, measure; print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("task", type=Path)
    parser.add_argument("--folds", type=Path, help="folds.json of a run")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--budget", default="20m")
    parser.add_argument("--work", type=Path, help="folder for all that nnU-Net writes")
    parser.add_argument("--train", metavar="DATASET", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    seconds = parse_duration(chosen.budget)
    if chosen.train:
        train(chosen.train, chosen.fold, seconds)
        return
    workspace = Workspace(chosen.work.resolve() / "nnunet")
    out = chosen.work.resolve() / f"{chosen.task.name}_{chosen.budget}_fold_{chosen.fold}"
    out.mkdir(parents=True, exist_ok=True)
    dataset = ready(chosen.task, chosen.folds, workspace, out / "prepare.log")
    trained = workspace.model_folder(dataset) / f"fold_{chosen.fold}" / _STEPS
    if not trained.exists() or read_json(trained)["budget_s"] != seconds:
        child = ["-m", "benchmarks.nnunet_training", str(chosen.task), "--train", dataset]
        child += ["--fold", str(chosen.fold), "--budget", chosen.budget]
        run([sys.executable, *child], environment=workspace.environment, log=out / "train.log")
        # Those of a network before it, which a prediction that goes on would keep.
        shutil.rmtree(out / "masks", ignore_errors=True)
    found = measured(chosen.task, dataset, chosen.fold, workspace, out)
    write_json(out / "result.json", read_json(trained) | found | {"machine": machine()})
    print(json.dumps(read_json(out / "result.json")))


if __name__ == "__main__":
    main()
