"""A few cases are overfitted, or the command says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from vesal.cli.app import app
from vesal.layouts.registry import load_dataset
from vesal.workflow.overfit import _choose

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
    record, cases = _choose(dataset, 2, lambda _title: None)
    assert [case.id for case in cases] == ["p0_056", "p6_041"]
    assert [case.id for case in record.cases] == ["p0_056", "p6_041"]
    three = _choose(dataset, 3, lambda _title: None)[1]
    assert {"p0_056", "p6_041"} < {case.id for case in three}


def test_a_learning_rate_of_next_to_nothing_is_named(tiny_data: Path, tmp_path: Path) -> None:
    code, told = overfit(tiny_data, tmp_path / "out", "--cases", 2, "--steps", 20, "--set", "lr=1e-9")
    assert code == 1
    assert not told["reached"]
    assert any("raise the learning rate" in sentence for sentence in told["advice"])
    assert any("20 steps only" in sentence for sentence in told["advice"])
