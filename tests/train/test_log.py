"""Rows of a training: on disk, whole after a kill, and on a console."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from vesal.files import read_json_lines
from vesal.train.log import Console, JsonLines, memory_mb


def test_rows_are_written_at_once_and_numbers_that_are_not_finite_as_null(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines.row({"step": 1, "train_loss": math.nan, "val_dice_per_class": {"a": 0.5, "b": math.inf}})
    expected = {"step": 1, "train_loss": None, "val_dice_per_class": {"a": 0.5, "b": None}}
    assert read_json_lines(tmp_path / "metrics.jsonl") == [expected]
    lines.close()


def test_a_resumed_run_drops_the_rows_after_its_checkpoint_and_a_line_that_was_cut_off(
    tmp_path: Path,
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (10, 20, 30)) + '{"step": 4')
    lines = JsonLines(path, resume_step=20)
    lines.row({"step": 25})
    lines.close()
    assert [row["step"] for row in read_json_lines(path)] == [10, 20, 25]
    JsonLines(path).close()
    assert read_json_lines(path) == []
    assert read_json_lines(tmp_path / "absent.jsonl") == []


def test_without_a_terminal_a_line_tells_the_progress_now_and_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Console("fold 0", every_s=0.0) as console:
        console.row({"step": 7, "train_loss": 0.25, "val_dice": None})
        console.progress(0.5)
        console.say("[a] line")
    err = capsys.readouterr().err
    assert "fold 0 50 %  step 7  loss 0.250" in err
    assert "[a] line" in err
    with Console("fold 0", quiet=True, every_s=0.0) as console:
        console.progress(0.5)
    assert capsys.readouterr().err == ""


def test_memory_is_that_of_the_process_on_a_cpu() -> None:
    assert all(value > 1 for value in memory_mb(torch.device("cpu")).values())
