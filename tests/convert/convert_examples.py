"""A small data set of each layout, and what a conversion has to keep of it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from layout_examples import make_dicom
from PIL import Image

from vesal.data.case import read_case
from vesal.data.dataset import Case, Dataset
from vesal.volume.geometry import Geometry
from vesal.volume.io import write_label, write_volume
from vesal.volume.volume import LabelMap, Volume
from vesal.workflow.convert import ConvertResult, convert_run
from vesal.workflow.requests.convert_request import ConvertRequest

SHAPE = (6, 7, 4)


def affine_of(number: int) -> np.ndarray:
    """Oblique, in another stored orientation for every number."""
    angle = 0.1 + 0.2 * number
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    order = np.roll(np.eye(3), number, axis=1) * [1, -1, 1]
    affine = np.eye(4)
    affine[:3, :3] = turn @ order @ np.diag([0.7, 0.9, 2.5])
    affine[:3, 3] = [-31.7, 12.3, 5.1 * number]
    return affine.astype(np.float32).astype(np.float64)  # as NIfTI holds it


def grid(number: int) -> Geometry:
    return Geometry(SHAPE, affine_of(number))


def scan(path: Path, number: int, *, channels: int = 1, low: int = 0) -> None:
    array = np.random.default_rng(number).integers(low, low + 800, (channels, *SHAPE)).astype(np.int16)
    write_volume(path, Volume(array, grid(number)))


def truth(path: Path, number: int, *values: int) -> None:
    """A label map with these values; its first and last slices along each axis are empty."""
    array = np.zeros(SHAPE, np.uint8)
    inner = array[1:-1, 1:-1, 1:-1]
    inner[...] = np.random.default_rng(number).choice([0, *values], inner.shape)
    inner.flat[: len(values)] = values
    write_label(path, LabelMap(array, grid(number)))


def make_msd(folder: Path) -> None:
    for number, name in enumerate(("a_1", "a_2", "b")):
        scan(folder / "imagesTr" / f"{name}.nii.gz", number, channels=2)
        truth(folder / "labelsTr" / f"{name}.nii.gz", number, 1, 7)
    scan(folder / "imagesTs" / "c.nii.gz", 5, channels=2)
    truth(folder / "labelsTs" / "c.nii.gz", 5, 1, 7)
    listed = [
        {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
        for name in ("a_1", "a_2", "b")
    ]
    description = {
        "name": "Prostate",
        "licence": "CC-BY-SA 4.0",
        "modality": {"0": "T2", "1": "ADC"},
        "labels": {"0": "background", "1": "left lobe", "7": "right lobe"},
        "pairs": [],
        "patients": {"a_1": "a", "a_2": "a"},
        "annotated": {"b": ["left lobe"]},
        "training": listed,
        "test": ["./imagesTs/c.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def make_nnunet(folder: Path) -> None:
    """With regions and an ignore label."""
    for number, name in enumerate(("case_1", "case_2")):
        for channel in range(2):
            scan(folder / "imagesTr" / f"{name}_{channel:04}.nii.gz", number, low=channel)
        truth(folder / "labelsTr" / f"{name}.nii.gz", number, 1, 2, 3, 4)
    description = {
        "channel_names": {"0": "T2", "1": "CT"},
        "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "active": 3, "ignore": 4},
        "regions_class_order": [1, 2, 3],
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def make_acdc(folder: Path, patients: int = 2) -> None:
    for number in range(2 * patients):
        patient = f"patient{number // 2 + 1:03}"
        frame = f"{patient}_frame{('01', '12')[number % 2]}"
        scan(folder / patient / f"{frame}.nii.gz", number)
        truth(folder / patient / f"{frame}_gt.nii.gz", number, 1, 2, 3)


def make_brats(folder: Path) -> None:
    for number, name in enumerate(("Brats18_X_1_1", "Brats18_X_2_1")):
        for channel, role in enumerate(("flair", "t1", "t1ce", "t2")):
            scan(folder / name / f"{name}_{role}.nii.gz", number, low=100 * channel)
        truth(folder / name / f"{name}_seg.nii.gz", number, 1, 2, 4)


def make_png(folder: Path) -> None:
    """Slices without a sidecar."""
    generator = np.random.default_rng(0)
    for volume, slices in (("lung_001", (7, 8, 9)), ("lung_002", (0, 1))):
        for number in slices:
            for kind, array in (
                ("images", generator.integers(0, 256, (6, 8))),
                ("labels", 255 * generator.integers(0, 2, (6, 8))),
            ):
                (folder / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array.astype(np.uint8)).save(
                    folder / kind / f"{volume}_slice_{number:04}.png"
                )


def make_pairs(folder: Path) -> None:
    for number in (1, 2):
        scan(folder / "CT" / f"volume-{number}.nii", number, low=-1000)
        truth(folder / "Liver_masks" / f"segmentation-{number}.nii", number, 1, 2)


def make_cases(folder: Path) -> None:
    for number in (1, 2):
        scan(folder / f"p{number}" / "ct.nii.gz", number, low=-1000)
        truth(folder / f"p{number}" / "label.nii.gz", number, 1, 2)


def make_manifest(folder: Path) -> None:
    for number, name in enumerate(("x", "y", "z")):
        scan(folder / "scans" / f"{name}.nrrd", number)
        truth(folder / "scans" / f"{name}_seg.mha", number, 7)
    rows = [
        ("x", "scans/x.nrrd", "scans/x_seg.mha", "p1"),
        ("y", "scans/y.nrrd", "scans/y_seg.mha", "p1"),
        ("z", "scans/z.nrrd", "", "p2"),
    ]
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("id", "image", "label", "patient"), *rows])


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


def made(layout: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    MAKERS[layout](folder)
    return folder


def convert(data: Path, out: Path, to: str, **options: Any) -> ConvertResult:
    result = convert_run(ConvertRequest(data=data, out=out, to=to, **options))
    assert not result.failures
    return result


def described(dataset: Dataset) -> dict[str, Any]:
    """What all layouts have to say alike, values apart."""
    labels = dataset.labels
    return {
        "channels": dataset.channels,
        "names": labels.names,
        "regions": [(region.name, set(region.members)) for region in labels.regions],
        "pairs": labels.pairs,
        "ignore": labels.ignore is not None,
    }


def cases_of(dataset: Dataset) -> dict[str, tuple[str, tuple[str, ...] | None]]:
    return {case.id: (case.patient, case.annotated) for case in dataset.cases}


def assert_same_case(a: Dataset, b: Dataset, first: Case, second: Case) -> None:
    one, two = read_case(first), read_case(second)
    np.testing.assert_array_equal(one.image.array, two.image.array)
    np.testing.assert_array_equal(one.image.geometry.affine, two.image.geometry.affine)
    assert (one.label is None) == (two.label is None)
    if one.label is not None and two.label is not None:
        np.testing.assert_array_equal(a.labels.encode(one.label.array), b.labels.encode(two.label.array))
        np.testing.assert_array_equal(one.label.geometry.affine, two.label.geometry.affine)
