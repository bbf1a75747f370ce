"""Held-out cases beside their predictions, and the curves of a training."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from vesal.report.figures.validation_grid import write_training_pictures
from vesal.run.contents import run_contents

sys.path.insert(0, str(Path(__file__).parents[1]))
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
