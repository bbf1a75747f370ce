"""The record at an address: it grows by parts, and says which files are Vesal's."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from vesal.engine.outcome import Outcome
from vesal.errors import UsageError
from vesal.run_files import COHORT, COHORT_CSV, COHORT_PARTS
from vesal.workflow.prediction import stored_record
from vesal.workflow.prediction.case_predictor import CaseResult
from vesal.workflow.prediction.stored_files import StoredFile, StoredFolder
from vesal.workflow.prediction.stored_record import StoredRecord

MADE_OF = {"model": "abc", "scan": [["a.nii", 3, "x"]]}


@pytest.fixture
def out(tmp_path: Path) -> StoredFolder:
    return StoredFolder.of(f"file://{tmp_path}/out")


@pytest.fixture
def opened(out: StoredFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., StoredRecord]:
    """A record as the next process opens it; every case is a part of its own."""
    monkeypatch.setattr(stored_record, "_EVERY_S", 0.0)
    count = 0

    def make(shard: tuple[int, int] | None = None) -> StoredRecord:
        nonlocal count
        count += 1
        folder = tmp_path / f"copy {count}"
        folder.mkdir()
        return StoredRecord(out, folder, ["organ"], shard)

    return make


def put(out: StoredFolder, name: str, tmp_path: Path, data: bytes = b"mask") -> StoredFile:
    out.write(data, name, tmp_path)
    return out.files()[name]


def done(record: StoredRecord, case: str, file: StoredFile) -> None:
    result = CaseResult("digest", volumes_ml={"organ": 2.5})
    record.add(case, Outcome(0, result=result), MADE_OF, {f"{case}.nii": file})


def table(out: StoredFolder) -> dict[str, dict[str, str]]:
    return {row["case"]: row for row in csv.DictReader(io.StringIO(out.read(COHORT_CSV).decode()))}


def test_after_a_kill_what_the_parts_say_is_kept_and_what_was_planned_may_be_replaced(
    out: StoredFolder, opened: Callable[..., StoredRecord], tmp_path: Path
) -> None:
    first = opened()
    first.begin(["a", "b", "c"], ["a.nii", "b.nii", "c.nii"])
    done(first, "a", put(out, "a.nii", tmp_path))
    # Put up, and its process killed before a part said so.
    put(out, "b.nii", tmp_path)
    assert COHORT not in out.files()
    again = opened()
    assert [again.why_unfinished(case, MADE_OF, [f"{case}.nii"]) for case in "abc"] == [
        None, "not finished", "not there"
    ]  # fmt: skip
    again.begin(["a", "b", "c"], ["b.nii", "c.nii"])
    done(again, "b", put(out, "b.nii", tmp_path))
    again.add("c", Outcome(2, reason="it has no voxels."), MADE_OF, {})
    again.end(["a", "b", "c"])
    assert not any(name.startswith(COHORT_PARTS) for name in out.files())
    rows = table(out)
    assert [row["status"] for row in rows.values()] == ["done", "done", "failed"]
    assert float(rows["a"]["organ ml"]) == 2.5
    last = opened()
    assert [last.why_unfinished(case, MADE_OF, [f"{case}.nii"]) for case in "abc"] == [
        None,
        None,
        "not there",
    ]
    assert last.why_unfinished("a", {**MADE_OF, "model": "b"}, ["a.nii"]) == "another scan, model or option"


def test_what_somebody_else_put_there_or_changed_is_not_replaced(
    out: StoredFolder, opened: Callable[..., StoredRecord], tmp_path: Path
) -> None:
    put(out, "a.nii", tmp_path)
    with pytest.raises(UsageError, match=r"1 file that would be replaced .*: a\.nii"):
        opened().begin(["a"], ["a.nii"])
    out.remove("a.nii")
    record = opened()
    record.begin(["a"], ["a.nii"])
    done(record, "a", put(out, "a.nii", tmp_path))
    record.end(["a"])
    opened().begin(["a"], ["a.nii"])
    corrected = opened()
    corrected.begin(["a"], ["a.nii"])
    done(corrected, "a", put(out, "a.nii", tmp_path))
    corrected.end(["a"])
    put(out, "a.nii", tmp_path, b"corrected by hand")
    assert opened().why_unfinished("a", MADE_OF, ["a.nii"]) == "changed or damaged"
    with pytest.raises(UsageError, match=r": a\.nii"):
        opened().begin(["a"], ["a.nii"])
    put(out, COHORT_CSV, tmp_path, b"case,mine")
    with pytest.raises(UsageError, match=r": cohort\.csv"):
        opened().begin(["a"], [])


def test_what_is_made_anew_is_not_finished_until_it_is_there(
    out: StoredFolder, opened: Callable[..., StoredRecord], tmp_path: Path
) -> None:
    record = opened()
    record.begin(["a"], ["a.nii"])
    done(record, "a", put(out, "a.nii", tmp_path))
    record.end(["a"])
    opened().begin(["a"], ["a.nii"])
    # Killed while the result was made by another model.
    assert opened().why_unfinished("a", MADE_OF, ["a.nii"]) == "not finished"


def test_shards_are_put_together_by_who_predicts_all(
    out: StoredFolder, opened: Callable[..., StoredRecord], tmp_path: Path
) -> None:
    for number, case in ((1, "a"), (2, "b")):
        record = opened((number, 2))
        record.begin([case], [f"{case}.nii"])
        done(record, case, put(out, f"{case}.nii", tmp_path))
        record.end([case])
        assert COHORT_CSV not in out.files()
    whole = opened()
    assert [whole.why_unfinished(case, MADE_OF, [f"{case}.nii"]) for case in "ab"] == [None, None]
    whole.begin(["a", "b"], [])
    whole.end(["a", "b"])
    assert [row["status"] for row in table(out).values()] == ["done", "done"]


def test_a_record_of_the_users_stays(
    out: StoredFolder, opened: Callable[..., StoredRecord], tmp_path: Path
) -> None:
    put(out, COHORT, tmp_path, b'{"case": "mine"}\n')
    with pytest.raises(UsageError, match=r": cohort\.jsonl;"):
        opened().begin(["a"], ["a.nii"])
    assert out.read(COHORT) == b'{"case": "mine"}\n'


def test_the_order_of_the_parts_survives_a_clock_that_is_set_back(
    out: StoredFolder, opened: Callable[..., StoredRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minutes, data in ((60, b"mask"), (30, b"another mask")):
        monkeypatch.setattr(stored_record.time, "time_ns", lambda minutes=minutes: minutes * 60 * 10**9)
        record = opened()
        record.begin(["a"], ["a.nii"])
        done(record, "a", put(out, "a.nii", tmp_path, data))
    assert opened().why_unfinished("a", MADE_OF, ["a.nii"]) is None
    opened().begin(["a"], ["a.nii"])


def test_what_an_ended_work_did_not_come_to_is_missing(
    out: StoredFolder, opened: Callable[..., StoredRecord], tmp_path: Path
) -> None:
    record = opened()
    record.begin(["a", "b"], ["a.nii", "b.nii"], ["a", "b"])
    done(record, "a", put(out, "a.nii", tmp_path))
    record.end(["a", "b"])
    assert [row["status"] for row in table(out).values()] == ["done", "missing"]
