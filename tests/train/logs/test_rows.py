"""Rows of a training on disk, whole after a kill."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch

from vesal.errors import VesalError
from vesal.files import read_json_lines
from vesal.train.logs.rows import JsonLines, TextLog, memory_mb


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


def test_the_text_log_has_a_dated_line_a_row_and_message_and_goes_on_when_the_run_does(
    tmp_path: Path,
) -> None:
    path = tmp_path / "train.log"
    for step in (0, 20):
        log = TextLog(path, resume_step=step)
        log.say(f"goes on at {step}\nin two lines")
        log.row({"step": step + 1, "train_loss": 0.5, "val_dice": None, "val_dice_per_class": {"a": None}})
        log.close()
    lines = path.read_text(encoding="utf-8").splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", line) for line in lines)
    assert [line[21:] for line in lines] == [
        "goes on at 0 in two lines",
        "step 1  train_loss 0.5000  val_dice_per_class: a –",
        "goes on at 20 in two lines",
        "step 21  train_loss 0.5000  val_dice_per_class: a –",
    ]
    TextLog(path).close()
    assert path.read_text(encoding="utf-8") == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_disk_that_is_full_is_a_sentence_and_closing_says_it_no_second_time(tmp_path: Path) -> None:
    (tmp_path / "train.log").symlink_to("/dev/full")
    log = TextLog(tmp_path / "train.log")
    with pytest.raises(VesalError, match=r"Cannot write .*train\.log: No space left .*; free some space"):
        log.say("begins")
    log.close()


def test_memory_is_that_of_the_process_on_a_cpu() -> None:
    assert all(value > 1 for value in memory_mb(torch.device("cpu")).values())
