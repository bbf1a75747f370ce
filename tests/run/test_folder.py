"""A run folder: which folds are finished, and when it may be written."""

from __future__ import annotations

import pytest

from vesal.errors import UsageError
from vesal.files import write_text
from vesal.outputs import OutputFolder
from vesal.run.folder import Run
from vesal.run_files import (
    ALL,
    CONFIG,
    ENVIRONMENT,
    FINGERPRINT,
    FINISHED,
    FOLDS,
    METRICS,
    PLAN,
    REPORT,
    SCORES,
    fold_folders,
    fold_name,
)


def finish(run: Run, name: int | str) -> None:
    run.fold(name).mkdir(parents=True)
    (run.fold(name) / FINISHED).touch()


def test_finished_folds_are_listed_by_number(tmp_path):
    run = Run(tmp_path)
    for name in (10, 2, ALL):
        finish(run, name)
    run.fold(3).mkdir()
    assert run.trained_folds() == [2, 10]
    assert [fold_name(folder) for folder in fold_folders(tmp_path)] == ["2", "3", "10", ALL]


def test_a_folder_that_holds_something_is_written_only_when_it_is_a_run_to_resume(tmp_path):
    run = Run(tmp_path / "run")
    run.begin(resume=False)
    run.folder.mkdir()
    (run.folder / "notes.txt").touch()
    for resume in (False, True):
        with pytest.raises(UsageError, match="something that is not a run"):
            run.begin(resume=resume)
    (run.folder / CONFIG).touch()
    assert run.begin(resume=True)
    with pytest.raises(UsageError, match="is not empty; add --resume"):
        run.begin(resume=False)
    with pytest.raises(UsageError, match="is not empty; choose another"):
        run.begin(resume=False, resumable=False)


def test_a_run_that_was_only_set_up_begins_anew_and_keeps_what_was_read_of_the_data(tmp_path):
    run = Run(tmp_path)
    for name in (CONFIG, ENVIRONMENT, FINGERPRINT, PLAN, FOLDS):
        (tmp_path / name).touch()
    assert not run.begin(resume=False)
    run.forget_choices()
    assert {path.name for path in tmp_path.iterdir()} == {CONFIG, ENVIRONMENT, FINGERPRINT}
    run.fold(0).mkdir()
    with pytest.raises(UsageError, match="is not empty"):
        run.begin(resume=False)


def test_a_project_of_the_users_with_a_configuration_of_that_name_is_no_run_to_begin_anew(tmp_path):
    for name in (CONFIG, ENVIRONMENT, "train.py"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match="is not empty"):
        Run(tmp_path).begin(resume=False)


def test_a_run_that_did_not_come_to_its_end_says_where_it_stands(tmp_path):
    run = Run(tmp_path)
    assert "has not finished a training step yet; vesal train DATA -o" in run.unfinished()
    for name, step in ((0, 30), (ALL, 7)):
        run.fold(name).mkdir()
        (run.fold(name) / METRICS).write_text(f'{{"step": 1}}\n{{"step": {step}}}\n')
    assert "did not come to its end (fold 0 is at step 30, it is at step 7)" in run.unfinished()
    finish(Run(tmp_path), 1)
    assert run.unfinished() is None


def test_a_file_and_a_folder_without_a_data_set_are_no_runs(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        Run(tmp_path / "file").begin(resume=True)
    with pytest.raises(UsageError, match="is not a run folder"):
        Run(tmp_path).dataset()
    assert Run(tmp_path).folds() is None


@pytest.mark.parametrize("name", [REPORT, SCORES, "fold_0/training_curves.png", "surfaces/a.glb"])
def test_results_that_were_changed_by_hand_are_refused_and_others_are_written_again(tmp_path, name):
    run = Run(tmp_path)
    finish(run, 0)
    for _ in range(2):
        with run.output():
            write_text(tmp_path / name, "ours")
    (tmp_path / "notes.md").write_text("mine")
    run.refuse_changed()
    (tmp_path / name).write_text("by hand")
    with pytest.raises(UsageError, match=f"changed since: {name}; choose another"):
        run.output()
    with pytest.raises(UsageError, match=f"changed since: {name}; choose another"):
        run.refuse_changed()
    if name in (SCORES, "fold_0/training_curves.png"):
        run.output([REPORT], [])


def test_a_training_that_goes_on_spares_predictions_that_were_corrected_by_hand(tmp_path):
    run = Run(tmp_path)
    finish(run, 0)
    folder = run.fold(0) / "predictions"
    with OutputFolder(folder):
        write_text(folder / "a.nii.gz", "ours")
    (folder / "notes.txt").write_text("mine")
    run.refuse_changed()
    (folder / "a.nii.gz").write_text("by hand")
    with pytest.raises(UsageError, match=r"changed since: a\.nii\.gz; choose another"):
        run.refuse_changed()
