"""quality.json and quality.csv of a folder of predictions."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from vesal.files import read_json, write_json
from vesal.workflow.prediction.quality_files import QualityFiles

ROW: dict[str, Any] = {
    "verdict": "review",
    "reason": "its intensities",
    "uncertainty": 2.5,
    "threshold": 1.0,
    "ood_score": 2.0,
    "predicted_dice": {"atrium": {"value": 0.5, "low": 0.25, "high": 0.75}},
    "volumes_ml": {"atrium": {"value": 50.0, "low": 45.5, "high": 56.0}},
}


def test_both_files_hold_every_case(tmp_path: Path) -> None:
    files = QualityFiles(tmp_path, ["atrium"])
    files.rows["a"] = ROW
    files.rows["b"] = ROW | {"verdict": "ok", "reason": ""}
    files.save(last=True)
    assert read_json(tmp_path / "quality.json") == {"version": 1, "cases": files.rows}
    with (tmp_path / "quality.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["verdict"]) for row in rows] == [("a", "review"), ("b", "ok")]
    assert [float(rows[0][f"atrium {what}"]) for what in ("dice", "low", "high")] == [0.5, 0.25, 0.75]
    assert [float(rows[0][f"atrium ml{what}"]) for what in ("", " low", " high")] == [50.0, 45.5, 56.0]
    text = files.text(["a", "b"])
    assert "review 1 of 2 (a); expected Dice 0.50" in text
    assert files.text(["b"]) == "Quality: all 1 ok; expected Dice 0.50"


def test_a_case_that_is_flagged_says_why_with_or_without_an_estimate(tmp_path: Path) -> None:
    files = QualityFiles(tmp_path, ["atrium"])
    files.rows["a"] = ROW | {"verdict": "ok", "reason": "nothing unusual"}
    files.rows["b"] = ROW
    for case in "abc":
        files.flag(case, "one value throughout")
    assert {row["verdict"] for row in files.rows.values()} == {"review"}
    reasons = [files.rows[case]["reason"] for case in "abc"]
    assert reasons == [
        "one value throughout",
        "one value throughout; its intensities",
        "one value throughout",
    ]
    files.save(last=True)
    assert read_json(tmp_path / "quality.json")["cases"]["c"]["predicted_dice"] == {}


def test_a_named_file_gets_no_quality_files(tmp_path: Path) -> None:
    files = QualityFiles(None, ["atrium"])
    files.rows["a"] = ROW
    files.save(last=True)
    assert files.text(["a"]).endswith("why: its intensities")
    assert not files.files


def test_rows_of_an_earlier_run_are_kept_and_damaged_ones_dropped(tmp_path: Path) -> None:
    write_json(tmp_path / "quality.json", {"version": 1, "cases": {"a": ROW, "b": {"verdict": "ok"}}})
    assert list(QualityFiles(tmp_path, ["atrium"]).rows) == ["a"]
    (tmp_path / "quality.json").write_text("[]")
    assert not QualityFiles(tmp_path, ["atrium"]).rows


def test_files_are_written_in_the_end_and_not_after_every_scan(tmp_path: Path) -> None:
    files = QualityFiles(tmp_path, ["atrium"])
    files.rows["a"] = ROW
    files.save(last=False)
    assert not (tmp_path / "quality.json").exists()
    files.save(last=True)
    assert (tmp_path / "quality.csv").exists()


def test_what_was_estimated_of_results_that_are_replaced_is_gone_at_once(tmp_path: Path) -> None:
    files = QualityFiles(tmp_path, ["atrium"])
    files.rows |= {"a": ROW, "b": ROW}
    files.flag("c", "one value throughout")
    files.save(last=True)
    files.drop_estimates(["a", "c", "unknown"])
    assert set(read_json(tmp_path / "quality.json")["cases"]) == {"b", "c"}
    assert (files.is_estimated("b"), files.is_estimated("c")) == (True, False)
    files.drop_estimates(["a", "c"])
    assert set(files.rows) == {"b", "c"}
