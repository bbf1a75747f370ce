"""What is written on a scan's grid has all forms of the scan's header: SimpleITK reads both at one place."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from vesal.volume.geometry import Geometry
from vesal.volume.io import read_geometry, read_label, read_volume, write_label, write_volume
from vesal.volume.nifti_forms import NiftiForms, is_affine
from vesal.volume.volume import LabelMap, Volume

SHAPE = (6, 7, 8)
TURNED = np.array([[-0.8, -0.6, 0, 12], [-0.6, 0.8, 0, -7], [0, 0, 1.5, 30], [0, 0, 0, 1]])
STRAIGHT = np.array([[-1.0, 0, 0, 90], [0, 1, 0, -120], [0, 0, 1.5, -70], [0, 0, 0, 1]])
SHEARED = STRAIGHT + np.array([[0, 2e-4, 0, 0], [0, 0, 3e-4, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
TILTED = STRAIGHT + np.array([[0, 0, 0.4, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
FIELDS = (
    *("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "xyzt_units"),
)

#: sform, its code, qform, its code, pixdim (None: the qform's), unit.
HEADERS = {
    "one place": (STRAIGHT, 1, STRAIGHT, 1, None, 2),
    "scanner and aligned": (STRAIGHT, 2, STRAIGHT, 1, None, 10),
    "neither form counts": (np.zeros((4, 4)), 0, STRAIGHT, 0, None, 0),
    "neither counts, and they differ": (np.eye(4), 0, STRAIGHT, 0, None, 0),
    "two places": (TURNED, 2, STRAIGHT, 1, None, 0),
    "a slight shear": (SHEARED, 1, STRAIGHT, 1, None, 2),
    "a tilted gantry": (TILTED, 1, STRAIGHT, 1, None, 2),
    "the sform alone": (TURNED, 4, np.eye(4), 0, (1, 1, 1, 1.5), 2),
    "the qform alone": (np.zeros((4, 4)), 0, TURNED, 3, None, 2),
    "a singular sform": (np.zeros((4, 4)), 1, TURNED, 1, None, 2),
    "sizes that are not the sform's": (STRAIGHT, 2, np.eye(4), 0, (1, 0.87, 0.87, 0.8), 2),
    "micrometres": (STRAIGHT, 1, STRAIGHT, 1, None, 3),
    "metres": (STRAIGHT, 1, STRAIGHT, 1, None, 1),
}


def scan(path: Path, name: str, kind: type = nib.Nifti1Header) -> Path:
    sform, s_code, qform, q_code, pixdim, unit = HEADERS[name]
    header = kind()
    header.set_data_shape(SHAPE)
    header.set_data_dtype(np.int16)
    header.set_qform(qform, q_code)
    header["sform_code"] = s_code
    for row, field in enumerate(("srow_x", "srow_y", "srow_z")):
        header[field] = sform[row]
    if pixdim is not None:
        header["pixdim"][:4] = pixdim
    header["xyzt_units"] = unit
    header["scl_slope"], header["vox_offset"] = 1, header.structarr.dtype.itemsize + 4
    voxels = np.arange(np.prod(SHAPE), dtype=np.int16)
    path.write_bytes(header.binaryblock + bytes(4) + voxels.tobytes())
    return path


def itk_place(path: Path) -> tuple[object, ...] | str:
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        return "refused: " + str(error).partition("ITK ERROR")[2].partition(":")[0]
    return image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()


@pytest.mark.parametrize("kind", [nib.Nifti1Header, nib.Nifti2Header])
@pytest.mark.parametrize("name", HEADERS)
def test_masks_and_maps_lie_where_their_scan_does_for_simpleitk_and_nibabel(
    name: str, kind: type, tmp_path: Path
) -> None:
    path = scan(tmp_path / "scan.nii", name, kind)
    volume = read_volume(path)
    mask, chance = tmp_path / "mask.nii.gz", tmp_path / "probability.nii.gz"
    write_label(mask, LabelMap((volume.array[0] > 99).astype(np.uint8), volume.geometry))
    write_volume(chance, Volume(volume.array.astype(np.float32), volume.geometry))
    theirs = nib.load(path)
    for made in (mask, chance):
        assert itk_place(made) == itk_place(path)
        ours = nib.load(made)
        for field in FIELDS:
            np.testing.assert_array_equal(ours.header[field], theirs.header[field], err_msg=field)
        np.testing.assert_array_equal(ours.header["pixdim"][:4], theirs.header["pixdim"][:4])
        np.testing.assert_array_equal(ours.affine, theirs.affine)
        assert type(ours) is type(theirs)
        np.testing.assert_array_equal(read_geometry(made).affine, volume.geometry.affine)


@pytest.mark.parametrize("name", HEADERS)
def test_the_forms_go_through_json(name: str, tmp_path: Path) -> None:
    grid = read_geometry(scan(tmp_path / "scan.nii", name))
    back = Geometry.from_dict(json.loads(json.dumps(grid.to_dict(), allow_nan=False)))
    assert back.nifti == grid.nifti
    assert back.nifti is not None


def test_numbers_that_are_none_go_through_json() -> None:
    forms = NiftiForms((np.nan,) * 12, 0, (0.0,) * 6, 1, (1.0, 1.0, np.inf, 1.0), 2, 1)
    back = NiftiForms.from_dict(json.loads(json.dumps(forms.to_dict(), allow_nan=False)))
    assert np.isnan(back.sform).all()
    assert np.isnan(back.pixdim[2])
    assert (back.qform, back.qform_code) == (forms.qform, 1)


def test_a_grid_that_was_changed_is_written_as_one_place_in_both_forms(tmp_path: Path) -> None:
    grid = read_geometry(scan(tmp_path / "scan.nii", "two places"))
    for number, other in enumerate(
        (grid.plain(), grid.turned(grid.turn_to_ras()), grid.with_shape((3, 7, 8)))
    ):
        assert other.nifti is None
        path = tmp_path / f"{number}.nii"
        write_label(path, LabelMap(np.zeros(other.shape, np.uint8), other))
        header = nib.load(path).header
        assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
        np.testing.assert_allclose(header.get_sform(), other.affine, atol=1e-5)
        np.testing.assert_allclose(header.get_qform(), other.affine, atol=1e-4)


def test_a_slightly_sheared_grid_without_a_header_can_be_read_by_simpleitk(tmp_path: Path) -> None:
    grid, path = Geometry(SHAPE, SHEARED), tmp_path / "a.nii"
    write_label(path, LabelMap(np.ones(SHAPE, np.uint8), grid))
    image = sitk.ReadImage(str(path))
    place = Geometry.from_lps(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    assert place.distance_mm(grid) < 0.01
    np.testing.assert_array_equal(read_label(path).geometry.affine, SHEARED.astype(np.float32))


def test_a_flat_scan_keeps_its_forms(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((4, 5), np.uint8), TURNED)
    image.set_qform(STRAIGHT, 1)
    nib.save(image, tmp_path / "a.nii")
    grid = read_geometry(tmp_path / "a.nii")
    write_label(tmp_path / "b.nii", LabelMap(np.zeros((4, 5), np.uint8), grid))
    header = nib.load(tmp_path / "b.nii").header
    np.testing.assert_allclose(header.get_sform(), TURNED, atol=1e-6)
    np.testing.assert_allclose(header.get_qform(), STRAIGHT, atol=1e-6)


@pytest.mark.parametrize(
    ("affine", "expected"),
    [
        (np.eye(4), True),
        (np.diag([1e-6, 1e-6, 1e-6, 1]), True),
        (np.zeros((4, 4)), False),
        (np.diag([1, 0, 1, 1.0]), False),
        (np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), False),
        (np.diag([1, np.nan, 1, 1]), False),
    ],
)
def test_an_affine_is_finite_and_spans_the_space(affine: np.ndarray, expected: bool) -> None:
    assert is_affine(affine) is expected
