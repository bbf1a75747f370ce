"""What comes after a training is attempted: a failure is told and noted, and costs nothing else."""

from __future__ import annotations

from pathlib import Path

import torch

from vesal.errors import VesalError
from vesal.parallel import no_progress
from vesal.run.folder import Run
from vesal.run_files import PROBLEMS
from vesal.train.recipe import load_recipe
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training.training_session import Session


def test_a_failed_step_is_told_with_its_cause_and_its_traceback_is_noted(tmp_path: Path) -> None:
    messages: list[str] = []
    request = TrainRequest(data=tmp_path, out=tmp_path)
    config = load_recipe("auto", {"steps": 1})
    session = Session(request, Run(tmp_path), config, torch.device("cpu"), no_progress, messages.append)

    def known() -> int:
        raise VesalError("The disk is full; free some space.")

    def unknown() -> int:
        raise ZeroDivisionError("first line\nsecond line")

    assert session.attempt("Nothing", lambda: 7) == 7
    assert session.attempt("The scores could not be computed", known) is None
    assert session.attempt("The report could not be written", unknown) is None
    assert messages == session.problems
    assert messages[0] == "The scores could not be computed: The disk is full; free some space."
    assert messages[1].startswith("The report could not be written: ZeroDivisionError: first line (")
    assert "second line" not in messages[1]
    noted = (tmp_path / PROBLEMS).read_text()
    assert "Traceback" in noted
    assert "second line" in noted
