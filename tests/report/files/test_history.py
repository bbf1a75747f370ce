"""Histories: what was logged, as a table."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from vesal.report.files.history import history_csv, write_history
from vesal.run.contents import run_contents

ROWS = [
    {
        "step": 10,
        "time_s": 1.5,
        "progress": 0.5,
        "epoch": 0.5,
        "train_loss": 0.9,
        "train_dice_per_class": {"a, b": 0.25},
        "lr": 0.01,
        "memory_mb": 300.0,
    },
    {
        "step": 20,
        "time_s": 3.0,
        "progress": 1.0,
        "epoch": 1.0,
        "train_loss": 0.7,
        "lr": 0.001,
        "memory_mb": 310.0,
    },
    {
        "step": 20,
        "time_s": 3.5,
        "epoch": 1.0,
        "val_dice": 0.8,
        "val_loss": 0.6,
        "val_dice_per_class": {"a, b": 0.7, "c": None},
        "val_cases": 2,
    },
]


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_training_and_validation_of_one_step_are_one_line():
    lines = table(history_csv(ROWS, ("a, b", "c")))
    assert [line["step"] for line in lines] == ["10", "20"]
    assert list(lines[0])[:11] == [
        "step", "epoch", "time_s", "train_loss", "val_loss", "train_dice", "val_dice", "train_dice_a, b",
        "train_dice_c", "val_dice_a, b", "val_dice_c",
    ]  # fmt: skip
    assert lines[0]["val_dice"] == ""
    assert (lines[1]["train_loss"], lines[1]["val_loss"], lines[1]["val_dice_a, b"]) == ("0.7", "0.6", "0.7")
    assert lines[1]["val_dice_c"] == ""
    assert lines[1]["val_cases"] == "2"


def test_old_and_damaged_rows_give_a_table_too():
    rows = [
        {"step": 1, "train_loss": float("nan"), "lr": "x"},
        {"train_loss": 0.1},
        {"step": 0, "val_dice": 0.5},
    ]
    lines = table(history_csv(rows))
    assert [(line["step"], line["train_loss"], line["val_dice"], line["lr"]) for line in lines] == [
        ("0", "", "0.5", ""),
        ("1", "", "", ""),
    ]


def test_each_fold_gets_its_own_file(tmp_path: Path):
    for fold in ("fold_0", "fold_1", "fold_2"):
        (tmp_path / fold).mkdir()
    for fold in ("fold_0", "fold_1"):
        (tmp_path / fold / "metrics.jsonl").write_text("\n".join(map(json.dumps, ROWS)) + '\n{"step": 3')
    write_history(run_contents(tmp_path))
    written = sorted(tmp_path.glob("*/history.csv"))
    assert written == [tmp_path / "fold_0" / "history.csv", tmp_path / "fold_1" / "history.csv"]
    assert table(written[0].read_text())[1]["val_dice_a, b"] == "0.7"


def test_the_history_as_an_array_has_the_tables_columns_and_is_written_when_asked_for(tmp_path: Path):
    (tmp_path / "fold_0").mkdir()
    rows = [*ROWS, {"step": 30, "val_dice_per_class": {"心房": 0.5}}]
    (tmp_path / "fold_0" / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    write_history(run_contents(tmp_path))
    assert not (tmp_path / "fold_0" / "history.npy").exists()
    write_history(run_contents(tmp_path), arrays=True)
    array = np.load(tmp_path / "fold_0" / "history.npy", allow_pickle=False)
    lines = table((tmp_path / "fold_0" / "history.csv").read_text(encoding="utf-8"))
    assert list(array.dtype.names) == list(lines[0])
    assert array["step"].tolist() == [10, 20, 30]
    assert array["train_loss"][:2].tolist() == [0.9, 0.7]
    assert np.isnan(array["train_loss"][2])
    assert array["train_dice_a, b"][0] == 0.25
    assert array["val_dice_心房"][2] == 0.5
