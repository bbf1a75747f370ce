"""Evaluate: a run's held-out predictions, or two folders."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from vesal.data.dataset import Case, Dataset
from vesal.data.folds import Folds
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError, VesalError
from vesal.evaluate.scores import Scores
from vesal.run.folder import Run
from vesal.run_files import FINISHED, PREDICTIONS
from vesal.workflow.convert import convert_run
from vesal.workflow.evaluate import evaluate_run, score_run
from vesal.workflow.requests.convert_request import ConvertRequest

LABELS = LabelSet.from_values({"heart": 1, "wall": 3})


@pytest.fixture
def run(tmp_path) -> Run:
    """Four cases in two folds, predicted one voxel aside."""
    cases = []
    run = Run(tmp_path / "run")
    for number in range(4):
        label = np.zeros((10, 8, 6), np.uint8)
        label[2:5, 2:6, 1:5], label[5:8, 2:6, 1:5] = 1, 3
        files = [tmp_path / f"c{number}_{what}.nii.gz" for what in ("image", "label")]
        predictions = run.fold(number % 2) / PREDICTIONS
        predictions.mkdir(parents=True, exist_ok=True)
        for path, array in ((files[0], label.astype(np.float32)), (files[1], label),
                            (predictions / f"c{number}.nii.gz", np.roll(label, 1, axis=1))):  # fmt: skip
            nib.save(nib.Nifti1Image(array, np.eye(4)), path)
        cases.append(Case(id=f"c{number}", images=(files[0],), label=files[1], patient=f"c{number}"))
    Dataset(name="d", root=tmp_path, layout="msd", channels=("MRI",), labels=LABELS, cases=tuple(cases)).save(
        run.dataset_file
    )
    Folds(seed=0, parts=(("c0", "c2"), ("c1", "c3"))).save(run.folds_file)
    for number in range(2):
        (run.fold(number) / FINISHED).touch()
    return run


def test_the_held_out_cases_of_all_finished_folds_are_pooled_and_saved_in_the_run(run):
    scores = score_run(run)
    assert sorted({row.case for row in scores.cases}) == ["c0", "c1", "c2", "c3"]
    assert scores.of("dice").mean == pytest.approx(0.75)
    assert Scores.load(run.folder) == scores
    (run.fold(1) / FINISHED).unlink()
    assert len(score_run(run).cases) == 4


def test_a_folder_of_predictions_is_scored_as_the_run_is(run, tmp_path):
    truth, predictions = tmp_path / "truth", tmp_path / "predictions"
    for folder in (truth, predictions):
        folder.mkdir()
    for number in range(4):
        (tmp_path / f"c{number}_label.nii.gz").rename(truth / f"c{number}.nii.gz")
        made = run.fold(number % 2) / PREDICTIONS / f"c{number}.nii.gz"
        made.rename(predictions / made.name)
    found = evaluate_run(predictions, truth, out=tmp_path / "out")
    assert found.classes == ("1", "3")
    assert found.of("dice").mean == pytest.approx(0.75)
    assert (tmp_path / "out" / "scores.md").exists()


def test_names_of_labels_are_refused_where_a_run_has_its_own(run, tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps({"labels": {"background": 0, "wall": 1, "heart": 3}}))
    with pytest.raises(UsageError, match="--labels is for predictions beside a folder of truth"):
        evaluate_run(run.folder, None, labels=tmp_path / "labels.json")
    assert not (run.folder / "scores.json").exists()


def test_what_cannot_be_scored_is_named_with_its_fix(run):
    with pytest.raises(UsageError, match="tolerance"):
        score_run(run, tolerance_mm=-1)
    (run.fold(0) / PREDICTIONS / "c2.nii.gz").unlink()
    with pytest.raises(VesalError, match=r"No prediction of c2; vesal train --resume"):
        score_run(run)
    run.folds_file.unlink()
    with pytest.raises(VesalError, match="trained on all cases"):
        score_run(run)


def folder_of(root, names, moved=0):
    label = np.zeros((10, 8, 6), np.uint8)
    label[2:5, 2:6, 1:5] = 1
    root.mkdir(parents=True)
    for name in names:
        nib.save(nib.Nifti1Image(np.roll(label, moved, axis=1), np.eye(4)), root / name)
    return root


def test_predictions_are_matched_as_images_are_with_labels(tmp_path):
    predictions = folder_of(
        tmp_path / "masks", ["x.nii.gz", "img2.nii.gz", "y_pred.nii.gz", "more.nii.gz"], 1
    )
    truth = folder_of(tmp_path / "truth", ["x.seg.nii.gz", "label2.nii.gz", "y.nii"])
    scores = evaluate_run(predictions, truth)
    assert {row.case: row.dice for row in scores.cases} == pytest.approx(
        {"x.seg": 0.75, "label2": 0.75, "y": 0.75}
    )
    assert any("were not scored: more." in remark for remark in scores.remarks)


def test_the_dataset_json_around_the_folder_of_truth_names_the_labels(tmp_path):
    names = [f"c{number}.nii.gz" for number in range(2)]
    truth = folder_of(tmp_path / "data" / "labelsTs", names)
    folder_of(tmp_path / "data" / "imagesTr", ["a_0000.nii.gz"])
    folder_of(tmp_path / "data" / "labelsTr", ["a.nii.gz"])
    description = tmp_path / "data" / "dataset.json"
    text = '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}'
    description.write_text(text)
    predictions = folder_of(tmp_path / "masks", names)
    scores = evaluate_run(predictions, truth)
    assert scores.classes == ("liver",)
    assert f"{description} names the labels." in scores.remarks
    assert evaluate_run(predictions, truth, labels=description).remarks == ()
    description.write_text("{")
    scores = evaluate_run(predictions, truth)
    assert scores.classes == ("1",)
    assert "cannot be used" in scores.remarks[0]
    assert len(scores.remarks[0]) < 500  # the reason alone, not all that layouts look for


def test_a_dataset_json_names_labels_and_regions_where_its_data_are_not(tmp_path):
    label = np.zeros((8, 8, 8), np.uint8)
    label[1:7, 1:7, 1:7], label[3:5, 3:5, 3:5] = 2, 1
    for folder in ("truth", "predictions"):
        (tmp_path / folder).mkdir()
        nib.save(nib.Nifti1Image(label, np.eye(4)), tmp_path / folder / "a.nii.gz")
    described = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "whole": [1, 2], "core": 1}}
    path = tmp_path / "described" / "dataset.json"
    path.parent.mkdir()
    path.write_text(json.dumps(described | {"regions_class_order": [2, 1]}), encoding="utf-8")
    scores = evaluate_run(tmp_path / "predictions", tmp_path / "truth", labels=path)
    assert {row.class_name: row.truth_volume_ml for row in scores.cases} == {
        "whole": pytest.approx(0.216), "core": pytest.approx(0.008)}  # fmt: skip


def save_mask(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(array.astype(np.uint8)).save(path)


def polyp(scores: Scores) -> float | None:
    return scores.cases[0].dice


def test_soft_truth_is_read_by_the_threshold_of_its_description(tmp_path: Path) -> None:
    soft = np.zeros((12, 12), np.uint8)
    soft[3:8, 3:8], soft[3], soft[7] = 255, 100, 180
    save_mask(tmp_path / "data" / "images" / "a.png", soft)
    save_mask(tmp_path / "data" / "masks" / "a.png", soft)
    save_mask(tmp_path / "pred" / "a.png", np.where(soft >= 128, 255, 0))
    (tmp_path / "data" / "dataset.json").write_text(
        json.dumps({"labels": {"background": 0, "polyp": 255}, "threshold": 128})
    )
    scores = evaluate_run(tmp_path / "pred", tmp_path / "data" / "masks")
    assert polyp(scores) == 1.0
    # What is made of soft masks is hard, and says so.
    convert_run(ConvertRequest(data=tmp_path / "data", out=tmp_path / "png", to="png"))
    index = json.loads((tmp_path / "png" / "slices.json").read_text())
    assert index["labels"]["threshold"] is None
    assert polyp(evaluate_run(tmp_path / "pred", tmp_path / "png" / "labels")) == 1.0


def test_a_description_that_does_not_declare_the_values_is_named(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        save_mask(tmp_path / "data" / folder / "a.png", np.eye(8))
    (tmp_path / "data" / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "polyp": 2}}))
    with pytest.raises(DataError, match=r"values \[1\] are not declared") as raised:
        evaluate_run(tmp_path / "data" / "masks", tmp_path / "data" / "masks")
    assert f"read in {tmp_path / 'data' / 'dataset.json'} (--labels takes another)" in str(raised.value)


def test_labels_may_be_named_by_any_json_file_and_one_that_is_not_there_is_told(tmp_path):
    folders = [folder_of(tmp_path / name, ["a.nii.gz"]) for name in ("masks", "truth")]
    path = tmp_path / "my labels.json"
    path.write_text('{"labels": {"background": 0, "liver": 1}}')
    assert evaluate_run(*folders, labels=path).classes == ("liver",)
    path.write_text('{"labels": {"background": 0, "liver": 1}, "threshold": "x"}')
    with pytest.raises(DataError, match=r'my labels.json: "threshold" is a number'):
        evaluate_run(*folders, labels=path)
    with pytest.raises(UsageError, match=r"There is no file .*gone.json; name the dataset.json"):
        evaluate_run(*folders, labels=tmp_path / "gone.json")


def test_two_files_are_a_case_whatever_they_are_called_and_a_dataset_json_beside_names_their_labels(tmp_path):
    folder_of(tmp_path / "masks", ["prediction.nii.gz", "b.nii.gz"])
    truth = folder_of(tmp_path / "data" / "labelsTr", ["a.nii.gz", "b.nii.gz"])
    one, other = tmp_path / "masks" / "prediction.nii.gz", truth / "a.nii.gz"
    scores = evaluate_run(one, other)
    assert [(row.case, row.class_name) for row in scores.cases] == [("a", "1")]
    assert evaluate_run(truth / "a.nii.gz", other).cases[0].dice == 1.0
    text = '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}'
    (tmp_path / "data" / "dataset.json").write_text(text)
    folder_of(tmp_path / "data" / "imagesTr", ["a_0000.nii.gz", "b_0000.nii.gz"])
    assert evaluate_run(one, other).classes == ("liver",)
    with pytest.raises(UsageError, match="are a file and a folder; name two files or two folders"):
        evaluate_run(one, truth)


def test_the_data_set_around_the_folder_of_truth_says_what_was_drawn_and_of_whom(tmp_path):
    for folder in ("imagesTr", "labelsTr", "masks"):
        (tmp_path / folder).mkdir()
    names = [f"c{number}" for number in range(4)]
    for name in names:
        label = np.zeros((8, 8, 8), np.uint8)
        label[2:5, 2:6, 1:5] = 1
        found = label.copy()
        found[5:7] = 3
        for folder, array in (("imagesTr", label.astype(np.float32)), ("labelsTr", label), ("masks", found)):
            nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / folder / f"{name}.nii.gz")
    description = {
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "heart", "3": "wall"},
        "training": [
            {"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"} for name in names
        ],
        "annotated": {name: ["heart"] for name in names[:3]},
        "patients": dict.fromkeys(names[:2], "one"),
    }
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    scores = evaluate_run(tmp_path / "masks", tmp_path / "labelsTr")
    # What nobody looked for is no false positive.
    assert [row.case for row in scores.cases if row.class_name == "wall"] == ["c3"]
    assert [*scores.patients] == ["c0", "c1"]
