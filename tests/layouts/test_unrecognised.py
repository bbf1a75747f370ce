"""What is said of a folder that fits no layout: what is there, and what the nearest layout misses."""

from __future__ import annotations

from pathlib import Path

import pytest
from layout_examples import describe, scan, slice_of

from vesal.errors import DataError
from vesal.layouts.registry import load_dataset
from vesal.layouts.unrecognised import left_alone


def said(root: Path) -> str:
    with pytest.raises(DataError, match="fits no layout") as caught:
        load_dataset(root)
    text = str(caught.value).removeprefix(str(root))
    assert text.count(". ") == 1, "more than two sentences"
    assert "vesal list layouts" in text
    return text


def touch(root: Path, *names: str, data: bytes = b"x") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def test_images_of_unread_formats_are_counted_and_those_that_are_read_listed(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.mat", "images/b.mat", "labels/a.npy")
    text = said(tmp_path)
    assert (
        "2 folders (images, labels) and 3 files (.mat: 2, .npy: 1), none of which is an image that is read"
        in text
    )
    assert "The nearest is 'pairs', but images/ holds files that are not read (.mat: 2)" in text


def test_polygons_of_yolo_are_no_masks(tmp_path: Path) -> None:
    slice_of(tmp_path / "images/train/a.png", 1)
    touch(tmp_path, "labels/train/a.txt")
    assert "labels/train/ holds files that are not read (.txt: 1), which have to be drawn as masks" in said(
        tmp_path
    )


def test_what_the_nearest_layout_misses_is_said(tmp_path: Path) -> None:
    scan(tmp_path / "a/imagesTr/x_0000.nii.gz")
    assert "'nnunet', but beside imagesTr/ there is no labelsTr/" in said(tmp_path / "a")
    scan(tmp_path / "b/images/x.nii.gz")
    scan(tmp_path / "b/labels/y.nii.gz")
    assert "'pairs', but no file of images/ matches one of labels/ by name (such as x and y)" in said(
        tmp_path / "b"
    )
    scan(tmp_path / "c/images/x.nii.gz")
    assert "'pairs', but beside images/ there is no folder such as labels/" in said(tmp_path / "c")
    scan(tmp_path / "d/p0/x.nii.gz")
    assert "'cases', but no label is beside the images in p0/ (x)" in said(tmp_path / "d")
    (tmp_path / "e").mkdir()
    describe(tmp_path / "e", name="x", labels={"0": "background"})
    assert "'msd', but dataset.json has no list 'training'" in said(tmp_path / "e")


def test_voxels_beside_their_header_and_tables_are_not_remarked_upon(tmp_path: Path) -> None:
    touch(tmp_path, "a.mhd", "a.raw", "table.csv", "README", "a.bval")
    assert left_alone([tmp_path], tmp_path) == ""
    (tmp_path / "a.mhd").unlink()
    assert left_alone([tmp_path], tmp_path).startswith(
        "Left alone is 1 file with endings that are not read, .raw: 1;"
    )
