"""A run in short: the numbers, the commands, and names that are no markup."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vesal.files import write_json
from vesal.report.files.summary import write_summary
from vesal.report.pages.run_page import write_run_report
from vesal.run.contents import run_contents

sys.path.insert(0, str(Path(__file__).parents[1]))
from example_run import EVIL, LABELS, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    run = make_run(tmp_path_factory.mktemp("module"))
    write_run_report(run)
    return run


def test_the_summary_holds_recipe_network_data_training_scores_and_commands(run):
    summary = json.loads((run / "summary.json").read_text())
    assert summary["recipe"] == "auto"
    assert summary["network"]["dimension"] == 3
    assert summary["network"]["features"] == [8, 16]
    assert summary["dataset"] | {"folder": ""} == {
        "name": f"Left atrium {EVIL}",
        "folder": "",
        "layout": "msd",
        "cases": 4,
        "patients": 4,
        "channels": ["MRI"],
        "classes": list(LABELS.classes),
        "findings": 1,
    }
    (fold,) = summary["training"]["folds"]
    assert (fold["steps"], fold["time_s"], fold["memory_mb"]) == (40, 90.0, 800.0)
    assert (fold["best_step"], fold["best_val_dice"], fold["held_out"]) == (40, 0.8, 4)
    dice = next(
        row
        for row in json.loads((run / "scores.json").read_text())["summary"]
        if row["class"] == "atrium" and row["metric"] == "dice"
    )
    assert summary["scores"]["classes"]["atrium"]["dice"] == {
        "mean": dice["mean"], "low": dice["low"], "high": dice["high"], "cases": dice["count"],
    }  # fmt: skip
    assert summary["commands"]["resume"].endswith("--resume")
    assert {"fold_0/history.csv", "fold_0/training_curves.png", "report.html", "summary.md"} <= set(
        summary["files"]
    )
    assert all((run / name).exists() for name in summary["files"])


def test_the_summary_reads_as_markdown_that_shows_no_name_as_markup(run):
    text = (run / "summary.md").read_text()
    assert "Recipe: auto" in text
    assert "| 0    |    40 |    3.9 | 1 min 30 s |" in text
    assert f"vesal predict {run}" in text
    assert "<script>" not in text


def test_the_step_that_the_training_chose_and_the_parameters_of_its_model_are_in_the_summary(tmp_path):
    from safetensors.numpy import save

    run = make_run(tmp_path, cases=1)
    shutil.rmtree(tmp_path / "data")
    write_json(run / "fold_0" / "finished.json", {"step": 40, "best_step": 20})
    metrics = run / "fold_0" / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '\n{"step": 20, "val_dice": 0.6, "val_loss": 0.1}\n')
    weights = {
        "stem.weight": np.zeros((8, 1, 3, 3, 3), np.float32),
        "norm.bias": np.zeros(8, np.float32),
        "norm.running_mean": np.zeros(8, np.float32),
        "norm.num_batches_tracked": np.zeros(1, np.int64),
    }
    with zipfile.ZipFile(run / "fold_0" / "model.vesal", "w") as archive:
        archive.writestr("weights.safetensors", save(weights))
    write_summary(run_contents(run))
    summary = json.loads((run / "summary.json").read_text())
    assert summary["network"]["parameters"] == 8 * 27 + 8
    (fold,) = summary["training"]["folds"]
    # Chosen by its loss: at step 40 the Dice was higher.
    assert (fold["best_step"], fold["best_val_dice"]) == (20, 0.6)
    assert "224 parameters" in (run / "summary.md").read_text()
    (run / "fold_0" / "model.vesal").write_bytes(b"PK no model")
    write_summary(run_contents(run))
    assert json.loads((run / "summary.json").read_text())["network"]["parameters"] is None
