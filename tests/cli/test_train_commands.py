"""Verbs that train, without the training."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import vesal.workflow.overfit
import vesal.workflow.training.train
from vesal.cli.app import app
from vesal.engine.local_engine import LocalEngine
from vesal.errors import UsageError
from vesal.train.recipe import recipe_names


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The requests that reach training and overfitting; the latter does not reach its target."""
    requests: list[Any] = []

    def run(request: Any, *_: Any, engine: Any = None) -> SimpleNamespace:
        requests.append(request if engine is None else (request, engine))
        failed = [] if engine is None else [SimpleNamespace(id="fold 1", message="it has no memory.")]
        return SimpleNamespace(
            to_dict=lambda: {"done": True}, text=lambda: "Done.", reached=False, failed=failed, problems=()
        )

    monkeypatch.setattr(vesal.workflow.training.train, "train_run", run)
    monkeypatch.setattr(vesal.workflow.overfit, "overfit_run", run)
    return requests


def test_options_reach_the_training(asked: list[Any]) -> None:
    words = [
        "train",
        "DATA",
        "-o",
        "OUT",
        "--fold",
        "2",
        "--steps",
        "5",
        "--set",
        "lr=0.1",
        "--set",
        "folds=3",
        "--tta",
    ]
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.stdout) == (0, "Done.\n")
    (request,) = asked
    assert (request.data, request.out) == (Path("DATA"), Path("OUT"))
    assert (request.fold, request.steps, request.mirror, request.quiet) == (2, 5, True, False)
    assert list(request.settings) == ["lr=0.1", "folds=3"]


def test_an_engine_reaches_the_training_and_a_fold_that_failed_is_named(asked: list[Any]) -> None:
    words = [
        "train",
        "DATA",
        "-o",
        "OUT",
        "--fold",
        "all",
        "--engine",
        "local",
        "--workers",
        "3",
        "--threads",
        "2",
    ]
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.stdout) == (1, "Done.\n")
    assert "vesal: fold 1: it has no memory." in done.stderr
    assert asked[0][1] == LocalEngine(3, 2)


def test_json_is_printed_alone_and_without_a_live_display(asked: list[Any]) -> None:
    done = CliRunner().invoke(app, ["train", "DATA", "-o", "OUT", "--json"])
    assert json.loads(done.stdout) == {"done": True}
    assert asked[0].quiet


def test_cases_that_cannot_be_overfitted_end_with_1(asked: list[Any]) -> None:
    done = CliRunner().invoke(app, ["overfit", "DATA", "--cases", "2"])
    assert (done.exit_code, done.stdout) == (1, "Done.\n")
    assert asked[0].cases == 2


def test_two_lengths_are_refused_before_any_work(asked: list[Any]) -> None:
    done = CliRunner().invoke(app, ["overfit", "DATA", "--budget", "1m", "--steps", "5"])
    assert isinstance(done.exception, UsageError)
    assert not asked


def test_list_names_what_can_be_listed_and_lists_it_as_text_and_as_json() -> None:
    assert "networks, losses, schedules" in CliRunner().invoke(app, ["list"]).stdout
    shown = CliRunner().invoke(app, ["list", "recipes"]).stdout.splitlines()
    assert [line.split()[0] for line in shown] == recipe_names()
    found = json.loads(CliRunner().invoke(app, ["list", "losses", "--json"]).stdout)
    assert {"name": "dice", "about": "soft Dice of the classes"} in found["losses"]
    assert isinstance(CliRunner().invoke(app, ["list", "nets"]).exception, UsageError)
