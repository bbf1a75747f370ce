"""Training on segmentations as 3D Slicer writes them, to its end."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from vesal.infer.predictor import load_model
from vesal.volume.formats.nrrd import encode
from vesal.volume.io import read_label
from vesal.volume.segments import Segment
from vesal.volume.volume import Volume
from vesal.workflow.evaluate import evaluate_run
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training.train import train_run


def write_segmentations(tiny: Path, folder: Path) -> None:
    """Four cases in three layers: a core in the whole, and fat that lies half in the whole and half beside it."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(4):
        image = tiny / "imagesTr" / f"tiny_{number:02}.nii.gz"
        label = read_label(tiny / "labelsTr" / image.name)
        nib.save(nib.load(image), folder / "images" / f"c{number}.nii.gz")
        fat = np.zeros_like(label.array)
        fat[: len(fat) // 2] = label.array[: len(fat) // 2] == 1
        fat[0] = 1
        layers = np.stack([label.array > 0, label.array == 7, fat]).astype(np.uint8)
        named = [Segment(name, 1, layer) for layer, name in enumerate(("whole", "core", "fat"))]
        path = folder / "labels" / f"c{number}.seg.nrrd"
        path.write_bytes(encode(path, Volume(layers, label.geometry), named))


def test_overlapping_segments_are_trained_predicted_and_scored_as_regions(
    tiny_data: Path, tmp_path: Path
) -> None:
    write_segmentations(tiny_data, tmp_path / "data")
    settings = {"steps": 4, "fold": 0, "folds": 2, "plan.patch": [16, 16, 16], "plan.width": 0.25}
    request = TrainRequest(
        data=tmp_path / "data", out=tmp_path / "run", overrides=settings, device="cpu", quiet=True
    )
    result = train_run(request, tell=lambda _text: None)
    assert result.problems == ()
    labels = load_model(tmp_path / "run").labels
    assert set(labels.classes) == {"whole", "core", "fat"}
    assert set(labels.names) == {"core + whole", "fat", "fat + whole", "whole"}
    assert labels.unwritten == ()
    scores = result.scores
    assert scores is not None
    assert {score.class_name for score in scores.cases} == {"whole", "core", "fat"}
    # The truth scored against itself, with the classes that its files name.
    truth = tmp_path / "data" / "labels"
    found = evaluate_run(truth, truth).cases
    assert {score.class_name for score in found} == {"whole", "core", "fat"}
    assert {score.dice for score in found} == {1.0}
