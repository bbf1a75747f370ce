"""A few cases are overfitted, or the command says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from vesal.cli.app import app

SMALL = ["--set", "plan.patch=[16,16,16]", "--set", "plan.batch=2", "--device", "cpu", "--json"]


def overfit(data: Path, out: Path, *words: object) -> tuple[int, dict]:
    result = CliRunner().invoke(app, ["overfit", str(data), "-o", str(out), *SMALL, *map(str, words)])
    return result.exit_code, json.loads(result.stdout)


def test_ellipsoids_are_overfitted(tiny_data: Path, tmp_path: Path) -> None:
    code, told = overfit(
        tiny_data, tmp_path / "out", "--cases", 2, "--steps", 600, "--set", "validate_every=0.1"
    )
    assert code == 0, told
    assert told["reached"]
    assert told["dice"] >= 0.95
    assert told["steps"] < 600
    assert len(told["cases"]) == 2
    assert told["advice"] == []


def test_a_learning_rate_of_next_to_nothing_is_named(tiny_data: Path, tmp_path: Path) -> None:
    code, told = overfit(tiny_data, tmp_path / "out", "--cases", 2, "--steps", 20, "--set", "lr=1e-9")
    assert code == 1
    assert not told["reached"]
    assert any("raise the learning rate" in sentence for sentence in told["advice"])
    assert any("20 steps only" in sentence for sentence in told["advice"])
