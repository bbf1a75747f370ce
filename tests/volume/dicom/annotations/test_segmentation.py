"""Segmentations of other programs: names, numbers, grids, and what they lack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotation_examples import annotated, made_by
from dicom_examples import axial

from vesal.errors import DataError
from vesal.volume.dicom.annotations.segmentation import grid_of, segment_masks, segments_of
from vesal.volume.dicom.annotations.segmentation_writer import SegmentLabel, segmentation
from vesal.volume.dicom.frames import frames_of

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")
pytest.importorskip("highdicom", reason="the extra dicom is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def written(tmp_path: Path) -> tuple[Any, Any]:
    example = annotated(tmp_path)
    labels = [SegmentLabel(name, (1, 2, 3)) for name in example.masks]
    array = np.stack(list(example.masks.values()))
    segmentation(example.scan.slices(), example.scan.stack.geometry, labels, array, made_by()).save_as(
        tmp_path / "a.dcm", enforce_file_format=True
    )
    return example, pydicom.dcmread(tmp_path / "a.dcm")


def test_names_that_are_there_twice_or_not_get_their_number(written: tuple[Any, Any]) -> None:
    _, header = written
    header.SegmentSequence[1].SegmentLabel = header.SegmentSequence[0].SegmentLabel
    assert [one.name for one in segments_of(header)] == ["left atrium", "left atrium (2)"]
    header.SegmentSequence[0].SegmentLabel = ""
    assert [one.name for one in segments_of(header)] == ["segment 1", "left atrium"]


def test_slices_without_a_frame_are_empty_and_the_grid_follows_from_the_others(
    written: tuple[Any, Any],
) -> None:
    example, header = written
    frames = frames_of("a.dcm", header)
    grid = grid_of(frames, "a.dcm")
    assert grid.spacing_mm == pytest.approx(example.scan.stack.geometry.spacing_mm)
    own, masks = segment_masks(header, "a.dcm", None)
    for _, mask in masks:
        assert mask.shape == own.shape == grid.shape


def test_another_grid_than_the_scans_is_kept(written: tuple[Any, Any], tmp_path: Path) -> None:
    _, header = written
    elsewhere = annotated(tmp_path / "elsewhere", axial((0.8, 0.9, 2.5), (-20.4, 11.0, 40.0)))
    grid, _ = segment_masks(header, "a.dcm", elsewhere.scan.stack)
    assert grid.affine[0, 3] == pytest.approx(20.0)
    assert grid.spacing_mm == pytest.approx((0.8, 0.9, 2.5))


def test_frames_lie_on_slices_that_drift_by_a_part_of_a_pixel(tmp_path: Path) -> None:
    """As where directions are rounded to three digits: too little for a tilt, and more than a tenth of a pixel."""
    affine = axial()
    affine[:3, 2] = (0.06, 0.0, 2.5)
    example = annotated(tmp_path, affine)
    labels, array = [SegmentLabel("left atrium", (1, 2, 3))], example.masks["left atrium"][None]
    found = segmentation(example.scan.slices(), example.scan.stack.geometry, labels, array, made_by())
    grid, masks = segment_masks(found, "a.dcm", example.scan.stack)
    assert grid is example.scan.stack.geometry
    assert np.array_equal(next(masks)[1], array[0])


def test_a_frame_of_no_segment_is_refused(written: tuple[Any, Any]) -> None:
    example, header = written
    del header.PerFrameFunctionalGroupsSequence[2].SegmentIdentificationSequence
    _, masks = segment_masks(header, "a.dcm", example.scan.stack)
    with pytest.raises(DataError, match=r"a\.dcm has a frame that does not say of which segment"):
        list(masks)


def test_frames_between_the_slices_of_a_grid_are_refused(written: tuple[Any, Any]) -> None:
    _, header = written
    place = header.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    place.ImagePositionPatient = [float(place.ImagePositionPatient[0]) + 0.4, *place.ImagePositionPatient[1:]]
    with pytest.raises(DataError, match="lie on no common grid"):
        segment_masks(header, "a.dcm", None)


@pytest.mark.parametrize("shape", [(23, 21), (10, 11), (7, 5), (8, 3), (16, 16)])
def test_frames_of_bits_that_begin_within_a_byte_are_read(shape: tuple[int, int]) -> None:
    from pydicom.pixels import pack_bits

    from vesal.volume.dicom.annotations.segmentation import _stored

    frames = np.random.default_rng(5).integers(0, 2, (12, *shape)).astype(np.uint8)
    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    header.Rows, header.Columns, header.NumberOfFrames = *shape, len(frames)
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 1, 1, 0, 0
    header.PixelData = pack_bits(frames.ravel())
    for number, frame in enumerate(frames):
        assert np.array_equal(_stored(header, number, len(frames), "a.dcm"), frame)


def test_bits_that_end_too_early_are_refused() -> None:
    from vesal.volume.dicom.annotations.segmentation import _stored

    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    header.Rows, header.Columns, header.BitsAllocated, header.PixelData = 10, 11, 1, bytes(20)
    with pytest.raises(DataError, match="damaged"):
        _stored(header, 1, 2, "a.dcm")
