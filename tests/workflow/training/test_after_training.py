"""Nothing after a training takes it down, and no two processes train one fold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vesal.infer.predictor import load_model
from vesal.run.lock import InUseError, locked
from vesal.run_files import PROBLEMS
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training.train import TrainResult, train_run

AFTER = "vesal.workflow.training.after_training."


def trained(data: Path, out: Path, messages: list[str] | None = None, **options: Any) -> TrainResult:
    options = {"steps": 1, "settings": ("folds=2",)} | options
    request = TrainRequest(data=data, out=out, device="cpu", quiet=True, **options)
    return train_run(request, tell=(messages if messages is not None else []).append)


@pytest.mark.parametrize("step", ["predict_cases", "choose_postprocess", "score_run", "calibrate_run"])
def test_whatever_fails_after_the_training_the_model_stays_and_a_report_is_written(
    tiny_data: Path, tiny_plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise ZeroDivisionError("of this test")

    messages: list[str] = []
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(AFTER + step, fail)
        result = trained(tiny_data, run, messages, fold=0, plan_file=tiny_plan)
    assert any("ZeroDivisionError: of this test" in problem for problem in result.problems)
    assert set(result.problems) <= set(messages)
    assert "The training itself is whole" in result.text()
    assert load_model(run).labels.names == ("shell", "core")
    assert (run / "report.html").exists()
    assert (run / PROBLEMS).exists()
    again = trained(tiny_data, run, resume=True)
    assert again.problems == ()
    assert again.scores is not None
    assert not (run / PROBLEMS).exists()


def test_a_report_that_cannot_be_written_costs_neither_model_nor_scores(
    tiny_data: Path, tiny_plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AFTER + "write_run_report", fail)
    result = trained(tiny_data, tmp_path / "run", fold=0, plan_file=tiny_plan)
    assert result.report is None
    assert result.scores is not None
    assert "No space left on device" in result.text()


def test_a_fold_in_use_is_refused_before_reading_and_the_others_are_free(
    tiny_data: Path, tiny_plan: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    trained(tiny_data, run, fold=0, plan_file=tiny_plan)
    with locked(run, "fold_0", "Fold 0"):
        with pytest.raises(InUseError, match=r"Fold 0 of .*run is in use by process \d+ on "):
            trained(tiny_data, run, resume=True, fold=0)
        assert trained(tiny_data, run, resume=True, fold=1).scores is not None
        messages: list[str] = []
        result = trained(tiny_data, run, messages, resume=True, fold="all")
    assert [path.parent.name for path in result.models] == ["fold_1"]
    assert any("Fold 0" in text and "left out here" in text for text in messages)


def test_a_run_that_another_process_sets_up_is_not_begun(tiny_data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with locked(run, "set_up", "run"), pytest.raises(InUseError, match="is in use by process"):
        trained(tiny_data, run, fold=0)
