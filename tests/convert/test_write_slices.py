"""Volumes written as slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from convert_examples import (
    convert,
    made,
)
from PIL import Image

from vesal.layouts.registry import load_dataset
from vesal.volume.geometry import Geometry
from vesal.volume.io import read_label, read_volume, write_label, write_volume
from vesal.volume.volume import LabelMap, Volume


def test_slices_have_the_volume_in_their_names_and_white_masks(tmp_path: Path) -> None:
    made("manifest", tmp_path / "data")
    convert(tmp_path / "data", tmp_path / "png", "png", window=(0.0, 400.0))
    names = sorted(path.name for path in (tmp_path / "png" / "labels").iterdir())
    assert names[0] == "x_slice_0000.png"
    masks = [np.array(Image.open(path)) for path in (tmp_path / "png" / "labels").iterdir()]
    assert {int(value) for mask in masks for value in np.unique(mask)} == {0, 255}
    image = np.array(Image.open(tmp_path / "png" / "images" / "x_slice_0001.png"))
    assert image.dtype == np.uint8
    assert (image == 255).mean() > 0.3  # half of the values lie above the window
    plain = load_dataset(tmp_path / "png", "png")
    assert {case.patient for case in plain.cases} == {"x", "y"}


def test_empty_slices_may_be_left_out_and_come_back_empty(tmp_path: Path) -> None:
    made("pairs", tmp_path / "data")
    convert(tmp_path / "data", tmp_path / "all", "png")
    result = convert(tmp_path / "data", tmp_path / "png", "png", keep_empty=False)
    assert result.cases == ("volume-1", "volume-2")
    count = len(list((tmp_path / "png" / "images").iterdir()))
    assert 0 < count < len(list((tmp_path / "all" / "images").iterdir()))
    assert all(np.array(Image.open(path)).any() for path in (tmp_path / "png" / "labels").iterdir())
    back = convert(tmp_path / "png", tmp_path / "back", "nifti")
    assert any("Empty slices were left out" in remark for remark in back.remarks)
    for number in (1, 2):
        np.testing.assert_array_equal(
            read_label(tmp_path / "back" / "labels" / f"volume-{number}.nii.gz").array,
            read_label(tmp_path / "data" / "Liver_masks" / f"segmentation-{number}.nii").array,
        )


def test_a_colour_picture_stays_one_picture(tmp_path: Path) -> None:
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "masks").mkdir()
    colours = np.random.default_rng(0).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    for name in ("mole1", "mole2"):
        Image.fromarray(colours).save(tmp_path / "data" / "images" / f"{name}.png")
        Image.fromarray((colours[..., 0] > 99).astype(np.uint8) * 255).save(
            tmp_path / "data" / "masks" / f"{name}.png"
        )
    convert(tmp_path / "data", tmp_path / "nnunet", "nnunet")
    assert read_volume(tmp_path / "nnunet" / "imagesTr" / "mole1_0002.nii.gz").geometry.ndim == 2
    convert(tmp_path / "nnunet", tmp_path / "png", "png")
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "png" / "images" / "mole1.png")), colours)


def test_a_label_whose_axes_round_to_other_ones_than_its_image_s_is_cut_as_the_image_is(
    tmp_path: Path,
) -> None:
    half = np.sqrt(0.5)
    affine = np.eye(4)
    affine[:2, :2] = [[half, -half], [half, half]]  # both axes are as near to the right as to the front
    rounded = affine.copy()
    rounded[:2, 0] += [-3e-8, 3e-8]
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        image = generator.integers(0, 500, (1, 6, 6, 4)).astype(np.int16)
        write_volume(
            tmp_path / "data" / "images" / f"{name}.nrrd", Volume(image, Geometry((6, 6, 4), affine))
        )
        label = LabelMap((image[0] > 250).astype(np.uint8), Geometry((6, 6, 4), rounded))
        write_label(tmp_path / "data" / "labels" / f"{name}.nrrd", label)
    convert(tmp_path / "data", tmp_path / "png", "png", bits=16, window="full")
    for path in sorted((tmp_path / "png" / "labels").iterdir()):
        picture = np.array(Image.open(tmp_path / "png" / "images" / path.name))
        low = read_volume(tmp_path / "data" / "images" / f"{path.name[0]}.nrrd").array.min()
        np.testing.assert_array_equal(np.array(Image.open(path)) > 0, picture + int(low) > 250)
