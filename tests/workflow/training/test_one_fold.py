"""One fold under its lock; what it trains is tested with the run (test_train) and with workers (test_fold_workers)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vesal.parallel import no_progress
from vesal.planning.plan import Plan
from vesal.run.folder import Run
from vesal.run.lock import InUseError
from vesal.run_files import ALL
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training.one_fold import Work, fold_lock, train_split
from vesal.workflow.training.training_config import run_config
from vesal.workflow.training.training_session import Session


def test_a_fold_that_another_process_trains_is_left_out_with_a_message(
    tiny_data: Path, tiny_plan: Path, tmp_path: Path
) -> None:
    run, told = Run(tmp_path / "run"), list[str]()
    request = TrainRequest(data=tiny_data, out=run.folder, fold="all", steps=2, quiet=True)
    config = run_config(request, run, going_on=False, tell=told.append)
    session = Session(request, run, config, torch.device("cpu"), no_progress, told.append)
    work = Work([], Plan.load(tiny_plan), (), [], {}, [], {})
    with fold_lock(run, 1):
        assert train_split(session, work, (1, [], [])) is None
    (message,) = [text for text in told if "left out here" in text]
    assert message.startswith(f"Fold 1 of {run.folder} is in use by process")


def test_the_lock_of_a_training_on_all_cases_names_the_run(tmp_path: Path) -> None:
    with (
        fold_lock(Run(tmp_path), ALL),
        pytest.raises(InUseError, match=rf"^{tmp_path} is in use"),
        fold_lock(Run(tmp_path), ALL),
    ):
        pass
