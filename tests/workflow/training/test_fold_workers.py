"""A cross-validation by workers: the same models as one after the other, whatever is killed, and nothing twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from vesal.cli.app import app
from vesal.engine.in_process import InProcess
from vesal.engine.local_engine import LocalEngine
from vesal.errors import UsageError
from vesal.nn.model_file import load_package
from vesal.run.folder import Run
from vesal.run_files import METRICS, MODEL, PREDICTIONS, TRAIN_LOG
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training import train
from vesal.workflow.training.fold_workers import check_engine, threads_of
from vesal.workflow.training.train import train_run
from vesal.workflow.training.training_session import Interrupted

STEPS = 30
SETTINGS = {
    "steps": STEPS,
    "lr": 0.02,
    "folds": 2,
    "fold": "all",
    "validate_every": 0.5,
    "checkpoint_s": 0.001,
}


def request(data: Path, plan: Path, out: Path, **changes: Any) -> TrainRequest:
    made = TrainRequest(
        data=data, out=out, overrides=SETTINGS, plan_file=plan, device="cpu", deterministic=True, quiet=True
    )
    return replace(made, **changes)


def silent(_text: str) -> None:
    """Takes messages that no test looks at."""


def made(run: Path) -> dict[str, bytes]:
    """What the folds left that no clock is in."""
    files = [*run.glob(f"fold_*/{MODEL}"), *run.glob(f"fold_*/{PREDICTIONS}/*.nii.gz")]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def step_of(run: Path, fold: int) -> int:
    """The newest step in the log."""
    file = run / f"fold_{fold}" / METRICS
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return max((json.loads(line).get("step", 0) for line in lines), default=0)


@pytest.fixture(scope="module", autouse=True)
def no_results() -> Iterator[None]:
    """No scores, quality model and report, which take longer than all folds, and are made as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "finish_run", lambda _session, _models: (None, None))
        yield


@pytest.fixture(scope="module")
def alone(tiny_data: Path, tiny_plan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both folds, one after the other in this process."""
    out = tmp_path_factory.mktemp("alone") / "run"
    with threads_of(InProcess(1)):
        train_run(request(tiny_data, tiny_plan, out), tell=silent)
    return out


@pytest.fixture(scope="module")
def crossed(
    tiny_data: Path, tiny_plan: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """Both folds by two workers; and the messages."""
    out, told = tmp_path_factory.mktemp("crossed") / "run", []
    result = train_run(request(tiny_data, tiny_plan, out), tell=told.append, engine=LocalEngine(2))
    assert [model.parent.name for model in result.models] == ["fold_0", "fold_1"]
    assert result.failed == ()
    return out, told


def test_workers_train_what_one_process_trains(alone: Path, crossed: tuple[Path, list[str]]) -> None:
    run, told = crossed
    assert made(run) == made(alone)
    assert len(made(run)) == 2 + 7
    assert any(text.startswith("2 folds by 2 workers of this machine") for text in told)
    assert sum(text.startswith("fold ") and " is done (" in text for text in told) == 2
    for fold in (0, 1):
        assert f"fold {fold}: ended at step {STEPS}" in (run / f"fold_{fold}" / TRAIN_LOG).read_text()


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")
def test_after_a_signal_and_a_kill_the_models_are_the_same(
    alone: Path, tiny_data: Path, tiny_plan: Path, tmp_path: Path
) -> None:
    run, owner = tmp_path / "run", tmp_path / "run" / ".locks" / "fold_1.json"

    def stop() -> None:
        until(lambda: step_of(run, 0) >= 4)
        os.kill(os.getpid(), signal.SIGTERM)

    def kill() -> None:
        begun = step_of(run, 1)
        until(lambda: owner.exists() and step_of(run, 1) > begun)
        os.kill(json.loads(owner.read_text())["process"], signal.SIGKILL)

    wanted = request(tiny_data, tiny_plan, run)
    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Interrupted, match="--resume goes on"):
        train_run(wanted, tell=silent, engine=LocalEngine(1))
    assert 4 <= step_of(run, 0) < STEPS
    assert not Run(run).trained_folds()
    told: list[str] = []
    threading.Thread(target=kill, daemon=True).start()
    train_run(replace(wanted, resume=True), tell=told.append, engine=LocalEngine(1))
    assert any("fold 1 is done" in text and "begun 2 times" in text for text in told)
    for fold in (0, 1):
        found, theirs = (load_package(of / f"fold_{fold}" / MODEL).weights for of in (run, alone))
        assert all(torch.equal(found[name], theirs[name]) for name in theirs)


def test_an_engine_and_several_devices_are_refused(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose --engine or --devices"):
        check_engine(TrainRequest(data=tiny_data, out=tmp_path, devices=2))


def test_a_fold_that_fails_is_named_the_other_goes_on_and_resuming_trains_what_is_missing(
    crossed: tuple[Path, list[str]], alone: Path, tiny_data: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(crossed[0], tmp_path / "run"))
    shutil.rmtree(run / "fold_1")
    (run / "fold_1").write_text("somebody's notes")
    before = (run / "fold_0" / MODEL).stat().st_mtime_ns, step_of(run, 0)
    words = ["train", str(tiny_data), "-o", str(run), "--resume", "--device", "cpu", "--engine", "local"]
    done = CliRunner().invoke(app, [*words, "--workers", "2"])
    assert done.exit_code == 1, done.output
    assert "fold 1: " in done.output
    assert Run(run).trained_folds() == [0]
    (run / "fold_1").unlink()
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert step_of(run, 0) == before[1]
    assert {name: data for name, data in made(run).items() if PREDICTIONS in name} == {
        name: data for name, data in made(alone).items() if PREDICTIONS in name
    }
