"""Of two places in a header the right one is kept, and sheared grids are straightened."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from header_damage import on_headers, set_fields, singular_sform
from organs import AFFINE, Fixed, both, image_of, label_of, load, only, undone

from vesal.audit.checks import check_dataset
from vesal.data.fingerprint import fingerprint
from vesal.layouts.registry import load_dataset
from vesal.volume.io import write_volume


def found_in(folder: Path) -> dict[str, tuple[str, ...]]:
    dataset = load_dataset(folder)
    return {finding.kind: finding.cases for finding in check_dataset(dataset, fingerprint(dataset))}


def test_of_two_places_in_a_header_the_one_that_fits_label_and_others_is_kept_in_both(
    data: Path, clean: Path, tmp_path: Path, fixed: Fixed
) -> None:
    image = nib.load(image_of(data, 4))
    image.set_sform(np.diag([-1, 1, 4, 1]) @ AFFINE, code=1)
    image.set_qform(AFFINE, code=1)
    nib.save(image, image_of(data, 4))
    result = fixed("sform-qform")
    assert only(result).numbers["kept"] == "qform"
    undone(result, data, clean)


def test_a_sheared_grid_becomes_orthogonal_and_image_and_label_stay_where_they_were(
    data: Path, fixed: Fixed
) -> None:
    shear = np.eye(4)
    shear[0, 1] = 0.12
    both(data, lambda array, affine: (array, affine @ shear))
    result = fixed("sheared")
    assert result.files is not None
    volume, label = result.files[image_of(data, 4)], result.files[label_of(data, 4)]
    axes = volume.geometry.affine[:3, :3]
    np.testing.assert_allclose(axes.T @ axes, np.diag(np.diag(axes.T @ axes)), atol=1e-9)
    assert volume.array.dtype == np.int16
    before, affine = load(label_of(data, 4))

    def centre(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
        return affine[:3, :3] @ np.argwhere(array == 2).mean(axis=0) + affine[:3, 3]

    np.testing.assert_allclose(
        centre(label.array[0], label.geometry.affine), centre(before, affine), atol=0.2
    )


def test_a_qform_takes_the_place_of_an_sform_of_zeros(data: Path, clean: Path, fixed: Fixed) -> None:
    singular_sform(data, "case_4", "")
    assert found_in(data)["sform-unusable"] == ("case_4",)
    result = fixed("sform-unusable")
    undone(result, data, clean)
    for path, volume in (result.files or {}).items():
        write_volume(path, volume)
        np.testing.assert_allclose(nib.load(path).header.get_sform(), AFFINE, atol=1e-5)
    assert "sform-unusable" not in found_in(data)


@pytest.mark.parametrize("code", [0, 2])
def test_sizes_in_pixdim_that_are_not_the_others_give_way_to_the_sforms(
    code: int, data: Path, clean: Path, fixed: Fixed
) -> None:
    on_headers("imagesTr", "labelsTr", pixdim__1=0.4, sform_code=code, qform_code=0)(data, "case_4", "")
    assert found_in(data)["pixdim"] == ("case_4",)
    result = fixed("pixdim")
    assert only(result).numbers["kept"] == "sform"
    undone(result, data, clean)


def test_an_sform_whose_sizes_are_not_the_others_gives_way_to_pixdim(data: Path, fixed: Fixed) -> None:
    fields = {"sform_code": 2, "qform_code": 0, "srow_x": (2.5, 0, 0, -20)}
    for path in (image_of(data, 4), label_of(data, 4)):
        set_fields(path, fields)
    result = fixed("pixdim")
    assert only(result).numbers["kept"] == "pixdim"
    assert result.files is not None
    assert len(result.files) == 2
    for volume in result.files.values():
        np.testing.assert_allclose(volume.geometry.spacing_mm, (1, 1, 1.5))


def test_sizes_that_no_other_case_tells_are_not_chosen(data: Path, fixed: Fixed) -> None:
    fields = {"sform_code": 2, "qform_code": 0, "srow_x": (7, 0, 0, 0), "srow_y": (0, 7, 0, 0)}
    set_fields(image_of(data, 4), fields | {"srow_z": (0, 0, 10.5, 0), "pixdim__1": 7.1, "pixdim__2": 7.1})
    set_fields(image_of(data, 4), {"pixdim__3": 10.6})
    assert "no other cases tell" in only(fixed("pixdim")).done


def test_an_intercept_of_no_number_and_sizes_of_zero_are_found_and_the_first_is_set(
    data: Path, clean: Path, fixed: Fixed
) -> None:
    on_headers("imagesTr", scl_slope=1, scl_inter=np.nan)(data, "case_4", "")
    on_headers("labelsTr", pixdim__1=0, sform_code=0)(data, "case_3", "")
    found = found_in(data)
    assert (found["intercept-unset"], found["pixdim-unset"]) == (("case_4",), ("case_3",))
    undone(fixed("intercept-unset"), data, clean)


def test_a_header_that_counts_by_its_code_and_holds_no_affine_is_read_by_its_voxel_sizes_and_found(
    data: Path,
) -> None:
    """Neither form is an affine: nothing is invented, so that the fixed copy keeps the file."""
    zeros = {f"srow_{axis}": np.zeros(4) for axis in "xyz"}
    on_headers("imagesTr", "labelsTr", **zeros, sform_code=1, qform_code=0)(data, "case_4", "")
    found = found_in(data)
    assert found["place-unknown"] == ("case_4",)
    assert not {"unreadable", "sform-unusable", "label-grid"} & set(found)


def test_a_fix_of_the_voxels_alone_keeps_both_forms_of_the_header(data: Path, fixed: Fixed) -> None:
    path = image_of(data, 4)
    array, affine = load(path)
    values = array.astype(np.float32)
    values[3, 3, 3] = np.nan
    image = nib.Nifti1Image(values, affine)
    image.set_sform(affine, 4)
    image.set_qform(affine @ np.diag([1, 1, 1.001, 1]), 2)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    before = nib.load(path).header
    result = fixed("not-finite")
    assert result.files
    write_volume(path, result.files[path])
    after = nib.load(path).header
    for field in ("sform_code", "qform_code", "srow_z", "quatern_b", "qoffset_x", "xyzt_units"):
        np.testing.assert_array_equal(after[field], before[field])
    np.testing.assert_array_equal(after["pixdim"][:4], before["pixdim"][:4])
