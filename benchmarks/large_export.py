"""60 classes on a scan of 512x512x400 voxels from a model at 1.5 mm: a process of its own.

python -m benchmarks.large_export --work FOLDER

The network is made up: it copies nothing but the scan's intensity, class k wherever that is nearest to k, so that the
time is that of everything around a network. The scan is a smooth field, so that every class has borders. From the
scan in memory to the file of its labels: preparation, windows, export, writing.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.export import made_up
from benchmarks.processes import high_water_mb
from vesal.data.labels import LabelSet
from vesal.infer.model import Model
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.preprocessing.prepare import prepare
from vesal.volume.geometry import Geometry
from vesal.volume.io import write_label
from vesal.volume.volume import Volume

CLASSES = 60
SHAPE, SPACING_MM = (512, 512, 400), (0.8, 0.8, 1.0)


def made_up_plan() -> Plan:
    """Of a model at 1.5 mm with windows of 128x128x128."""
    return Plan(
        dimension=3,
        spacing_mm=(1.5, 1.5, 1.5),
        patch=(128, 128, 128),
        batch=1,
        stages=(Stage(features=8, kernel=(3, 3, 3), stride=(1, 1, 1)),),
        normalisation=(Normalisation(scheme="window", lower=0.0, upper=CLASSES - 1.0),),
        crop_to_nonzero=False,
        image_order=1,
        mirror_axes=(),
        channels=("CT",),
        labels=LabelSet.from_values({f"class {value}": value for value in range(1, CLASSES)}),
        median_shape=(273, 273, 267),
    )


class Levels:
    """(N, 1, *S) in 0..1 -> logits (N, K, *S): the k-th is largest where the intensity is nearest to k / (K - 1)."""

    def __init__(self, classes: int) -> None:
        levels = torch.linspace(0, 1, classes)
        # -(x - k)^2 without x^2, which all have.
        self._weight = (2 * levels).view(-1, 1, 1, 1, 1) * classes
        self._bias = -(levels**2) * classes

    def __call__(self, batch: Tensor) -> Tensor:
        return torch.nn.functional.conv3d(batch, self._weight, self._bias)


def made_up_scan() -> Volume:
    """int16, 0 to CLASSES - 1, smooth."""
    field = made_up(1, SHAPE)
    field -= field.min()
    field *= (CLASSES - 1) / field.max()
    return Volume(field.round_().to(torch.int16).numpy(), Geometry.from_spacing(SHAPE, SPACING_MM))


def main() -> None:
    """Predict once, print what it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    out = parser.parse_args().work / "export" / "large.nii.gz"
    out.parent.mkdir(parents=True, exist_ok=True)
    scan = made_up_scan()
    model = Model(made_up_plan(), (Levels(CLASSES),), torch.device("cpu"))
    before = high_water_mb()
    began = time.perf_counter()
    prepared = prepare(scan, model.plan)
    ready = time.perf_counter()
    label = model.segment(prepared, model.windows())
    segmented = time.perf_counter()
    write_label(out, label)
    ended = time.perf_counter()
    print(
        json.dumps(
            {
                "seconds": ended - began,
                "peak_mb": high_water_mb(),
                "prepare_s": ready - began,
                "segment_s": segmented - ready,
                "write_s": ended - segmented,
                "before_mb": before,
                "right": float(np.mean(np.abs(label.array - scan.array[0]) <= 1)),
            }
        )
    )


if __name__ == "__main__":
    main()
