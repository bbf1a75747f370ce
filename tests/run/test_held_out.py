"""What a run held out: of finished folds alone, and a run without any says where it stands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vesal.errors import UsageError, VesalError
from vesal.run.folder import Run
from vesal.run.held_out import held_out_cases
from vesal.run_files import FINISHED


def test_held_out_cases_are_those_of_finished_folds(trained_run: Path) -> None:
    run = Run(trained_run)
    folds = run.folds()
    assert folds is not None
    found = held_out_cases(run)
    assert [one.case.id for one in found] == list(folds.validation(0))
    assert all(one.fold == 0 and one.unprocessed.exists() for one in found)
    found[0].prediction.unlink()
    with pytest.raises(VesalError, match=f"No prediction of {found[0].case.id}"):
        held_out_cases(run)
    (run.fold(0) / FINISHED).unlink()
    with pytest.raises(VesalError, match=r"did not come to its end \(fold 0 is at step 120\)"):
        held_out_cases(run)


def test_a_run_on_all_cases_held_nothing_out_and_another_folder_is_no_run(
    trained_run: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run")
    run.fold("all").mkdir(parents=True)
    with pytest.raises(UsageError, match="is not a run folder"):
        held_out_cases(run)
    run.dataset_file.write_text(json.dumps(Run(trained_run).dataset().to_dict()))
    with pytest.raises(VesalError, match="has not finished a training step yet"):
        held_out_cases(run)
    (run.fold("all") / FINISHED).write_text("{}")
    with pytest.raises(VesalError, match="nothing was held out"):
        held_out_cases(run)
