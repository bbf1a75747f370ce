"""Whole-volume prediction in memory with the same weights: Vesal's windows and MONAI's, in one process.

python -m benchmarks.windows --work FOLDER

A worker of `beside` that measures one side after the other and says in how many voxels both find the same class. The
network is the shared one for hippocampus, the volume is noise of 80x84x80 voxels: 18 windows of 40x56x40, which both
tools put at the same places and blend by the same Gaussian, but for its smallest values, in the windows' corners.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from benchmarks.processes import high_water_mb, serve
from benchmarks.shared_model import Models
from benchmarks.steps import dynunet
from benchmarks.weights import fill_dynunet
from vesal.infer.predictor import load_model

SHAPE = (80, 84, 80)


def main() -> None:
    """Set both up, then measure on demand."""
    from monai.inferers import SlidingWindowInferer

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    model = load_model(Models.of("Task04_Hippocampus", parser.parse_args().work).vesal, device="cpu")
    plan = model.plan
    network = dynunet(plan, deep_supervision=False).eval()
    fill_dynunet(network, model.packages[0].weights, len(plan.stages))
    windows = model.windows()
    # As many windows at a time as Vesal takes.
    inferer = SlidingWindowInferer(plan.patch, windows.batch, overlap=windows.overlap, mode="gaussian")
    image = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))

    def measure() -> dict[str, float]:
        began = time.perf_counter()
        ours = model.logits(image.numpy(), windows)
        between = time.perf_counter()
        with torch.inference_mode():
            theirs = inferer(image[None], network)
        ended = time.perf_counter()
        return {
            "Vesal": between - began,
            "MONAI": ended - between,
            "equal": float((ours.argmax(0) == theirs[0].argmax(0)).float().mean()),
            "peak_mb": high_water_mb(),
        }

    serve({"batch": windows.batch}, measure)


if __name__ == "__main__":
    main()
