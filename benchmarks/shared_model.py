"""One network, trained once for a short time, as a model of Vesal and as a model of nnU-Net.

python -m benchmarks.shared_model TASK --work FOLDER --data FOLDER

It is nnU-Net's network for the data set, and the plan says to Vesal what nnU-Net's says to nnU-Net: spacing,
patch, normalisation. It is trained with Vesal on patches small enough for some minutes of a CPU, for it has to
find the object, not to be good. That both tools compute the same logits is checked before anything is written.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.nnunet import CONFIGURATION, TRAINER, Workspace, axes, dataset_name, vesal_plan
from benchmarks.weights import to_nnunet
from vesal.layouts.registry import load_dataset
from vesal.nn.model_file import Package, load_package, save_package
from vesal.planning.plan import Plan

#: Largest difference of two logits that is rounding.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Lesson:
    """How the shared network of a data set is trained.

    Attributes:
        patch: a small one, in multiples of the network's strides.
        steps: of one patch each.
    """

    patch: tuple[int, int, int]
    steps: int


#: Written out, for Vesal's own recipe changes.
RECIPE = """\
recipe: shared-model
optimizer: muon
lr: 0.003
loss_options: {batch_dice: true}
ema: 0.95
foreground_share: 0.5
augment: {enabled: false}
"""

LESSONS = {
    "Task04_Hippocampus": Lesson((32, 48, 32), 150),
    "Task02_Heart": Lesson((64, 64, 32), 100),
}


@dataclass(frozen=True)
class Models:
    """The same weights for both tools.

    Attributes:
        vesal: a model file.
        nnunet: a model folder, where nnU-Net's predict finds it by the data set's number.
        dataset: nnU-Net's name of the data set.
    """

    vesal: Path
    nnunet: Path
    dataset: str

    @classmethod
    def of(cls, task: str, work: Path) -> Models:
        """Where the models of a data set are."""
        dataset = dataset_name(Path(task))
        folder = Workspace(work / "nnunet").model_folder(dataset)
        return cls(work / "models" / f"{task}.vesal", folder, dataset)

    @property
    def ready(self) -> bool:
        """Whether they were made before."""
        return self.vesal.exists() and (self.nnunet / "fold_0" / "checkpoint_final.pth").exists()


def train_weights(task: Path, plan: Plan, work: Path) -> dict[str, torch.Tensor]:
    """The weights after the data set's lesson."""
    lesson = LESSONS[task.name]
    small = plan.model_copy(update={"patch": lesson.patch, "batch": 1})
    run = work / "runs" / task.name
    if not (run / "fold_all" / "model.vesal").exists():
        shutil.rmtree(run, ignore_errors=True)
        run.parent.mkdir(parents=True, exist_ok=True)
        small.save(run.parent / f"{task.name}.json")
        (run.parent / "recipe.yaml").write_text(RECIPE)
        subprocess.run(
            [
                str(Path(sys.executable).parent / "vesal"), "train", str(task), "-o", str(run), "--device", "cpu",
                "--plan", str(run.parent / f"{task.name}.json"), "--recipe", str(run.parent / "recipe.yaml"),
                "--steps", str(lesson.steps), "--cache", str(work / "prepared"),
            ],
            check=True,
        )  # fmt: skip
    return load_package(next(run.glob("fold_*/model.vesal"))).weights


def write_models(task: Path, work: Path) -> Models:
    """Train if need be, and write both models.

    Raises:
        ValueError: the two networks do not compute the same.
    """
    models = Models.of(task.name, work)
    workspace = Workspace(work / "nnunet")
    plans = json.loads(workspace.plans_file(models.dataset).read_text())
    description = json.loads((workspace.raw / models.dataset / "dataset.json").read_text())
    dataset = load_dataset(task)
    plan = vesal_plan(plans, dataset.labels, dataset.channels)
    weights = train_weights(task, plan, work)
    network = nnunet_network(plans, description)
    network.load_state_dict(to_nnunet(weights, network.state_dict(), axes(plans), len(plan.stages)))
    package = Package(plan, "unet", {}, {"made for": "a comparison of speed"}, weights)
    difference = largest_difference(package, network, plan, axes(plans))
    print(f"largest difference of the logits: {difference:.2g}")
    if difference > TOLERANCE:
        raise ValueError(f"the logits of {task.name} differ by up to {difference:.2g}")
    write_nnunet(models.nnunet, network, plans, description)
    models.vesal.parent.mkdir(parents=True, exist_ok=True)
    save_package(models.vesal, package)
    return models


def nnunet_network(plans: dict[str, Any], description: dict[str, Any]) -> torch.nn.Module:
    """The network as nnU-Net's trainer builds it, without deep supervision."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(plans)
    configuration = manager.get_configuration(CONFIGURATION)
    inputs = determine_num_input_channels(manager, configuration, description)
    outputs = manager.get_label_manager(description).num_segmentation_heads
    network: torch.nn.Module = nnUNetTrainer.build_network_architecture(
        manager, configuration, inputs, outputs, enable_deep_supervision=False
    )
    return network.eval()


@torch.inference_mode()
def largest_difference(
    package: Package, network: torch.nn.Module, plan: Plan, order: tuple[int, ...]
) -> float:
    """Of the logits for a patch of noise, the plan's if that is small, else a quarter of it along each axis."""
    quarter = plan.patch if min(plan.patch) < 64 else tuple(
        max(2 * stride, size // 4 // stride * stride)
        for size, stride in zip(plan.patch, plan.total_stride, strict=True)
    )  # fmt: skip
    image = torch.randn(1, plan.inputs, *quarter, generator=torch.Generator().manual_seed(0))
    back = [order.index(axis) for axis in range(3)]
    theirs = network(image.permute(0, 1, *(2 + axis for axis in back)).contiguous())
    ours = package.build()(image)
    return float((theirs.permute(0, 1, *(2 + axis for axis in order)) - ours).abs().max())


def write_nnunet(
    folder: Path, network: torch.nn.Module, plans: dict[str, Any], description: dict[str, Any]
) -> None:
    """A folder that nnUNetv2_predict takes for a trained model."""
    (folder / "fold_0").mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(description))
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": TRAINER,
        "init_args": {"configuration": CONFIGURATION},
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    temporary = folder / "fold_0" / "checkpoint.tmp"
    torch.save(checkpoint, temporary)
    temporary.replace(folder / "fold_0" / "checkpoint_final.pth")


def main() -> None:
    """Write the models of one data set."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", choices=sorted(LESSONS))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    chosen = parser.parse_args()
    os.environ.update(Workspace(chosen.work / "nnunet").environment)
    write_models(chosen.data / chosen.task, chosen.work)


if __name__ == "__main__":
    main()
