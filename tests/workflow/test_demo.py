"""The demo: where it may begin, and which scan it shows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from vesal.errors import UsageError
from vesal.workflow import demo
from vesal.workflow.demo import demo_run


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="add --resume to go on with the demo"):
        demo_run(tmp_path, "heart", 1.0, stage=lambda _: None, tell=lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_picture_is_of_the_case_with_the_median_dice() -> None:
    dice = {"a": 0.9, "b": 0.6, "c": 0.1, "d": None, "e": 0.7}
    scores = SimpleNamespace(mean_dice=lambda: dice)
    assert demo._median_case(scores) == ("e", 0.7)  # type: ignore[arg-type]
