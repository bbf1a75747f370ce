"""Everything that Vesal writes of a scan with a result on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from annotation_examples import annotated
from numpy.typing import NDArray

from vesal.data.dataset import Case
from vesal.data.labels import LabelSet
from vesal.volume.dicom import series_file
from vesal.volume.dicom.tilt import straight
from vesal.volume.geometry import Geometry
from vesal.volume.resample import resample_label
from vesal.volume.volume import LabelMap
from vesal.workflow.prediction.dicom_results import DicomResult, write_dicom

#: Regions that overlap, and labels that do not.
NESTED = LabelSet.from_values({"left atrium": 1, "tumour": 2},
                              regions={"whole": ["left atrium", "tumour"], "tumour": ["tumour"]})  # fmt: skip
APART = LabelSet.from_values({"left atrium": 1, "tumour": 2})


@dataclass(frozen=True, eq=False)
class Written:
    """Files of a result.

    Attributes:
        scan: the folder of the series.
        geometry: of its slices as they were taken.
        masks: class -> (columns, rows, slices).
        files: kind -> the object.
    """

    scan: Path
    geometry: Geometry
    masks: dict[str, NDArray[np.bool_]]
    files: dict[str, Path]


def written(folder: Path, labels: LabelSet, *kinds: str, affine: NDArray[Any] | None = None) -> Written:
    """A drawn scan with blobs on it, and the objects of these kinds."""
    example = annotated(folder / "scan", affine)
    first, second = example.masks.values()
    array = np.where(second, 2, np.where(first, 1, 0)).astype(np.uint8)
    geometry = example.scan.stack.geometry
    grid = straight(geometry)
    label = LabelMap(array, geometry)
    label = label if grid is geometry else resample_label(label, grid)
    values = np.stack([label.array == 1, label.array == 2]).astype(np.float32)
    generator = np.random.default_rng(3)
    files = {kind: folder / f"{kind}.dcm" for kind in kinds}
    result = DicomResult(
        case=Case(id="scan-1", patient="patient-1", images=(example.paths[0],)),
        label=label,
        labels=labels,
        model="ab" * 32,
        expected_dice=dict.fromkeys(labels.classes, 0.9),
        concern="under the smallest of the training",
        probabilities=[
            (0.2 + 0.6 * one) * generator.uniform(0.9, 1, one.shape).astype(np.float32) for one in values
        ],
        volume=series_file.read(example.paths[0]),
    )
    write_dicom(files, result)
    masks = {"left atrium": array == 1, "tumour": array == 2, "whole": array > 0}
    return Written(folder / "scan", geometry, {name: masks[name] for name in labels.classes}, files)
