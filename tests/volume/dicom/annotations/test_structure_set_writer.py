"""What is written as a structure set lies where the mask does, and comes back without a voxel lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from annotation_examples import Annotated, annotated, made_by
from dicom_examples import axial, random_series, slice_objects, write_objects, write_series
from numpy.typing import NDArray
from test_stack import orientations

from vesal.volume.dicom import series_file
from vesal.volume.dicom.annotations.made_by import object_bytes
from vesal.volume.dicom.annotations.structure_set_writer import RoiMask, structure_set
from vesal.volume.dicom.series_file import scan_of

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")


def written(example: Annotated, path: Path) -> Path:
    regions = [RoiMask(name, (255, 0, 80), mask) for name, mask in example.masks.items()]
    found = structure_set(example.scan.slices(), example.scan.stack.geometry, regions, made_by())
    found.save_as(path, enforce_file_format=True)
    return path


def oblique() -> NDArray[np.float64]:
    affine = axial()
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((3, 3)))[0]
    affine[:3, :3] = turn @ affine[:3, :3]
    return affine


@pytest.mark.parametrize("affine", [*orientations(), oblique()])
def test_masks_come_back_voxel_for_voxel(affine: NDArray[np.float64], tmp_path: Path) -> None:
    example = annotated(tmp_path, affine)
    path = written(example, tmp_path / "rt.dcm")
    layers, grid, segments = series_file.read_layers(path)
    assert [segment.name for segment in segments] == list(example.masks)
    assert grid.close_to(example.scan.stack.geometry)
    for segment in segments:
        drawn = layers[segment.layer] == segment.value
        assert np.array_equal(drawn, example.masks[segment.name])


def test_under_a_tilt_contours_lie_on_the_slices_as_they_were_taken(tmp_path: Path) -> None:
    affine = axial(spacing=(1.0, 1.0, 2.0))
    affine[:3, 2] = (0.0, 2.0, 2.0)
    example = annotated(tmp_path, affine)
    layers, grid, (segment, _) = series_file.read_layers(written(example, tmp_path / "rt.dcm"))
    drawn = layers[segment.layer] == segment.value
    scan = series_file.read(example.paths[0])
    assert grid.close_to(scan.geometry)
    # Straightened like the scan: the same voxels lie under the mask.
    under = scan.array[0][drawn]
    assert sorted(under.tolist()) == sorted(example.drawn.values[example.masks["left atrium"]].tolist())


@pytest.mark.parametrize(("apart", "syntax"), [(40, "1.2.840.10008.1.2.1"), (6, "1.2.840.10008.1.2")])
def test_a_contour_of_any_length_keeps_its_type(apart: int, syntax: str, tmp_path: Path) -> None:
    """As of a lung with its vessels: of an unknown type, other readers leave the whole slice out."""
    drawn = random_series(shape=(150, 150, 2), affine=axial(spacing=(0.703125, 0.703125, 1.25)))
    scan = scan_of(write_series(tmp_path, drawn)[0])
    mask = np.ones(drawn.array.shape, dtype=bool)
    mask[1:-1:apart, 1:-1:apart, 0] = False
    found = object_bytes(
        structure_set(scan.slices(), scan.stack.geometry, [RoiMask("lung", (255, 0, 80), mask)], made_by())
    )
    tag = b"\x06\x30\x50\x00"
    assert tag + b"UN" not in found
    (tmp_path / "rt.dcm").write_bytes(found)
    header = pydicom.dcmread(tmp_path / "rt.dcm")
    assert header.file_meta.TransferSyntaxUID == syntax
    layers, _, _ = series_file.read_layers(tmp_path / "rt.dcm")
    assert np.array_equal(layers[0] == 1, mask)


def test_contours_lie_on_their_slices_however_positions_are_rounded(tmp_path: Path) -> None:
    objects = slice_objects(random_series(shape=(14, 12, 6), affine=axial(spacing=(0.8, 0.9, 0.625))))
    for one in objects:
        one.ImagePositionPatient = [f"{float(value):.2f}" for value in one.ImagePositionPatient]
    scan = scan_of(write_objects(tmp_path, objects)[0])
    mask = np.ones(scan.stack.geometry.shape, dtype=bool)
    found = structure_set(scan.slices(), scan.stack.geometry, [RoiMask("all", (255, 0, 80), mask)], made_by())
    heights = {
        contour.ContourImageSequence[0].ReferencedSOPInstanceUID: set(map(float, contour.ContourData[2::3]))
        for contour in found.ROIContourSequence[0].ContourSequence
    }
    assert heights == {one.SOPInstanceUID: {float(one.ImagePositionPatient[2])} for one in objects}


def test_it_refers_to_the_slices_and_says_what_made_it(tmp_path: Path) -> None:
    example = annotated(tmp_path)
    found = pydicom.dcmread(written(example, tmp_path / "rt.dcm"))
    series = (
        found.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    )
    assert series.SeriesInstanceUID == example.drawn.uid
    images = {item.ReferencedSOPInstanceUID for item in series.ContourImageSequence}
    assert images == {f"{example.drawn.uid}.{number}" for number in range(1, 7)}
    contour = found.ROIContourSequence[0].ContourSequence[0]
    assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID in images
    assert (found.PatientName, found.PatientID, found.StudyInstanceUID) == ("Doe^Jane", "P1", "1.2.3")
    assert found.DeviceSerialNumber == "ab" * 32
