"""Segmentations lie where the mask does, and come back voxel for voxel."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotation_examples import Annotated, annotated, made_by
from dicom_examples import axial, enhanced_object, random_series, slice_objects, write_objects
from numpy.typing import NDArray
from test_stack import orientations

from vesal.volume.dicom import series_file
from vesal.volume.dicom.annotations.segmentation_writer import SegmentLabel, segmentation

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")
pytest.importorskip("highdicom", reason="the extra dicom is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

COLOUR = (200, 30, 60)


def written(example: Annotated, path: Path, kind: str = "binary", array: NDArray[Any] | None = None) -> Path:
    stacked = np.stack(list(example.masks.values())) if array is None else array
    labels = [SegmentLabel(name, COLOUR) for name in example.masks]
    segmentation(
        example.scan.slices(), example.scan.stack.geometry, labels, stacked, made_by(), kind
    ).save_as(path, enforce_file_format=True)
    return path


def read_back(path: Path) -> dict[str, NDArray[np.bool_]]:
    layers, _, segments = series_file.read_layers(path)
    return {one.name: layers[one.layer] == one.value for one in segments}


@pytest.mark.parametrize("affine", orientations())
def test_in_each_of_48_orientations_masks_come_back(affine: NDArray[np.float64], tmp_path: Path) -> None:
    example = annotated(tmp_path, affine)
    path = written(example, tmp_path / "seg.dcm")
    assert series_file.read(path).geometry.close_to(example.scan.stack.geometry)
    for name, mask in read_back(path).items():
        assert np.array_equal(mask, example.masks[name])


def test_on_its_own_grid_it_lies_where_the_scan_is_not_at_hand(tmp_path: Path) -> None:
    example = annotated(tmp_path / "scan")
    (tmp_path / "alone").mkdir()
    path = written(example, tmp_path / "alone" / "seg.dcm")
    shutil.rmtree(tmp_path / "scan")
    layers, grid, (first, _) = series_file.read_layers(path)
    drawn = np.argwhere(layers[first.layer] == first.value)
    wanted = np.argwhere(example.masks[first.name])
    places = [np.c_[of, np.ones(len(of))] @ on.affine.T for of, on in
              ((drawn, grid), (wanted, example.scan.stack.geometry))]  # fmt: skip
    assert np.allclose(*(np.array(sorted(map(tuple, np.round(place, 4).tolist()))) for place in places))


def test_probabilities_are_kept_to_a_255th_and_read_as_masks_from_a_half_on(tmp_path: Path) -> None:
    import highdicom

    example = annotated(tmp_path)
    generator = np.random.default_rng(7)
    shape = (2, *example.drawn.array.shape)
    probabilities = generator.random(shape).astype(np.float32)
    path = written(example, tmp_path / "seg.dcm", "fractional", probabilities)
    for mask, probability in zip(read_back(path).values(), probabilities, strict=True):
        assert np.array_equal(
            mask[np.abs(probability - 0.5) > 0.01], (probability > 0.5)[np.abs(probability - 0.5) > 0.01]
        )
    found = highdicom.seg.segread(path)
    assert found.MaximumFractionalValue == 255


def test_a_label_map_keeps_its_values(tmp_path: Path) -> None:
    example = annotated(tmp_path)
    first, second = example.masks.values()
    path = written(
        example, tmp_path / "seg.dcm", "labelmap", np.where(first, 1, np.where(second, 2, 0)).astype(np.uint8)
    )
    found = read_back(path)
    assert np.array_equal(found["left atrium"], first)
    assert np.array_equal(found["tumour"], second & ~first)


def test_frames_of_an_enhanced_scan_are_referred_to(tmp_path: Path) -> None:
    drawn = random_series(shape=(14, 12, 6))
    (path,) = write_objects(tmp_path, [enhanced_object(drawn)], ["a.dcm"])
    masks = {"left atrium": drawn.array > 500, "tumour": drawn.array < 0}
    example = Annotated(drawn, [path], series_file.scan_of(path), masks)
    for name, mask in read_back(written(example, tmp_path / "seg.dcm")).items():
        assert np.array_equal(mask, masks[name])


@pytest.mark.parametrize("enhanced", [False, True])
def test_each_frame_lies_on_its_slice_and_refers_to_it_however_positions_are_rounded(
    enhanced: bool, tmp_path: Path
) -> None:
    """As scanners write 0.625 mm to a hundredth: viewers match frames to slices by reference, else by exact place."""
    drawn = random_series(shape=(14, 12, 6), affine=axial(spacing=(0.8, 0.9, 0.625)))
    objects = [enhanced_object(drawn)] if enhanced else slice_objects(drawn)
    per_frame = objects[0].PerFrameFunctionalGroupsSequence if enhanced else []
    places = [frame.PlanePositionSequence[0] for frame in per_frame] or objects
    for place in places:
        place.ImagePositionPatient = [f"{float(value):.2f}" for value in place.ImagePositionPatient]
    paths = write_objects(tmp_path, objects)
    masks = {"left atrium": drawn.array > 500}
    example = Annotated(drawn, paths, series_file.scan_of(paths[0]), masks)
    found = pydicom.dcmread(written(example, tmp_path / "seg.dcm"))
    referred = {}
    for frame in found.PerFrameFunctionalGroupsSequence:
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        name = source.get("ReferencedFrameNumber") if enhanced else source.ReferencedSOPInstanceUID
        referred[name] = frame.PlanePositionSequence[0].ImagePositionPatient
    names = range(1, 7) if enhanced else [one.SOPInstanceUID for one in objects]
    assert referred == {name: place.ImagePositionPatient for name, place in zip(names, places, strict=True)}
    assert np.array_equal(read_back(tmp_path / "seg.dcm")["left atrium"], masks["left atrium"])


def test_it_names_the_model_the_series_and_what_the_labels_mean(tmp_path: Path) -> None:
    example = annotated(tmp_path)
    found = pydicom.dcmread(written(example, tmp_path / "seg.dcm"))
    assert found.ReferencedSeriesSequence[0].SeriesInstanceUID == example.drawn.uid
    atrium, tumour = found.SegmentSequence
    assert atrium.SegmentedPropertyTypeCodeSequence[0].CodeValue == "82471001"
    assert tumour.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Morphologically Abnormal Structure"
    assert atrium.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "Vesal, model abababababab"
    (colour,) = {one.colour for one in series_file.read_layers(tmp_path / "seg.dcm")[2]}
    assert np.abs(np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) - COLOUR).max() <= 2
