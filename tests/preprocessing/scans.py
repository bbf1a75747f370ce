"""Scans in every orientation, cases on disk, and plans to prepare them by."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np

from vesal.data.dataset import Case
from vesal.data.labels import LabelSet
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.volume.geometry import Geometry
from vesal.volume.volume import LabelMap, Volume

LABELS = LabelSet.from_values({"background": 0, "shell": 1, "core": 7, "ignore": 9})
ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def make_plan(dimension: int = 3, *, scheme: str = "zscore", channels: int = 1, **changes) -> Plan:
    axes = (1,) * dimension
    settings = {
        "dimension": dimension,
        "spacing_mm": (1.0, 2.0, 3.0)[-dimension:],
        "patch": (8,) * dimension,
        "batch": 2,
        "stages": (Stage(features=4, kernel=axes, stride=axes),),
        "normalisation": (Normalisation(scheme=scheme),) * channels,
        "mirror_axes": tuple(range(dimension)),
        "channels": tuple(f"c{i}" for i in range(channels)),
        "labels": LABELS,
        "median_shape": (8,) * dimension,
    }
    return Plan(**(settings | changes))


def oriented(order, signs, spacing=(1.0, 2.0, 3.0), shape=(9, 8, 7)) -> Geometry:
    """A grid whose array axis i runs along world axis order[i], with that axis' spacing."""
    affine = np.zeros((4, 4))
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[world, axis] = sign * spacing[world]
    affine[:, 3] = (-7.0, 11.0, 3.0, 1.0)
    return Geometry(tuple(shape[world] for world in order), affine)


def make_scan(grid: Geometry, seed: int = 0, channels: int = 1) -> tuple[Volume, LabelMap]:
    generator = np.random.default_rng(seed)
    image = generator.normal(100, 30, (channels, *grid.shape)).astype(np.float32)
    label = generator.choice(np.array([0, 1, 7, 9], np.uint8), grid.shape)
    return Volume(image, grid), LabelMap(label, grid)


def write_case(folder: Path, name: str, seed: int) -> Case:
    folder.mkdir(exist_ok=True)
    image, label = make_scan(oriented((0, 1, 2), (1, 1, 1), shape=(20, 10, 8)), seed)
    nib.save(nib.Nifti1Image(image.array[0], image.geometry.affine), folder / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(label.array, label.geometry.affine), folder / f"{name}_label.nii.gz")
    paths = folder / f"{name}.nii.gz", folder / f"{name}_label.nii.gz"
    return Case(id=name, images=paths[:1], label=paths[1], patient=f"patient of {name}")
