"""A small data set of each layout."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

SHAPE = (4, 5, 3)


def scan(path: Path, *, channels: int = 1) -> Path:
    """A random image; 4D for several channels."""
    shape = SHAPE if channels == 1 else (*SHAPE, channels)
    return _save(path, np.random.default_rng(0).integers(0, 100, shape).astype(np.int16))


def truth(path: Path, *values: int) -> Path:
    """A label map with 0 and these values."""
    array = np.zeros(SHAPE, np.uint8)
    array.flat[: len(values)] = values
    return _save(path, array)


def slice_of(path: Path, *values: int) -> Path:
    array = np.zeros((6, 8), np.uint8)
    array.flat[: len(values)] = values
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def _save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return path


def describe(folder: Path, **entries: object) -> None:
    (folder / "dataset.json").write_text(json.dumps(entries))


def make_msd(folder: Path) -> None:
    training = []
    for name in ("a", "b"):
        scan(folder / "imagesTr" / f"{name}.nii.gz", channels=2)
        truth(folder / "labelsTr" / f"{name}.nii.gz", 1, 2)
        training.append({"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"})
    scan(folder / "imagesTs" / "c.nii.gz", channels=2)
    describe(
        folder,
        name="Prostate",
        modality={"0": "T2", "1": "ADC"},
        labels={"0": "background", "1": "PZ", "2": "TZ"},
        numTraining=2,
        training=training,
        test=["./imagesTs/c.nii.gz"],
    )


def make_nnunet(folder: Path) -> None:
    for name in ("case_1", "case_2"):
        for channel in range(2):
            scan(folder / "imagesTr" / f"{name}_{channel:04}.nii.gz")
        truth(folder / "labelsTr" / f"{name}.nii.gz", 1, 2)
    scan(folder / "imagesTs" / "case_9_0000.nii.gz")
    scan(folder / "imagesTs" / "case_9_0001.nii.gz")
    describe(
        folder,
        channel_names={"0": "T2", "1": "ADC"},
        labels={"background": 0, "PZ": 1, "TZ": 2},
        numTraining=2,
        file_ending=".nii.gz",
    )


def make_acdc(folder: Path) -> None:
    for patient in ("patient001", "patient002"):
        for frame in ("01", "12"):
            scan(folder / patient / f"{patient}_frame{frame}.nii.gz")
            truth(folder / patient / f"{patient}_frame{frame}_gt.nii.gz", 1, 2, 3)
        scan(folder / patient / f"{patient}_4d.nii.gz", channels=3)
        (folder / patient / "Info.cfg").write_text("ED: 1\nES: 12\nGroup: DCM\n")


def make_brats(folder: Path) -> None:
    for grade, name in (("HGG", "Brats18_X_1_1"), ("LGG", "Brats18_X_2_1")):
        for role in ("flair", "t1", "t1ce", "t2"):
            scan(folder / grade / name / f"{name}_{role}.nii.gz")
        truth(folder / grade / name / f"{name}_seg.nii.gz", 1, 2, 4)


def make_png(folder: Path) -> None:
    for name in ("lung_001_slice_0001", "lung_001_slice_0002", "lung_002_slice_0001"):
        slice_of(folder / "images" / f"{name}.png", 10, 20, 30)
        slice_of(folder / "labels" / f"{name}.png", 255)


def make_pairs(folder: Path) -> None:
    for number in (1, 2):
        scan(folder / "CT" / f"volume-{number}.nii")
        truth(folder / "Liver_masks" / f"segmentation-{number}.nii", 1, 2)


def make_cases(folder: Path) -> None:
    for number in (1, 2):
        scan(folder / f"p{number}" / "ct.nii.gz")
        truth(folder / f"p{number}" / "label.nii.gz", 1, 2)


def make_manifest(folder: Path) -> None:
    rows = [("x", "scans/x.nii.gz", "scans/x_seg.nii.gz", "p1"), ("y", "scans/y.nii.gz", "", "p2")]
    scan(folder / "scans" / "x.nii.gz")
    scan(folder / "scans" / "y.nii.gz")
    truth(folder / "scans" / "x_seg.nii.gz", 7)
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("id", "image", "label", "patient"), *rows])


def make_dicom(folder: Path) -> None:
    # Imported here: the other examples need no extra.
    from annotation_examples import annotated, made_by
    from dicom_examples import axial

    from vesal.volume.dicom.annotations.structure_set_writer import RoiMask, structure_set

    # Numbers that every format holds as they are.
    example = annotated(folder / "ct", axial(spacing=(0.75, 1.0, 2.5)))
    regions = [RoiMask(name, (255, 0, 0), mask) for name, mask in example.masks.items()]
    found = structure_set(example.scan.slices(), example.scan.stack.geometry, regions, made_by())
    found.save_as(folder / "rs.dcm", enforce_file_format=True)


MAKERS: dict[str, Callable[[Path], None]] = {
    "manifest": make_manifest,
    "nnunet": make_nnunet,
    "msd": make_msd,
    "acdc": make_acdc,
    "brats": make_brats,
    "png": make_png,
    "pairs": make_pairs,
    "cases": make_cases,
    "dicom": make_dicom,
}
