"""Analyze's pairs and FreeSurfer's volumes have the voxels and places that nibabel reads."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from vesal.errors import DataError
from vesal.volume.io import data_files, is_image, read_geometry, read_label, read_volume, write_label

AFFINE = np.array([[0.0, 0, -1.5, 20], [-1, 0, 0, 30], [0, 1.2, 0, -40], [0, 0, 0, 1]])
KINDS = {
    "analyze.hdr": nib.AnalyzeImage,
    "spm.hdr": nib.Spm2AnalyzeImage,
    "pair.hdr": nib.Nifti1Pair,
    "free.mgz": nib.MGHImage,
    "free.mgh": nib.MGHImage,
}


def saved(folder: Path, name: str, shape: tuple[int, ...] = (4, 5, 6)) -> Path:
    array = np.random.default_rng(0).integers(0, 900, shape).astype(np.int16)
    affine = AFFINE if name.startswith(("pair", "free")) else None
    image = KINDS[name](array, affine)
    if affine is None:
        image.header.set_zooms((1.0, 1.2, 1.5, 2.0)[: len(shape)])
    nib.save(image, folder / name)
    return folder / name


@pytest.mark.parametrize("name", KINDS)
def test_voxels_and_place_are_those_of_nibabel(name: str, tmp_path: Path) -> None:
    path = saved(tmp_path, name)
    theirs, ours = nib.load(path), read_volume(path)
    np.testing.assert_array_equal(ours.array[0], np.asanyarray(theirs.dataobj))
    np.testing.assert_array_equal(ours.geometry.affine, theirs.affine)
    np.testing.assert_array_equal(read_geometry(path).affine, theirs.affine)
    assert ours.array.dtype == np.int16
    assert ours.array.dtype.isnative
    assert read_label(path).array.max() > 255
    assert is_image(path)


def test_a_fourth_axis_is_the_channels(tmp_path: Path) -> None:
    path = saved(tmp_path, "free.mgz", (4, 5, 6, 2))
    np.testing.assert_array_equal(
        read_volume(path).array, np.moveaxis(np.asanyarray(nib.load(path).dataobj), -1, 0)
    )


@pytest.mark.parametrize("order", ["<", ">"])
def test_analyze_of_both_byte_orders_is_read(order: str, tmp_path: Path) -> None:
    array = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    header = nib.AnalyzeImage.header_class(endianness=order)
    header.set_data_dtype(np.int16)
    nib.save(nib.AnalyzeImage(array, None, header), tmp_path / "a.hdr")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.hdr").array[0], array)


def test_the_img_of_a_pair_belongs_to_its_header(tmp_path: Path) -> None:
    path = saved(tmp_path, "pair.hdr")
    assert data_files(path) == (path, tmp_path / "pair.img")
    assert not is_image(tmp_path / "pair.img")
    with pytest.raises(DataError, match=r"name its header, which ends in \.hdr"):
        read_volume(tmp_path / "pair.img")
    (tmp_path / "pair.img").unlink()
    for read in (read_volume, read_geometry, data_files):
        with pytest.raises(DataError, match=r"pair\.hdr has no pair\.img beside it"):
            read(path)


def test_a_mask_of_a_pair_takes_over_both_forms(tmp_path: Path) -> None:
    image = nib.Nifti1Pair(np.zeros((4, 5, 6), np.int16), AFFINE)
    image.set_sform(AFFINE, 2)
    image.set_qform(np.diag([-1, 1, 1, 1]), 1)
    nib.save(image, tmp_path / "a.hdr")
    label = read_label(tmp_path / "a.hdr")
    write_label(tmp_path / "mask.nii.gz", label)
    ours, theirs = nib.load(tmp_path / "mask.nii.gz").header, nib.load(tmp_path / "a.hdr").header
    for field in ("sform_code", "qform_code", "quatern_c", "srow_y"):
        np.testing.assert_array_equal(ours[field], theirs[field])


@pytest.mark.parametrize("name", KINDS)
def test_cut_and_broken_files_are_named(name: str, tmp_path: Path) -> None:
    path = saved(tmp_path, name)
    voxels = data_files(path)[-1]
    voxels.write_bytes(voxels.read_bytes()[:-100])
    with pytest.raises(DataError, match=name):
        read_volume(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(DataError, match=name):
        read_geometry(path)


def test_a_gif_of_greys_keeps_them_and_a_film_is_refused(tmp_path: Path) -> None:
    array = np.zeros((6, 5), np.uint8)
    array[2:4], array[0], array[1] = 255, 3, 7
    Image.fromarray(array).save(tmp_path / "a.gif")
    np.testing.assert_array_equal(read_label(tmp_path / "a.gif").array.T, array)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.gif").array[0].T, array)
    other = Image.fromarray(255 - array)
    Image.fromarray(array).save(tmp_path / "film.gif", save_all=True, append_images=[other])
    with pytest.raises(DataError, match="film of 2 pictures"):
        read_volume(tmp_path / "film.gif")
