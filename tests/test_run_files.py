"""The names of the files in a run folder."""

from __future__ import annotations

from pathlib import Path

from vesal.run_files import (
    ALL,
    DESCRIPTIONS,
    FINETUNING,
    HISTORY_ARRAY,
    MISSING_CHANNELS,
    MODEL,
    MODELS,
    VOLUME_SCORES_CSV,
    fold_folder,
    fold_folders,
    fold_name,
)


def test_the_folder_of_a_fold_is_found_by_its_name(tmp_path: Path) -> None:
    for name in (0, 12, ALL):
        assert fold_name(fold_folder(tmp_path, name)) == str(name)
    assert fold_name(tmp_path / "prepared") is None


def test_folds_come_by_number_and_the_training_on_all_cases_last(tmp_path: Path) -> None:
    for name in (ALL, 10, 2, 0):
        fold_folder(tmp_path, name).mkdir()
    fold_folder(tmp_path, 5).write_text("a file is no fold")
    assert [fold_name(folder) for folder in fold_folders(tmp_path)] == ["0", "2", "10", ALL]


def test_the_pattern_of_models_finds_them_in_their_folds(tmp_path: Path) -> None:
    model = fold_folder(tmp_path, 1) / MODEL
    model.parent.mkdir()
    model.touch()
    assert list(tmp_path.glob(MODELS)) == [model]


def test_a_run_of_the_program_holds_what_is_described(trained_run: Path) -> None:
    missing = {pattern for pattern in DESCRIPTIONS if not list(trained_run.glob(pattern))}
    # They are written where the user asks for it, where the cases are slices of volumes, after a fine-tuning, and where
    # the model was trained for missing channels.
    assert missing == {
        f"fold_*/{HISTORY_ARRAY}",
        VOLUME_SCORES_CSV,
        f"fold_*/{FINETUNING}",
        MISSING_CHANNELS,
    }
