"""A CT of 512x512x500 voxels with one organ, file to file, by `vesal predict` with a network trained on phantoms.

python -m benchmarks.large_ct --work FOLDER [--runs 3] [--locate] [-- OPTION ...]

The scans are made up: a body in air with a rim of fat, lungs, a spine, two organs as bright as the one wanted but
elsewhere, and noise. The network learns on six of them at 2.5 mm for some minutes; with --locate in two stages. What
is predicted is one more, at 0.8x0.8x1 mm, compressed as scans are. Options behind -- go to `vesal predict`.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.parts import mean_dice, read_labels
from benchmarks.processes import run
from vesal.files import write_json
from vesal.nn.model_file import load_package, save_package
from vesal.volume.geometry import Geometry
from vesal.volume.io import write_label, write_volume
from vesal.volume.volume import LabelMap, Volume

SHAPE, SPACING_MM = (512, 512, 500), (0.8, 0.8, 1.0)
TRAINING_SHAPE, TRAINING_SPACING_MM = (164, 164, 200), (2.5, 2.5, 2.5)
CASES, STEPS = 6, 250

#: Hounsfield units.
_AIR, _FAT, _MUSCLE, _LUNG, _BONE, _ORGAN = -1000, -100, 50, -850, 500, 130

#: Trained on small patches, for some minutes to suffice; predicted in windows of a usual size.
_PLAN = ("plan.patch=[40,40,40]", "plan.spacing_mm=[2.5,2.5,2.5]", "plan.batch=2")
_WINDOW = (64, 64, 64)


def phantom(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], seed: int
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """A CT in Hounsfield units and the label of its organ, by slabs of slices.

    Args:
        shape, spacing_mm: of the grid, whose centre is the body's.
        seed: of sizes and places, and of the noise.
    """
    generator = np.random.default_rng(seed)
    sides = np.array([170.0, 115.0]) * generator.uniform(0.9, 1.05, 2)
    # Centres and radii in mm from the middle of the scan.
    organ = np.array([55.0, 10.0, -60.0]) + generator.uniform(-15, 15, 3), generator.uniform(28, 45, 3)
    others = [
        (np.array([x, 35.0, -110.0]) + generator.uniform(-8, 8, 3), generator.uniform(20, 28, 3))
        for x in (-60.0, 60.0)
    ]
    lungs = [(np.array([x, 0.0, 120.0]), np.array([60.0, 80.0, 110.0])) for x in (-75.0, 75.0)]
    x, y = (
        ((np.arange(n) - (n - 1) / 2) * mm).astype(np.float32).reshape(which)
        for n, mm, which in zip(shape[:2], spacing_mm[:2], ((-1, 1), (1, -1)), strict=True)
    )
    image, label = np.empty(shape, dtype=np.int16), np.zeros(shape, dtype=np.uint8)
    body = (x / sides[0]) ** 2 + (y / sides[1]) ** 2
    for number in range(shape[2]):
        z = (number - (shape[2] - 1) / 2) * spacing_mm[2]

        def inside(
            centre: NDArray[np.float64], radii: NDArray[np.float64], z: float = z
        ) -> NDArray[np.bool_]:
            flat = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2
            return np.asarray(flat + ((z - centre[2]) / radii[2]) ** 2 < 1)

        values = np.full(shape[:2], _AIR, dtype=np.float32)
        values[body < 1] = _FAT
        values[body < 0.8] = _MUSCLE
        for lung in lungs:
            values[inside(*lung)] = _LUNG
        values[x**2 + (y - 70) ** 2 < 18**2] = _BONE
        for other in others:
            values[inside(*other)] = _ORGAN
        mask = inside(*organ)
        values[mask] = _ORGAN
        label[..., number] = mask
        values += generator.normal(0, 25, values.shape).astype(np.float32)
        image[..., number] = values
    return image, label


def write_case(folder: Path, name: str, seed: int, *, training: bool) -> tuple[Path, Path]:
    """A phantom as two files of NIfTI, if they are not there yet."""
    shape, spacing = (TRAINING_SHAPE, TRAINING_SPACING_MM) if training else (SHAPE, SPACING_MM)
    files = folder / "imagesTr" / f"{name}.nii.gz", folder / "labelsTr" / f"{name}.nii.gz"
    if not all(file.exists() for file in files):
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
        image, label = phantom(shape, spacing, seed)
        grid = Geometry.from_spacing(shape, spacing)
        write_volume(files[0], Volume(image[None], grid))
        write_label(files[1], LabelMap(label, grid))
    return files


def trained(work: Path, *, locate: bool) -> Path:
    """The model's file, trained if it was not before."""
    data, out = work / "Task90_PhantomCT", work / ("run-located" if locate else "run")
    names = [f"ct_{number}" for number in range(CASES)]
    for number, name in enumerate(names):
        write_case(data, name, number, training=True)
    pairs = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names]
    write_json(
        data / "dataset.json",
        {
            "name": "PhantomCT",
            "modality": {"0": "CT"},
            "labels": {"0": "background", "1": "organ"},
            "numTraining": len(pairs),
            "training": pairs,
            "test": [],
        },
    )
    if not (out / "scores.json").exists():
        settings = ("folds=3", "plan.locate=true") if locate else ("folds=3", *_PLAN)
        command = ["train", data, "-o", out, "--device", "cpu", "--fold", 0, "--steps", STEPS]
        command += [part for setting in settings for part in ("--set", setting)]
        command += ["--resume"] if out.exists() else []
        run([sys.executable, "-m", "vesal.cli", *map(str, command)], log=work / "train.log")
    package = load_package(out / "fold_0" / "model.vesal")
    if not locate:
        package = replace(package, plan=package.plan.model_copy(update={"patch": _WINDOW}))
    save_package(out / "benchmark.vesal", package)
    return out / "benchmark.vesal"


def _processor_seconds() -> float:
    """Of all programs that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Predict some times, and say what it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--locate", action="store_true", help="two stages")
    parser.add_argument("options", nargs="*", help="of vesal predict, behind --")
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    model = trained(chosen.work, locate=chosen.locate)
    scan, truth = write_case(chosen.work / "scan", "large", 100, training=False)
    out = chosen.work / "mask.nii.gz"
    found = []
    for number in range(chosen.runs):
        before = _processor_seconds()
        out.unlink(missing_ok=True)
        command = [sys.executable, "-m", "vesal.cli", "predict", model, scan, "-o", out, "--device", "cpu"]
        done = run([*map(str, command), "--json", *chosen.options], log=chosen.work / "predict.log")
        found.append((done.seconds, _processor_seconds() - before, done.peak_mb))
        took, spent, peak = found[-1]
        print(
            f"{number + 1} of {chosen.runs}: {took:.1f} s, {spent:.1f} of processors, {peak:.0f} MB",
            flush=True,
        )
    seconds, processor, peaks = zip(*found, strict=True)
    row = {
        "seconds": statistics.median(seconds),
        "processor_seconds": statistics.median(processor),
        "peak_mb": max(peaks),
        "dice": mean_dice(read_labels(out), read_labels(truth)),
        "backend": json.loads(done.output)["backend"],
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
