"""Verbs about data."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from vesal.cli.app import app
from vesal.errors import UsageError
from vesal.planning.plan import Plan


def vesal(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


def test_inspect_tells_numbers_and_the_identical_scans(tiny_data: Path, tmp_path: Path) -> None:
    done = vesal("inspect", tiny_data, "-o", tmp_path)
    assert done.exit_code == 0, done.stderr
    assert "tiny_05" in done.stdout
    assert "tiny_06" in done.stdout
    assert (tmp_path / "inspect.html").is_file()
    found = json.loads((tmp_path / "inspect.json").read_text())
    assert found


def test_the_workers_of_an_engine_inspect_the_same(tiny_data: Path) -> None:
    alone = vesal("inspect", tiny_data, "--json")
    engine = vesal("inspect", tiny_data, "--json", "--engine", "local", "--workers", "2")
    assert engine.exit_code == 0, engine.stderr
    assert engine.stdout == alone.stdout


def test_what_belongs_to_a_fixed_copy_is_refused_without_one(tiny_data: Path) -> None:
    for words in (("--fix",), ("--resume",)):
        assert isinstance(vesal("inspect", tiny_data, *words).exception, UsageError)


def test_plan_prints_its_reasons_and_writes_json(tiny_data: Path, tmp_path: Path) -> None:
    done = vesal("plan", tiny_data, "--budget", "5m", "--device", "cpu", "-o", tmp_path / "plan.json")
    assert done.exit_code == 0, done.stderr
    assert "Patch" in done.stdout
    assert Plan.load(tmp_path / "plan.json").reasons


def test_a_plan_takes_the_dimension_and_fields_of_the_recipe(tiny_data: Path) -> None:
    words = ("--dimension", "2", "--set", "plan.batch=2", "--device", "cpu", "--json")
    found = json.loads(vesal("plan", tiny_data, *words).stdout)
    assert (found["dimension"], found["batch"]) == (2, 2)


def test_phantoms_are_written_and_counted(tmp_path: Path) -> None:
    done = vesal("phantom", tmp_path / "hearts", "--cases", "1", "--json")
    assert json.loads(done.stdout) == {"folder": str(tmp_path / "hearts"), "cases": 1}
    assert len(list((tmp_path / "hearts" / "imagesTr").iterdir())) == 1


def test_data_sets_are_listed_where_none_is_named() -> None:
    assert "msd-heart" in vesal("fetch").stdout
    assert vesal("fetch", "msd-heart", "--list").stdout == vesal("fetch").stdout
