"""A few cases are overfitted, or the command says what is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from vesal.cli.app import app
from vesal.layouts.registry import load_dataset
from vesal.planning.planner import make_plan
from vesal.planning.settings import PlanSettings
from vesal.workflow.overfit import _advice, _choose

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


def test_slices_that_show_the_smallest_class_are_taken_wherever_they_lie(tmp_path: Path) -> None:
    """Of 60 slices two show the tumour, late, and most are empty."""
    generator = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for number in range(60):
        mask = np.zeros((16, 16), dtype=np.uint8)
        if number > 30:
            mask[4:12, 4:12] = 1
        if number in (41, 56):
            mask[6 : 8 + (number == 56), 6:8] = 2
        image = (60 * mask + generator.integers(0, 40, mask.shape)).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / "data" / "images" / f"p{number % 7}_{number:03}.png")
        Image.fromarray(mask).save(tmp_path / "data" / "masks" / f"p{number % 7}_{number:03}.png")
    dataset = load_dataset(tmp_path / "data")
    record, cases, _ = _choose(dataset, 2, lambda _title: None)
    assert [case.id for case in cases] == ["p0_056", "p6_041"]
    assert [case.id for case in record.cases] == ["p0_056", "p6_041"]
    three = _choose(dataset, 3, lambda _title: None)[1]
    assert {"p0_056", "p6_041"} < {case.id for case in three}


def test_of_a_class_that_no_case_holds_more_cases_are_not_advised(tiny_data: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    description = json.loads((data / "dataset.json").read_text())
    description["labels"]["99"] = "nowhere"
    (data / "dataset.json").write_text(json.dumps(description))
    dataset = load_dataset(data)
    record, _, held = _choose(dataset, 1, lambda _title: None)
    plan = make_plan(record, dataset.labels, PlanSettings(patch=(16, 16, 16), batch=2))
    assert held == {"shell", "core"}
    of_the_set, elsewhere = (
        _advice([{"step": 900, "train_loss": 0.1}], {}, record, plan, seen)
        for seen in (held, held | {"nowhere"})
    )
    assert any("No case that can be read holds 'nowhere'" in sentence for sentence in of_the_set)
    assert not any("--cases" in sentence for sentence in of_the_set)
    assert "No chosen case holds 'nowhere': name more with --cases." in elsewhere


def test_a_learning_rate_of_next_to_nothing_is_named(tiny_data: Path, tmp_path: Path) -> None:
    code, told = overfit(tiny_data, tmp_path / "out", "--cases", 2, "--steps", 20, "--set", "lr=1e-9")
    assert code == 1
    assert not told["reached"]
    assert any("raise the learning rate" in sentence for sentence in told["advice"])
    assert any("20 steps only" in sentence for sentence in told["advice"])
