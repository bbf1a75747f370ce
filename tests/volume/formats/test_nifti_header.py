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


def test_other_formats_and_damaged_headers_have_none(tmp_path: Path) -> None:
    assert read_header(tmp_path / "a.nrrd", b"NRRD0004") is None
    assert read_header(tmp_path / "a.nii", b"short") is None
    assert read_header(tmp_path / "a.nii.gz", b"\x1f\x8bbroken") is None
