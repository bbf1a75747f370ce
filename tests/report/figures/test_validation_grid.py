"""Held-out cases beside their predictions, and the curves of a training."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vesal.data.crop import Crop
from vesal.data.labels import LabelSet
from vesal.preprocessing.cache import PreparedCase
from vesal.report.figures import validation_grid
from vesal.report.figures.planes import cut_planes
from vesal.report.figures.validation_grid import draw_example, write_training_pictures
from vesal.run.contents import run_contents
from vesal.train.validation import Example
from vesal.volume.geometry import Geometry
from vesal.volume.volume import Volume

sys.path.insert(0, str(Path(__file__).parents[1]))
import example_run
from example_run import make_run


def test_held_out_cases_are_shown_with_truth_and_prediction_from_the_best_to_the_worst(tmp_path):
    run = make_run(tmp_path, cases=6)
    write_training_pictures(run_contents(run))
    assert (run / "fold_0" / "training_curves.png").exists()
    predictions = run / "fold_0" / "val_predictions.png"
    picture = np.asarray(Image.open(predictions).convert("RGB")).astype(int)
    orange = (picture[..., 0] - picture[..., 1] > 60)[:-60]
    # A row a case: bare scan, truth, prediction, both.
    bare, *drawn = np.split(orange[:, : orange.shape[1] // 4 * 4], 4, axis=1)
    assert bare.sum() == 0
    assert all(part.sum() > 400 for part in drawn)
    assert picture.shape[0] > picture.shape[1]


def test_of_slices_those_with_foreground_are_shown_under_names_that_are_shortened_in_their_middle(
    tmp_path, monkeypatch
):
    """Nine slices of twelve hold nothing."""
    volume = example_run.volume
    titles = []
    panel = validation_grid.draw_plane

    def mostly_empty(number, shape):
        image, label = volume(number, shape)
        return image, label if number in (1, 5, 8) else np.zeros_like(label)

    def drawn(figure, box, plane, labels, name, fill):
        titles.append((name, [int((part > 0).sum()) for part in plane.maps]))
        panel(figure, box, plane, labels, name, fill)

    monkeypatch.setattr(example_run, "volume", mostly_empty)
    monkeypatch.setattr(validation_grid, "draw_plane", drawn)
    run = make_run(tmp_path, shape=(40, 30), cases=12, named="hospital-of-the-patient-0012_slice_{:04}")
    write_training_pictures(run_contents(run))
    rows = [titles[start : start + 4] for start in range(0, len(titles), 4)]
    assert len(rows) == 3
    names = {row[0][0].partition("   ")[0] for row in rows}
    assert names == {f"hospital-of-th…12_slice_{number:04}" for number in (1, 5, 8)}
    truths = [row[1][1][0] for row in rows]
    assert min(truths) > 100
    # What the rows show is in the picture: nothing in the bare slice, and the truth in its own column.
    picture = np.asarray(Image.open(run / "fold_0" / "val_predictions.png").convert("RGB")).astype(int)
    orange = (picture[..., 0] - picture[..., 1] > 60)[:-60]
    bare, truth, *_ = np.split(orange[:, : orange.shape[1] // 4 * 4], 4, axis=1)
    assert bare.sum() == 0
    assert all(part.sum() > 100 for part in np.array_split(truth, 3))


def test_a_run_on_all_cases_and_one_of_images_have_the_pictures_that_they_can_have(tmp_path):
    everything = make_run(tmp_path / "all", folds=("all",), cases=1)
    shutil.rmtree(everything / "fold_all" / "predictions")
    write_training_pictures(run_contents(everything))
    assert [path.name for path in (everything / "fold_all").glob("*.png")] == ["training_curves.png"]
    flat = make_run(tmp_path / "flat", shape=(40, 30), cases=1)
    write_training_pictures(run_contents(flat))
    assert sorted(path.name for path in (flat / "fold_0").glob("*.png")) == [
        "training_curves.png",
        "val_predictions.png",
    ]


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_picture_while_training_lies_as_the_scan_does_in_all_others(tmp_path, dimension):
    """A scan in LPS axes with a bright corner at the patient's right and front: it is at the upper left."""
    geometry = Geometry((40, 30, 8), np.diag([-1.0, -1.5, 4.0, 1.0]))
    slice_axis = 2 if dimension == 2 else None
    turn = geometry.turn_to_ras()
    crop = Crop(
        geometry, turn, (0, 0, 0), (40, 30, 8), slice_axis, (8, 40, 30) if slice_axis else (40, 30, 8)
    )
    label = np.zeros((40, 30, 8), dtype=np.uint8)
    label[4:12, 3:9, 4] = 1  # in LPS axes the right is at low x, the front at low y
    prepared = crop.cut(label)
    case = PreparedCase("la_003", "3", None, tmp_path, None, crop, {}, 0)
    example = Example(case, prepared.astype(np.float16), prepared, np.zeros_like(prepared))
    scan, truth, predicted = example.in_space()
    assert scan.geometry.spacing_mm == pytest.approx((1.0, 1.5, 4.0))
    assert (truth == turn.apply(label)).all()
    assert not predicted.any()
    (expected, *_) = cut_planes(Volume(label[None].astype(np.float32), geometry), [label])
    (plane, *_) = cut_planes(scan, [truth])
    assert (plane.image == expected.image).all()
    rows, columns = np.nonzero(plane.maps[0])
    assert rows.max() < 15
    assert columns.max() < 20
    picture = draw_example(example, LabelSet.from_values({"atrium": 1})).astype(int)
    assert picture.shape[1:] == (1300, 3)
    bare, truth_panel, predicted_panel, both = np.split(picture[24:-40], 4, axis=1)
    colourful = [
        (part[..., 0] - part[..., 2] > 60).sum() for part in (bare, truth_panel, predicted_panel, both)
    ]
    # The yellow letters of the directions are in each panel.
    assert colourful[1] > colourful[0] + 500
    assert abs(colourful[2] - colourful[0]) < 50


def test_an_image_is_shown_while_training_as_it_lies_in_its_file(tmp_path):
    geometry = Geometry.from_spacing((12, 20), (1.0, 1.0))
    crop = Crop(geometry, geometry.turn_to_ras(), (0, 0), (12, 20), None, (1, 12, 20))
    label = np.zeros((1, 12, 20), dtype=np.uint8)
    label[0, 2:5, 10:18] = 1
    case = PreparedCase("slice", "1", None, tmp_path, None, crop, {}, 0)
    scan, truth, _ = Example(case, label.astype(np.float16), label, label).in_space()
    assert scan.geometry.ndim == 2
    (plane,) = cut_planes(scan, [truth])
    assert plane.maps[0].shape == (20, 12)
    assert plane.maps[0][10:18, 2:5].all()
    assert plane.maps[0].sum() == 24
