"""The record of a cohort: a row for each scan, whatever is killed between."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from vesal.engine.outcome import Outcome
from vesal.errors import UsageError
from vesal.outputs import OutputFolder
from vesal.run_files import COHORT, COHORT_CSV, COHORT_PARQUET
from vesal.workflow.prediction.case_predictor import CaseResult
from vesal.workflow.prediction.cohort_record import CohortRecord, digest_of
from vesal.workflow.prediction.quality_files import QualityFiles

ESTIMATE = {
    "verdict": "review",
    "reason": "a strange scan",
    "predicted_dice": {"heart": {"value": 0.8}},
    "volumes_ml": {"heart": {"value": 10.0, "low": 9.5, "high": 11.0}},
}


def record(folder: Path, *cases: str, shard: int | None = None) -> CohortRecord:
    """Begun for these cases."""
    made = CohortRecord(folder, ["heart"], shard)
    with OutputFolder(folder) as output:
        made.begin(output, cases)
    return made


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / COHORT_CSV).open(newline="") as file:
        return list(csv.DictReader(file))


def done(note: str = "", **values: object) -> Outcome:
    return Outcome(0, CaseResult("digest", note, **values), seconds=1.5, peak_bytes=2_000_000, worker="a:1")  # type: ignore[arg-type]


def test_a_row_says_how_a_case_ended(tmp_path: Path) -> None:
    made = record(tmp_path, "a", "b", "c", "d")
    made.add("a", done(volumes_ml={"heart": 12.5}))
    made.add("b", done("cut off", quality=ESTIMATE))
    made.add("c", Outcome(2, reason="no voxels", detail="Traceback", tries=2))
    with OutputFolder(tmp_path):
        assert tmp_path / COHORT_CSV in made.save(["a", "b", "c", "d"])
    first, second, third, kept = rows(tmp_path)
    assert (first["status"], first["seconds"], first["peak_mb"], first["heart ml"]) == (
        "done",
        "1.5",
        "2",
        "12.5",
    )
    assert (second["status"], second["reason"]) == ("review", "cut off; a strange scan")
    assert second["heart expected dice"] == "0.8"
    assert (second["heart ml low"], second["heart ml high"]) == ("9.5", "11.0")
    assert first["heart ml low"] == ""
    assert (third["status"], third["reason"], third["tries"], third["detail"]) == (
        "failed", "no voxels", "2", "Traceback"
    )  # fmt: skip
    assert (kept["case"], kept["status"]) == ("d", "kept")


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path: Path) -> None:
    made = record(tmp_path, "a", "b")
    made.add("a", done(quality=ESTIMATE))
    with (tmp_path / COHORT).open("a") as file:
        file.write('{"case": "b", "sta')
    again = record(tmp_path, "a", "b")
    assert again.rows.keys() == {"a"}
    quality = QualityFiles(None, ["heart"])
    again.recall(quality)
    assert quality.rows == {"a": ESTIMATE}
    again.add("b", done())
    assert CohortRecord(tmp_path, ["heart"]).rows.keys() == {"a", "b"}


def test_the_lines_of_shards_are_taken_over(tmp_path: Path) -> None:
    for shard, case in ((1, "a"), (2, "b")):
        made = record(tmp_path, case, shard=shard)
        made.add(case, done())
        assert made.save([case]) == []
    whole = record(tmp_path, "a", "b", "c")
    assert whole.rows.keys() == {"a", "b"}
    quality = QualityFiles(None, ["heart"])
    # What another model's results were found to be, which shards do not touch.
    quality.rows |= {"a": ESTIMATE, "c": ESTIMATE}
    whole.recall(quality)
    assert quality.rows.keys() == {"c"}
    with OutputFolder(tmp_path):
        whole.save(["a", "b", "c"])
    assert [row["status"] for row in rows(tmp_path)] == ["done", "done", "kept"]
    assert not list(tmp_path.glob("cohort.shard*"))


def test_a_shard_goes_on_whose_lines_were_taken_over_while_it_was_at_work(tmp_path: Path) -> None:
    shard = record(tmp_path, "a", "b", shard=1)
    shard.add("a", done())
    whole = record(tmp_path, "a", "b")
    with OutputFolder(tmp_path):
        whole.save(["a", "b"])
    shard.add("b", done())
    assert record(tmp_path, "a", "b", shard=1).rows.keys() == {"a", "b"}


def test_of_several_rows_that_counts_which_is_about_the_result_that_is_there(tmp_path: Path) -> None:
    old, new = {"model": "m"}, {"model": "n"}
    whole = record(tmp_path, "a", "b", "c")
    for case in ("a", "b", "c"):
        whole.add(case, done(volumes_ml={"heart": 1.0}), made_of=digest_of(old))
    shard = record(tmp_path, "a", "b", shard=1)
    shard.add("a", done(volumes_ml={"heart": 2.0}), made_of=digest_of(new))
    shard.add("b", Outcome(0, reason="the network folder is away"), made_of=None)
    again = CohortRecord(tmp_path, ["heart"])
    # b is as it was before, and what c is made of nobody noted here.
    again.keep_true({"a": new, "b": old, "c": {"model": "o"}})
    with OutputFolder(tmp_path) as output:
        again.begin(output, ["a", "b", "c"])
        again.save(["a", "b", "c"])
    assert [(row["status"], row["heart ml"]) for row in rows(tmp_path)] == [
        ("done", "2.0"), ("done", "1.0"), ("kept", "")
    ]  # fmt: skip


def test_what_the_work_did_not_come_to_is_missing(tmp_path: Path) -> None:
    made = record(tmp_path, "a", "b", "c")
    made.add("b", done())
    made.wait_for(["a", "b"])
    made.add("a", done())
    with OutputFolder(tmp_path):
        made.save(["a", "b", "c"])
    assert [row["status"] for row in rows(tmp_path)] == ["done", "missing", "kept"]


def test_names_that_are_no_text_stand_in_every_table(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra cluster is not installed")
    made = record(tmp_path, "caf\udce9")
    made.add("caf\udce9", Outcome(0, reason="OSError: caf\udce9", detail="one\ntwo"))
    with OutputFolder(tmp_path):
        made.save(["caf\udce9"])
    assert rows(tmp_path)[0]["case"] == "caf\\udce9"
    (found,) = parquet.read_table(tmp_path / COHORT_PARQUET).to_pylist()
    assert (found["case"], found["detail"]) == ("caf\\udce9", "one\ntwo")


def test_a_file_of_that_name_that_is_not_ours_stays(tmp_path: Path) -> None:
    (tmp_path / COHORT).write_text('{"case": "mine"}\n')
    with pytest.raises(UsageError, match=r"cohort\.jsonl"):
        record(tmp_path, "a")
    assert (tmp_path / COHORT).read_text() == '{"case": "mine"}\n'
