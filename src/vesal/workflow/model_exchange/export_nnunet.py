"""A model of Vesal's as a folder that nnU-Net v2 itself predicts with, where the network is one of its kind."""

from __future__ import annotations

import shlex
from pathlib import Path

import torch

from vesal.errors import UsageError
from vesal.files import atomic_path, write_json
from vesal.infer.model_packages import read_packages
from vesal.nn.licence import LICENCE, ORIGIN, licence_remarks
from vesal.nn.model_file import Package
from vesal.nn.nnunet.plans_writer import (
    TRAINER,
    allowed_mirroring,
    configuration_name,
    dataset_json,
    differences,
    plans_json,
    require_expressible,
)
from vesal.nn.nnunet.weight_names import to_nnunet
from vesal.outputs import OutputFolder
from vesal.record import Record

#: Of nnU-Net's folder.
_FILES = ("plans.json", "dataset.json")
_CHECKPOINT = "fold_{}/checkpoint_final.pth"


class NnunetExport(Record):
    """The files of the folder, the command that predicts with it, and what nnU-Net does otherwise."""

    files: tuple[Path, ...]
    command: str
    remarks: tuple[str, ...] = ()

    def text(self) -> str:
        """The files, what to do with them, and what is to be known."""
        return "\n".join(
            [*(f"Wrote {path}" for path in self.files), f"Predict: {self.command}", *self.remarks]
        )


def export_nnunet(source: Path, folder: Path) -> NnunetExport:
    """Write a model as nnU-Net's TRAINER__PLANS__CONFIGURATION, each network that votes as a fold.

    Args:
        source: a model file or a run folder.
        folder: that is written; it is the model's own, which `nnUNetv2_predict_from_modelfolder -m` takes.

    Raises:
        UsageError: nnU-Net cannot do what the model does, or a file would be replaced that Vesal did not write there.
        VesalError: the model is damaged.
    """
    _, packages = read_packages(source)
    first = packages[0]
    voters = [voter for package in packages for voter in package.voters]
    for package in packages:
        require_expressible(package.plan, package.network)
        if (package.network, _shape(package)) != (first.network, _shape(first)):
            raise UsageError(
                "nnU-Net's folds have one network, and these models differ in theirs; name one model."
            )
    for voter in voters:
        _check_shortcuts(voter)
    name = "Dataset001_Vesal"
    files = [
        folder / one for one in (*_FILES, *(_CHECKPOINT.format(number) for number in range(len(voters))))
    ]
    with OutputFolder(folder) as output:
        output.refuse(files)
        write_json(files[0], plans_json(first.plan, first.network, name))
        stated = {key: first.provenance[key] for key in (LICENCE, ORIGIN) if key in first.provenance}
        write_json(files[1], dataset_json(first.plan) | stated)
        for voter, file in zip(voters, files[2:], strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(file) as temporary:
                torch.save(_checkpoint(voter), temporary)
    words = ["nnUNetv2_predict_from_modelfolder", "-i", "SCANS", "-o", "MASKS", "-m", str(folder), "-f"]
    command = shlex.join([*words, *(str(number) for number in range(len(voters)))])
    return NnunetExport(files=tuple(files), command=command, remarks=tuple(_remarks(first)))


def _checkpoint(package: Package) -> dict[str, object]:
    """What nnU-Net's predictor reads of a checkpoint."""
    return {
        "network_weights": to_nnunet(package.weights, package.plan, package.network),
        "trainer_name": TRAINER,
        "init_args": {"configuration": configuration_name(package.plan)},
        "inference_allowed_mirroring_axes": allowed_mirroring(package.plan),
    }


def _shape(package: Package) -> tuple[object, ...]:
    plan = package.plan
    return plan.stages, plan.norm, plan.bias


def _check_shortcuts(package: Package) -> None:
    """nnU-Net's shortcuts have no bias; an instance norm takes it away anyhow, a batch norm that predicts does not."""
    biases = (one for name, one in package.weights.items() if name.endswith("project.conv.bias"))
    if package.plan.norm == "batch" and any(one.any() for one in biases):
        raise UsageError(
            "nnU-Net cannot predict with this model: the shortcuts of its residual blocks have no bias before a batch "
            "norm; train with plan.bias=false."
        )


def _remarks(package: Package) -> list[str]:
    found = differences(package.plan)
    if package.postprocess is not None:
        found.append(
            "Post-processing is not in the folder: nnU-Net's masks are those of vesal predict --no-postprocess."
        )
    return [*found, *licence_remarks(package.provenance)]
