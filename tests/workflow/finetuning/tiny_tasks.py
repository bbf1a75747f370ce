"""Variations of the tiny data set: other labels, added cases, cases in which some labels were not drawn."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

LABELS = {"0": "background", "1": "shell", "7": "core"}


def task(
    source: Path,
    folder: Path,
    *,
    added: int = 0,
    labels: Mapping[str, str] = LABELS,
    channel: str = "MRI",
    annotated: Mapping[str, list[str]] | None = None,
) -> Path:
    """A copy of the data set with these labels; `added` cases are those that are there, brighter and noisier."""
    shutil.copytree(source, folder)
    description: dict[str, Any] = json.loads((folder / "dataset.json").read_text())
    for number in range(added):
        case, new = f"tiny_{number:02}", f"tiny_{20 + number}"
        scan = nib.load(folder / "imagesTr" / f"{case}.nii.gz")
        noise = np.random.default_rng(number).normal(30, 15, scan.shape)
        image = (np.asarray(scan.dataobj) + noise).astype(np.int16)
        nib.save(nib.Nifti1Image(image, scan.affine), folder / "imagesTr" / f"{new}.nii.gz")
        shutil.copy(folder / "labelsTr" / f"{case}.nii.gz", folder / "labelsTr" / f"{new}.nii.gz")
        description["training"].append(
            {"image": f"./imagesTr/{new}.nii.gz", "label": f"./labelsTr/{new}.nii.gz"}
        )
    description |= {"labels": dict(labels), "modality": {"0": channel}}
    if annotated is not None:
        description["annotated"] = dict(annotated)
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder
