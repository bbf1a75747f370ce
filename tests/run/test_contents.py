"""What a run holds: each piece is read by itself, and what is absent or damaged is named."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from vesal.data.dataset import Case
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError
from vesal.files import write_json
from vesal.run.contents import load_case, run_contents

LABELS = LabelSet.from_values({"atrium": 1, "wall": 3})


def test_folds_and_their_held_out_predictions_are_found(tmp_path):
    for fold, case in ((0, "a"), (1, "b")):
        folder = tmp_path / f"fold_{fold}" / "predictions"
        folder.mkdir(parents=True)
        (folder / f"{case}.nii.gz").touch()
        (folder / f".writing-{case}.nii.gz").touch()
        (folder / "notes.txt").touch()
        (folder.parent / "metrics.jsonl").write_text('{"step": 1}\n[]\n{"step": 2, "tr')
    found = run_contents(tmp_path)
    assert found.fold_of == {"a": "0", "b": "1"}
    assert found.predictions["b"].parent.parent.name == "fold_1"
    assert found.curves == {"0": [{"step": 1}], "1": [{"step": 1}]}
    assert not found.trained_on_all
    assert found.labels is None


def test_each_absent_or_damaged_piece_is_named_and_findings_may_be_absent(tmp_path):
    (tmp_path / "fold_all").mkdir()
    (tmp_path / "fold_all" / "finished.json").touch()
    (tmp_path / "plan.json").write_text("{")
    write_json(tmp_path / "environment.json", {"cpus": 2})
    found = run_contents(tmp_path)
    assert found.trained_on_all
    assert found.environment == {"cpus": 2}
    assert [sentence.split(" (")[0] for sentence in found.missing] == [
        "The data set is not in this run",
        "The fingerprint is not in this run",
        "The plan could not be read",
    ]


def test_a_folder_without_any_piece_of_a_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is not a run folder"):
        run_contents(tmp_path)
    with pytest.raises(UsageError, match="There is no folder"):
        run_contents(tmp_path / "nowhere")


def test_a_case_is_loaded_on_the_grid_of_its_image_and_undeclared_values_are_background(tmp_path):
    scan, label = np.zeros((6, 5, 4), np.float32), np.zeros((6, 5, 4), np.uint8)
    label[1], label[2], label[3] = 1, 3, 7
    for name, array in (("scan", scan), ("label", label), ("flat", label[..., 0])):
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii.gz")
    case = Case(id="a", images=(tmp_path / "scan.nii.gz",), label=tmp_path / "label.nii.gz", patient="a")
    shown = load_case(case, LABELS)
    assert shown.prediction is None
    assert shown.truth is not None
    assert [int(shown.truth[row].max()) for row in range(6)] == [0, 1, 2, 0, 0, 0]
    with pytest.raises(DataError, match="the label has 2 axes and the image 3"):
        load_case(case, LABELS, tmp_path / "flat.nii.gz")
