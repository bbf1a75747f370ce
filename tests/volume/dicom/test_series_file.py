"""A file stands for its series, and an annotation for what it draws on the grid of its scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from annotation_examples import annotated, made_by
from dicom_examples import axial, enhanced_object, random_series, slice_objects, write_objects, write_series

from vesal.errors import DataError
from vesal.volume.dicom import series_file
from vesal.volume.dicom.annotations.structure_set_writer import RoiMask, structure_set

pytest.importorskip("pydicom", reason="the extra dicom is not installed")


def test_any_file_of_a_series_gives_the_whole_in_the_unit_of_its_values(tmp_path: Path) -> None:
    drawn = random_series(slope=2.0, intercept=-1024.0)
    paths = write_series(tmp_path, drawn)
    for path in (paths[0], paths[3]):
        volume = series_file.read(path)
        assert volume.array.dtype.kind == "i"
        assert np.array_equal(volume.array[0], drawn.values)
        assert volume.geometry.close_to(drawn.geometry)
        assert series_file.read_geometry(path).close_to(drawn.geometry)
        assert set(series_file.files(path)) == set(paths)
        assert series_file.files(path)[0] == path


def test_fractions_of_the_rescaling_are_kept(tmp_path: Path) -> None:
    drawn = random_series(slope=0.37, intercept=1.5, modality="PT")
    volume = series_file.read(write_series(tmp_path, drawn)[0])
    assert volume.array.dtype == np.float32
    assert np.allclose(volume.array[0], drawn.values, rtol=1e-6)


def test_two_series_in_a_folder_stay_apart(tmp_path: Path) -> None:
    one, other = random_series(1, uid="1.2.1"), random_series(2, (4, 5, 6), uid="1.2.2")
    first = write_objects(tmp_path, slice_objects(one), [f"a{n}" for n in range(5)])
    second = write_objects(tmp_path, slice_objects(other), [f"b{n}" for n in range(6)])
    assert np.array_equal(series_file.read(first[2]).array[0], one.values)
    assert np.array_equal(series_file.read(second[2]).array[0], other.values)


def test_an_enhanced_object_is_read_as_the_classic_ones_are(tmp_path: Path) -> None:
    drawn = random_series(slope=1.0, intercept=-1000.0)
    (path,) = write_objects(tmp_path, [enhanced_object(drawn)], ["enhanced.dcm"])
    volume = series_file.read(path)
    assert np.array_equal(volume.array[0], drawn.values)
    assert volume.geometry.close_to(drawn.geometry)


def test_a_file_stands_for_its_own_phase(tmp_path: Path) -> None:
    early, late = random_series(1, tags={"EchoTime": 10.0}), random_series(2, tags={"EchoTime": 20.0})
    write_objects(tmp_path, slice_objects(early), [f"a{n}" for n in range(5)])
    paths = write_objects(tmp_path, slice_objects(late), [f"b{n}" for n in range(5)])
    assert np.array_equal(series_file.read(paths[0]).array[0], late.values)
    assert set(series_file.files(paths[0])) == set(paths)


def test_a_tilted_gantry_is_straightened_within_each_slice(tmp_path: Path) -> None:
    affine = axial(spacing=(1.0, 1.0, 2.0))
    # Two pixels a slice: so whole voxels move, and nothing is interpolated.
    affine[:3, 2] = (0.0, 2.0, 2.0)
    drawn = random_series(affine=affine)
    volume = series_file.read(write_series(tmp_path, drawn)[0])
    assert volume.array.shape == (1, 7, 6 + 8, 5)
    for index in range(5):
        moved = volume.array[0, :, 2 * index : 2 * index + 6, index]
        assert np.array_equal(moved, drawn.values[:, :, index])
    columns = volume.geometry.affine[:3, :3]
    assert np.allclose(columns.T @ columns, np.diag([1.0, 1.0, 4.0]), atol=1e-6)


def test_what_is_no_slice_is_named(tmp_path: Path) -> None:
    write_series(tmp_path, random_series())
    (tmp_path / "notes.txt").write_text("a few words")
    with pytest.raises(DataError, match=r"notes\.txt is no DICOM object"):
        series_file.read(tmp_path / "notes.txt")


def test_a_changed_folder_is_read_anew(tmp_path: Path) -> None:
    paths = write_series(tmp_path, random_series())
    assert len(series_file.files(paths[0])) == 5
    paths[4].unlink()
    assert len(series_file.files(paths[0])) == 4


def test_of_an_annotation_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    example = annotated(tmp_path)
    regions = [RoiMask(name, (1, 2, 3), mask) for name, mask in example.masks.items()]
    found = structure_set(example.scan.slices(), example.scan.stack.geometry, regions, made_by())
    found.save_as(tmp_path / "rs.dcm", enforce_file_format=True)
    label = series_file.read_named(tmp_path / "rs.dcm", {"tumour": 4, "else": 1})
    assert np.array_equal(label.array == 4, example.masks["tumour"])
    assert label.geometry.close_to(example.scan.stack.geometry)
    assert series_file.names(tmp_path / "rs.dcm") == ["left atrium", "tumour"]
    with pytest.raises(DataError, match=r"holds none of the labels liver; it holds left atrium, tumour"):
        series_file.read_named(tmp_path / "rs.dcm", {"liver": 1})
    with pytest.raises(DataError, match="is of a scan where a segmentation"):
        series_file.read_named(example.paths[0], {"liver": 1})


def test_the_scan_of_an_annotation_is_found_beside_its_folder(tmp_path: Path) -> None:
    example = annotated(tmp_path / "study" / "ct")
    regions = [RoiMask(name, (1, 2, 3), mask) for name, mask in example.masks.items()]
    found = structure_set(example.scan.slices(), example.scan.stack.geometry, regions, made_by())
    (tmp_path / "study" / "rt" / "a").mkdir(parents=True)
    path = tmp_path / "study" / "rt" / "a" / "rs.dcm"
    found.save_as(path, enforce_file_format=True)
    assert np.array_equal(series_file.read_named(path, {"tumour": 1}).array == 1, example.masks["tumour"])
    for scan in example.paths:
        scan.unlink()
    with pytest.raises(DataError, match="lies neither in its folder nor beside it"):
        series_file.read_named(path, {"tumour": 1})
