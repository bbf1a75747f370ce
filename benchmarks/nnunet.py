"""nnU-Net's side: its folders, its plan as one of Vesal's, a model folder that its predict takes.

Nothing here imports nnU-Net or torch: its programs are run as its users run them.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesal.data.labels import LabelSet
from vesal.planning.plan import Normalisation, Plan, Stage

#: The configuration that is measured, and the names that nnU-Net gives to plans and trainer.
CONFIGURATION = "3d_fullres"
PLANS = "nnUNetPlans"
TRAINER = "nnUNetTrainer"


@dataclass(frozen=True)
class Workspace:
    """nnU-Net's three folders.

    Attributes:
        root: of the three.
    """

    root: Path

    @property
    def raw(self) -> Path:
        """Data sets as nnU-Net reads them."""
        return self.root / "nnUNet_raw"

    @property
    def preprocessed(self) -> Path:
        """Fingerprints, plans and prepared cases."""
        return self.root / "nnUNet_preprocessed"

    @property
    def results(self) -> Path:
        """Trained models."""
        return self.root / "nnUNet_results"

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment, with the variables by which nnU-Net finds the folders."""
        folders = {
            "nnUNet_raw": self.raw,
            "nnUNet_preprocessed": self.preprocessed,
            "nnUNet_results": self.results,
        }
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        return {**os.environ, **{name: str(folder.resolve()) for name, folder in folders.items()}}

    def plans_file(self, dataset: str) -> Path:
        """Where nnU-Net's planner writes."""
        return self.preprocessed / dataset / f"{PLANS}.json"

    def model_folder(self, dataset: str) -> Path:
        """Where nnU-Net's predict looks for a model."""
        return self.results / dataset / f"{TRAINER}__{PLANS}__{CONFIGURATION}"


def dataset_name(task: Path) -> str:
    """nnU-Net's name of a folder of the Medical Segmentation Decathlon.

    >>> dataset_name(Path("Task04_Hippocampus"))
    'Dataset004_Hippocampus'
    """
    number, _, name = task.name.removeprefix("Task").partition("_")
    return f"Dataset{int(number):03d}_{name}"


def dataset_number(dataset: str) -> str:
    """What nnU-Net's programs take for a data set.

    >>> dataset_number("Dataset004_Hippocampus")
    '4'
    """
    return str(int(dataset.removeprefix("Dataset").partition("_")[0]))


def write_raw(task: Path, workspace: Workspace) -> str:
    """Copy a folder of the Decathlon, scans with one channel, into nnU-Net's layout, byte for byte; its name there."""
    dataset = dataset_name(task)
    folder = workspace.raw / dataset
    if (folder / "dataset.json").exists():
        return dataset
    source = json.loads((task / "dataset.json").read_text())
    cases = [Path(entry["label"]).name.removesuffix(".nii.gz") for entry in source["training"]]
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for case in cases:
        shutil.copyfile(task / "imagesTr" / f"{case}.nii.gz", folder / "imagesTr" / f"{case}_0000.nii.gz")
        shutil.copyfile(task / "labelsTr" / f"{case}.nii.gz", folder / "labelsTr" / f"{case}.nii.gz")
    description = {
        "channel_names": source["modality"],
        "labels": {name: int(value) for value, name in source["labels"].items()},
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description, indent=1))
    return dataset


def vesal_plan(plans: dict[str, Any], labels: LabelSet, channels: tuple[str, ...]) -> Plan:
    """nnU-Net's plan as Vesal's: the same spacing, patch, batch, z-score and, weight for weight, the same network.

    nnU-Net's axes are (z, y, x), turned by its `transpose_forward`; Vesal's are (x, y, z) of scans whose voxels
    run along RAS+, as those of the Decathlon do.
    """
    found = plans["configurations"][CONFIGURATION]
    network = found["architecture"]["arch_kwargs"]
    order = axes(plans)
    schemes = set(found["normalization_schemes"])
    if schemes != {"ZScoreNormalization"}:
        raise ValueError(f"only z-scores are compared here, not {schemes}")

    def turned(sizes: Any) -> tuple[Any, ...]:
        return tuple(sizes[axis] for axis in order)

    stages = tuple(
        Stage(features=features, kernel=turned(kernel), stride=turned(stride), convolutions=count)
        for features, kernel, stride, count in zip(
            network["features_per_stage"],
            network["kernel_sizes"],
            network["strides"],
            network["n_conv_per_stage"],
            strict=True,
        )
    )
    return Plan(
        dimension=3,
        spacing_mm=turned([float(value) for value in found["spacing"]]),
        patch=turned(found["patch_size"]),
        batch=found["batch_size"],
        stages=stages,
        # nnU-Net's lowest head has weight 0 in its loss.
        heads=max(1, len(stages) - 2),
        bias=network["conv_bias"],
        normalisation=tuple(
            Normalisation(scheme="zscore_nonzero" if masked else "zscore")
            for masked in found["use_mask_for_norm"]
        ),
        mirror_axes=(0, 1, 2),
        channels=channels,
        labels=labels,
        median_shape=turned([round(size) for size in found["median_image_size_in_voxels"]]),
    )


def axes(plans: dict[str, Any]) -> tuple[int, int, int]:
    """For each axis x, y, z of a scan, which axis of nnU-Net's arrays it is.

    >>> axes({"transpose_forward": [0, 1, 2]}), axes({"transpose_forward": [2, 0, 1]})
    ((2, 1, 0), (0, 2, 1))
    """
    forward = list(plans["transpose_forward"])
    # Before the turn x is the last axis.
    x, y, z = (forward.index(axis) for axis in (2, 1, 0))
    return x, y, z
