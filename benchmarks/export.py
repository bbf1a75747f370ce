"""Logits on the prepared grid -> labels on the scan's own grid: one call in a process of its own.

python -m benchmarks.export SIDE SIZE --work FOLDER

SIDE is nnunet or vesal, SIZE a key of `SIZES`. The logits are made up: smooth, with every class somewhere. The
seconds are of the call alone; the memory is the process's high-water mark, logits and libraries included.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.nnunet import CONFIGURATION, Workspace
from benchmarks.processes import high_water_mb
from vesal.data.labels import LabelSet
from vesal.infer.logits_to_labels import labels_from_logits

#: Whose plan nnU-Net's export function is given; the sizes are this file's.
DATASET = "Dataset002_Heart"


@dataclass(frozen=True)
class Size:
    """An export.

    Attributes:
        classes: K, the background among them.
        prepared, source: voxels of the two grids, (x, y, z).
        prepared_mm, source_mm: their spacings.
    """

    classes: int
    prepared: tuple[int, int, int]
    source: tuple[int, int, int]
    prepared_mm: tuple[float, float, float]
    source_mm: tuple[float, float, float]


SIZES = {
    "heart": Size(2, (267, 267, 119), (320, 320, 130), (1.5, 1.5, 1.5), (1.25, 1.25, 1.37)),
    "organs": Size(14, (171, 171, 171), (256, 256, 256), (1.5, 1.5, 1.5), (1.0, 1.0, 1.0)),
}


def made_up(classes: int, shape: tuple[int, ...]) -> Tensor:
    """Logits (classes, *shape) float32: random numbers on a coarse grid, brought smoothly to the fine one."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.empty(classes, *shape)
    for index in range(classes):
        coarse = torch.randn(1, 1, 8, 8, 8, generator=generator)
        logits[index] = torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear")[0, 0]
    return logits


def with_vesal(logits: Tensor, size: Size) -> np.ndarray[Any, Any]:
    """Vesal's export, (x, y, z)."""
    labels = LabelSet.from_values({f"class {value}": value for value in range(1, size.classes)})
    return labels.decode(labels_from_logits(logits, size.source, labels))


def nnunet_export(size: Size, plans: dict[str, Any]) -> Callable[[Tensor], np.ndarray[Any, Any]]:
    """nnU-Net's export by the resampling functions of its plan: logits (K, z, y, x) -> labels (z, y, x)."""
    from nnunetv2.inference.export_prediction import (
        convert_predicted_logits_to_segmentation_with_correct_shape as export,
    )
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = {**plans, "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2]}
    plans["configurations"][CONFIGURATION]["spacing"] = list(size.prepared_mm[::-1])
    manager = PlansManager(plans)
    names = {"background": 0, **{f"class {value}": value for value in range(1, size.classes)}}
    description = {"labels": names, "channel_names": {"0": "MRI"}, "file_ending": ".nii.gz"}
    source = size.source[::-1]
    properties = {
        "spacing": list(size.source_mm[::-1]),
        "shape_before_cropping": source,
        "shape_after_cropping_and_before_resampling": source,
        "bbox_used_for_cropping": [[0, length] for length in source],
    }
    configuration = manager.get_configuration(CONFIGURATION)
    labels = manager.get_label_manager(description)
    # Threads: nnU-Net's own choice, 8, of which no more can run than there are cores.
    return lambda logits: export(logits, manager, configuration, labels, properties)


def main() -> None:
    """Export once, print what it took, keep the labels for a comparison."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("side", choices=("nnunet", "vesal"))
    parser.add_argument("size", choices=sorted(SIZES))
    parser.add_argument("--work", type=Path, required=True)
    chosen = parser.parse_args()
    size = SIZES[chosen.size]
    logits = made_up(size.classes, size.prepared)
    if chosen.side == "nnunet":
        workspace = Workspace(chosen.work / "nnunet")
        os.environ.update(workspace.environment)
        plans = json.loads(workspace.plans_file(DATASET).read_text())
        export = nnunet_export(size, plans)
        logits = logits.permute(0, 3, 2, 1).contiguous()
        began = time.perf_counter()
        labels = export(logits).transpose(2, 1, 0)
    else:
        began = time.perf_counter()
        labels = with_vesal(logits, size)
    seconds = time.perf_counter() - began
    (chosen.work / "export").mkdir(parents=True, exist_ok=True)
    np.save(chosen.work / "export" / f"{chosen.size}-{chosen.side}.npy", labels.astype(np.uint8))
    print(json.dumps({"seconds": seconds, "peak_mb": high_water_mb()}))


if __name__ == "__main__":
    main()
