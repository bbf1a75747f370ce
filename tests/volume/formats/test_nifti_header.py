"""What a NIfTI header says beside its grid."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from vesal.volume.formats.nifti_header import Header, read_header


def header_of(path: Path, image: nib.Nifti1Image | nib.Nifti2Image) -> Header:
    nib.save(image, path)
    found = read_header(path, path.read_bytes())
    assert found is not None
    return found


def as_it_is(folder: Path, image: nib.Nifti1Image) -> Header:
    """Of a header that no library puts right when it is written."""
    found = read_header(folder / "a.nii", image.header.binaryblock)
    assert found is not None
    return found


def scan(kind: type = nib.Nifti1Image, affine: np.ndarray | None = None) -> nib.Nifti1Image:
    return kind(np.zeros((5, 6, 7), np.int16), np.diag([1.0, 1.0, 2.0, 1.0]) if affine is None else affine)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(
    ("unit", "expected"), [("meter", "m"), ("mm", "mm"), ("micron", "um"), ("unknown", "")]
)
def test_the_unit_is_read_in_every_form(
    kind: type, name: str, unit: str, expected: str, tmp_path: Path
) -> None:
    image = scan(kind)
    image.header.set_xyzt_units(unit)
    assert header_of(tmp_path / name, image).unit == expected


def test_the_two_grids_of_a_header_are_compared_at_the_farthest_corner(tmp_path: Path) -> None:
    image = scan()
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    assert header_of(tmp_path / "same.nii", image).forms_apart_mm == pytest.approx(0, abs=1e-4)
    moved = image.affine.copy()
    moved[0, 3] += 3
    image.set_qform(moved, 1)
    assert header_of(tmp_path / "apart.nii", image).forms_apart_mm == pytest.approx(3, abs=1e-4)
    image.set_qform(moved, 0)
    assert header_of(tmp_path / "one.nii", image).forms_apart_mm == 0


def test_the_shear_is_the_largest_cosine_between_two_axes(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 1] = 1.0
    image = scan(affine=affine)
    image.set_sform(affine, 1)
    assert header_of(tmp_path / "a.nii", image).shear == pytest.approx(np.sqrt(0.5), abs=1e-6)


def test_voxel_sizes_and_an_sform_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    image = scan()
    image.set_sform(image.affine, 2)
    image.set_qform(None, 0)
    image.header["pixdim"][1:4] = (0.5, 1, 2)
    found = as_it_is(tmp_path, image)
    assert (found.pixdim_mm, found.sform_mm) == ((0.5, 1, 2), (1, 1, 2))
    assert found.pixdim_apart_voxels == pytest.approx(0.5 * 4)
    # Neither counts: pixdim is taken, and the sform says otherwise.
    image.header["sform_code"] = 0
    found = as_it_is(tmp_path, image)
    assert found.pixdim_apart_voxels == pytest.approx(1.0 * 4)
    # Where the qform counts, pixdim is its own: the two forms are compared.
    image.header["sform_code"], image.header["qform_code"] = 1, 1
    found = as_it_is(tmp_path, image)
    assert found.pixdim_mm == ()
    assert found.forms_apart_mm > 0
    image.header["pixdim"][1:4] = (1, 1, 2.00001)
    image.header["qform_code"] = 0
    assert as_it_is(tmp_path, image).pixdim_mm == ()


@pytest.mark.parametrize(("qform_code", "unusable"), [(0, False), (1, True)])
def test_a_singular_sform_is_told_where_a_qform_is_taken(
    qform_code: int, unusable: bool, tmp_path: Path
) -> None:
    image = scan()
    image.set_qform(image.affine, qform_code)
    image.header["sform_code"], image.header["srow_y"] = 1, 0
    found = as_it_is(tmp_path, image)
    assert found.sform_unusable is unusable
    assert found.forms_apart_mm == found.shear == 0


def test_sizes_of_zero_and_intercepts_of_no_number_are_told(tmp_path: Path) -> None:
    image = scan()
    image.set_sform(None, 0)
    image.set_qform(image.affine, 1)
    image.header["pixdim"][2] = 0
    found = as_it_is(tmp_path, image)
    assert (found.pixdim_unset, found.intercept_unset) == (True, False)
    image.header["pixdim"][2] = 1
    for slope, intercept, told in (
        (1, np.nan, True),
        (2, np.inf, True),
        (0, np.nan, False),
        (np.nan, np.nan, False),
    ):
        image.header["scl_slope"], image.header["scl_inter"] = slope, intercept
        found = as_it_is(tmp_path, image)
        assert (found.pixdim_unset, found.intercept_unset) == (False, told)


def test_other_formats_and_damaged_headers_have_none(tmp_path: Path) -> None:
    assert read_header(tmp_path / "a.nrrd", b"NRRD0004") is None
    assert read_header(tmp_path / "a.nii", b"short") is None
    assert read_header(tmp_path / "a.nii.gz", b"\x1f\x8bbroken") is None
