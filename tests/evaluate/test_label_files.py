"""What may be named for an evaluation: label maps in folders of cases, masks of organs, data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vesal.errors import DataError
from vesal.evaluate.score_folders import score_folders
from vesal.volume.geometry import Geometry
from vesal.volume.io import write_label
from vesal.volume.volume import LabelMap

GRID = Geometry.from_spacing((8, 6, 4), (1.0, 1.0, 2.0))


def put(path: Path, value: int, start: int = 0) -> None:
    """Ten voxels in a row."""
    array = np.zeros(GRID.shape, np.uint8)
    array.flat[start : start + 10] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    write_label(path, LabelMap(array, GRID))


@pytest.mark.parametrize(
    ("image", "label"),
    [("{}/image", "{}/label"), ("{}", "{}_seg"), ("images/val/{}", "labels/val/{}")],
)
def test_the_labels_of_a_data_set_are_the_truth_and_never_its_images(
    image: str, label: str, tmp_path: Path
) -> None:
    for case in ("a", "b"):
        put(tmp_path / "data" / f"{image.format(case)}.nii.gz", 9)
        put(tmp_path / "data" / f"{label.format(case)}.nii.gz", 1)
        put(tmp_path / "predictions" / f"{case}.nii.gz", 1, start=5)
    scores = score_folders(tmp_path / "predictions", tmp_path / "data")
    assert [(row.case, row.class_name, row.dice) for row in scores.cases] == [
        ("a", "foreground", 0.5),
        ("b", "foreground", 0.5),
    ]
    assert any("is a data set" in remark for remark in scores.remarks)


def test_masks_of_organs_are_scored_against_masks_of_organs(tmp_path: Path) -> None:
    """As TotalSegmentator writes them; what was not drawn in a case is not scored there."""
    for case in ("s1", "s2", "s3"):
        put(tmp_path / f"data/{case}/ct.nii.gz", 9)
        for number, organ in enumerate(("aorta", "liver", "spleen")):
            put(tmp_path / f"data/{case}/segmentations/{organ}.nii.gz", 1, start=40 * number)
            put(tmp_path / f"out/{case}/{organ}.nii.gz", 1, start=40 * number + 5 * (number == 2))
    (tmp_path / "data/s3/segmentations/spleen.nii.gz").unlink()
    scores = score_folders(tmp_path / "out", tmp_path / "data")
    found = {(row.case, row.class_name): row.dice for row in scores.cases}
    assert (found["s1", "liver"], found["s1", "spleen"], found["s3", "liver"]) == (1.0, 0.5, 1.0)
    assert found.get(("s3", "spleen")) is None


def test_files_that_are_not_read_are_named_in_place_of_predictions(tmp_path: Path) -> None:
    put(tmp_path / "truth/a.nii.gz", 1)
    (tmp_path / "out").mkdir()
    np.savez(tmp_path / "out/a.npz", probabilities=np.zeros(3))
    with pytest.raises(DataError, match=r"no prediction of 1 of the 1 cases.* \.npz: 1; read are \.nii\.gz"):
        score_folders(tmp_path / "out", tmp_path / "truth")
