"""Small scans of an organ of two parts, to be damaged and fixed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from vesal.audit.apply_fixes import FixedCase, FixRecord
from vesal.audit.finding import Finding

CASES = 9
AFFINE = np.array([[1.0, 0, 0, -20], [0, 1.0, 0, 12], [0, 0, 1.5, 7], [0, 0, 0, 1]])
SHAPE = (24, 26, 18)
Damage = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
#: (kind of an error, its details) -> what becomes of case 4.
Fixed = Callable[..., FixedCase]


def anatomy(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two channels (X, Y, Z, 2) int16 and a label: a body that is bright on one side, with an organ of two parts."""
    generator = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    move = generator.uniform(-0.04, 0.04, 3)
    organ = ((x - 0.25 - move[0]) / 0.5) ** 2 + ((y + 0.2 - move[1]) / 0.6) ** 2 + ((z - 0.15) / 0.6) ** 2
    label = np.where(organ < 0.35, 2, np.where(organ < 1, 1, 0)).astype(np.uint8)
    body = x**2 + y**2 + z**2 < 1.6
    first = body * (200 + 60 * x + 40 * y + 30 * z) + 150 * (label == 1) + 350 * (label == 2)
    second = body * (900 - 80 * y) - 300 * (label == 1) + 200 * (label == 2)
    image = np.stack([first, second], axis=-1) + generator.normal(0, 12, (*SHAPE, 2))
    return np.clip(image, 0, None).round().astype(np.int16), label


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nib.load(path)
    return np.asarray(image.dataobj), image.affine.copy()


def image_of(folder: Path, number: int) -> Path:
    return folder / "imagesTr" / f"case_{number}.nii.gz"


def label_of(folder: Path, number: int) -> Path:
    return folder / "labelsTr" / f"case_{number}.nii.gz"


def write_organs(folder: Path) -> Path:
    """Nine cases in the Decathlon's layout."""
    for number in range(CASES):
        image, label = anatomy(number)
        save(image_of(folder, number), image)
        save(label_of(folder, number), label)
    names = [f"case_{number}.nii.gz" for number in range(CASES)]
    description = {
        "name": "Organ",
        "licence": "CC0",
        "modality": {"0": "T2", "1": "ADC"},
        "labels": {"0": "background", "1": "rind", "2": "kernel"},
        "numTraining": CASES,
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": [],
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    (folder / "LICENSE").write_text("free")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def finding(case: str, kind: str, **details: Any) -> Finding:
    """An error of one case."""
    return Finding(
        kind=kind, severity="error", cases=(case,), what=f"A {kind}", fix="", details={case: details}
    )


def only(result: FixedCase) -> FixRecord:
    (record,) = result.records
    return record


def undone(result: FixedCase, folder: Path, clean: Path, number: int = 4) -> None:
    """The fixed files are the undamaged ones, voxel by voxel and place by place."""
    assert result.files
    for path, volume in result.files.items():
        wanted, affine = load(clean / path.relative_to(folder))
        voxels = np.moveaxis(volume.array, 0, -1)
        np.testing.assert_array_equal(voxels[..., 0] if wanted.ndim == 3 else voxels, wanted)
        np.testing.assert_allclose(volume.geometry.affine, affine, atol=1e-5)


def rewrite(path: Path, change: Damage) -> None:
    save(path, *change(*load(path)))


def moved(
    by: tuple[float, float, float],
) -> Damage:
    return lambda array, affine: (array, affine + np.array([[0, 0, 0, v] for v in (*by, 0)]))


def both(folder: Path, change: Damage) -> None:
    for path in (image_of(folder, 4), label_of(folder, 4)):
        rewrite(path, change)
