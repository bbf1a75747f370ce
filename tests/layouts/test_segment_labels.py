"""Data sets whose labels are Slicer's segmentations: in training, evaluation and conversion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from segment_files import write_segments

from vesal.data.case import read_case
from vesal.errors import DataError
from vesal.evaluate.score_folders import score_folders
from vesal.layouts.registry import load_dataset
from vesal.layouts.segment_labels import segment_labels
from vesal.volume.io import read_geometry, write_label, write_volume
from vesal.volume.volume import LabelMap, Volume

SHAPE = (8, 9, 7)


def masks(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A ball and a block beside it."""
    x, y, z = np.indices(SHAPE)
    ball = (x - 2) ** 2 + (y - 3) ** 2 + (z - 3) ** 2 < 5 + number
    return ball.astype(np.uint8), ((x > 5) & (y > 4)).astype(np.uint8)


def data_set(folder: Path, kind: str) -> Path:
    """Four cases; the order of the segments changes from case to case."""
    for number in range(4):
        ball, block = masks(number)
        if kind == "nested":
            block = ball & (np.indices(SHAPE)[0] > 2)
        segments = [("ball", ball), ("block", block)][:: 1 if number % 2 == 0 else -1]
        layers = np.stack([mask for _, mask in segments])
        if kind == "one layer":
            layers = (layers[0] + 2 * layers[1])[None]
            named = [(name, value, 0) for value, (name, _) in enumerate(segments, start=1)]
        else:
            named = [(name, 1, layer) for layer, (name, _) in enumerate(segments)]
        path = write_segments(folder / "labels" / f"case{number}.seg.nrrd", layers, named)
        grid = read_geometry(path)
        image = np.random.default_rng(number).integers(0, 99, SHAPE).astype(np.int16)
        (folder / "images").mkdir(exist_ok=True)
        write_volume(folder / "images" / f"case{number}.nrrd", Volume(image[None], grid))
    return folder


@pytest.mark.parametrize("kind", ["one layer", "layers"])
def test_segments_are_classes_by_their_names_in_every_case(kind: str, tmp_path: Path) -> None:
    dataset = load_dataset(data_set(tmp_path, kind))
    assert dataset.labels.by_name == {"ball": 1, "block": 2}
    assert dataset.labels.labels[0].colour == "#ff8000"
    assert dataset.labels.regions == ()
    for number, case in enumerate(dataset.cases):
        label = read_case(case).label
        assert label is not None
        ball, block = masks(number)
        np.testing.assert_array_equal(label.array, ball + 2 * block)


def test_segments_that_overlap_are_regions_the_larger_first(tmp_path: Path) -> None:
    dataset = load_dataset(data_set(tmp_path, "nested"))
    labels = dataset.labels
    assert labels.by_name == {"ball": 1, "ball + block": 3}
    assert labels.classes == ("ball", "block")
    for number, case in enumerate(dataset.cases):
        label = read_case(case).label
        assert label is not None
        ball = masks(number)[0]
        found = labels.masks(labels.encode(label.array))
        np.testing.assert_array_equal(found[0], ball > 0)
        np.testing.assert_array_equal(found[1], (ball > 0) & (np.indices(SHAPE)[0] > 2))


@pytest.mark.parametrize("kind", ["one layer", "layers", "nested"])
def test_masks_are_scored_against_segmentations(kind: str, tmp_path: Path) -> None:
    dataset = load_dataset(data_set(tmp_path, kind))
    out = tmp_path / "masks"
    out.mkdir()
    for case in dataset.cases:
        label = read_case(case).label
        assert label is not None
        write_label(out / f"{case.id.removesuffix('.seg')}.seg.nrrd", LabelMap(label.array, label.geometry))
    for labels in (dataset.labels, None):
        scores = score_folders(out, tmp_path / "labels", labels=labels)
        assert not scores.failures
        assert len(scores.cases) == 8
        assert {score.dice for score in scores.cases} == {1.0}


def test_files_without_names_and_mixtures_are_read_by_their_values(tmp_path: Path) -> None:
    data_set(tmp_path, "one layer")
    paths = sorted((tmp_path / "labels").iterdir())
    assert segment_labels([]) is None
    assert segment_labels([tmp_path / "a.nii.gz"]) is None
    label = read_case(load_dataset(tmp_path).cases[0]).label
    assert label is not None
    write_label(paths[0], label)
    assert segment_labels(paths) is None
    assert load_dataset(tmp_path).labels.names == ("label_1", "label_2")


def test_segments_that_are_the_same_voxels_are_refused_with_a_sentence(tmp_path: Path) -> None:
    ball = masks(0)[0]
    path = write_segments(tmp_path / "a.seg.nrrd", np.stack([ball, ball]), [("one", 1, 0), ("two", 1, 1)])
    with pytest.raises(DataError, match="make no regions"):
        segment_labels([path])
