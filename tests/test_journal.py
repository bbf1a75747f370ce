"""The journal of work on many cases: what it keeps, what it drops, what it refuses."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from vesal.errors import UsageError, VesalError
from vesal.files import write_text
from vesal.journal import Journal, JournalEntry, file_stamps


class Counted(JournalEntry):
    voxels: int = 0


def begin(out: Path, *, resume: bool = False, seed: int = 0, **more: Any) -> Journal[Counted]:
    head = {"seed": seed, "cases": ("a", "b")}
    return Journal.open(out / "count.jsonl", Counted, head, resume=resume, work="count", **more)


def finished(journal: Journal[Counted], case: str, made_of: Any = None) -> Counted:
    file = journal.folder / f"{case}.txt"
    with journal.output:
        write_text(file, case)
    entry = Counted(id=case, made_of=made_of, files=(file.name,), voxels=7)
    journal.add(entry)
    return entry


def test_a_resumed_journal_holds_what_was_finished(tmp_path: Path) -> None:
    entry = finished(begin(tmp_path / "out"), "a", made_of=[1, "x"])
    journal = begin(tmp_path / "out", resume=True)
    assert journal.entries == {"a": entry}
    assert journal.has("a", [1, "x"])
    assert not journal.has("a", [2, "x"])
    assert not journal.has("b", None)


def test_resuming_where_nothing_is_begins(tmp_path: Path) -> None:
    assert begin(tmp_path, resume=True).entries == {}
    assert json.loads((tmp_path / "count.jsonl").read_text()) == {"seed": 0, "cases": ["a", "b"]}


def test_a_line_that_was_cut_is_left_out_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    finished(begin(tmp_path), "a")
    with (tmp_path / "count.jsonl").open("a") as stream:
        stream.write('{"id": "b", "vox')
    journal = begin(tmp_path, resume=True)
    assert set(journal.entries) == {"a"}
    finished(journal, "b")
    assert set(begin(tmp_path, resume=True).entries) == {"a", "b"}


def test_a_case_whose_files_are_cut_or_gone_is_not_finished(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    entries = [finished(journal, case) for case in "abc"]
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "b.txt").unlink()
    assert [journal.whole(entry) for entry in entries] == [False, False, True]
    resumed = begin(tmp_path, resume=True)
    assert (set(resumed.entries), set(resumed.known)) == ({"c"}, {"a", "b", "c"})


@pytest.mark.parametrize("content", [b"by hand", b""])
def test_a_file_that_was_changed_is_neither_replaced_nor_deleted_unless_it_is_empty(
    tmp_path: Path, content: bytes
) -> None:
    finished(begin(tmp_path), "a")
    finished(begin(tmp_path, resume=True), "b")
    (tmp_path / "a.txt").write_bytes(content)
    journal = begin(tmp_path, resume=True)
    if content:
        with pytest.raises(UsageError, match=r"changed since: a\.txt;"):
            journal.refuse(["a", "b"], [], lambda path: path.stat().st_size > 0)
        with pytest.raises(UsageError, match=r"changed since: a\.txt;"):
            journal.drop("a")
        assert (tmp_path / "a.txt").read_bytes() == content
    else:
        journal.refuse(["a", "b"], [], lambda path: path.stat().st_size > 0)
        journal.drop("a")
        assert not (tmp_path / "a.txt").exists()


def test_a_file_beside_the_work_is_refused_by_its_name(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    (tmp_path / "b.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"Vesal did not write.*: b\.txt;"):
        journal.refuse(["b"], [tmp_path / "b.txt"], lambda _: True)


def test_what_a_system_leaves_in_a_folder_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_text("of the Finder")
    assert begin(tmp_path).entries == {}


def test_work_that_may_lie_beside_others_begins_there(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    begin(tmp_path, alone=False)
    assert begin(tmp_path, alone=False, resume=True).entries == {}


def test_the_last_line_of_a_case_counts(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    finished(journal, "a", made_of=1)
    journal.drop("a")
    assert not (tmp_path / "a.txt").exists()
    journal.drop("a")
    finished(journal, "a", made_of=2)
    assert begin(tmp_path, resume=True).has("a", 2)


def test_what_is_drawn_is_drawn_once(tmp_path: Path) -> None:
    assert begin(tmp_path, draw=lambda: {"held_out": ["p1"]}).head["held_out"] == ["p1"]

    def never() -> dict[str, Any]:
        raise AssertionError

    assert begin(tmp_path, resume=True, draw=never).head["held_out"] == ["p1"]


def test_other_settings_foreign_folders_and_forgotten_options_are_refused(tmp_path: Path) -> None:
    begin(tmp_path / "out")
    with pytest.raises(UsageError, match=r"count in .*out was begun with another seed \(0, now 1\)"):
        begin(tmp_path / "out", resume=True, seed=1)
    with pytest.raises(UsageError, match="holds a count; add --resume"):
        begin(tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(UsageError, match="not empty and holds no count"):
            begin(tmp_path / "full", resume=resume)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file is a file"):
        begin(tmp_path / "file")


@pytest.mark.parametrize("content", ["", "not JSON\n", "[1]\n"])
def test_a_file_that_is_no_journal_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "count.jsonl").write_text(content)
    with pytest.raises(UsageError, match="no record of a count"):
        begin(tmp_path, resume=True)


def test_what_killed_processes_left_half_written_is_swept(tmp_path: Path) -> None:
    begin(tmp_path)
    half = tmp_path / ".writing-abc.nii.gz"
    half.write_bytes(b"half")
    begin(tmp_path, resume=True)
    assert half.exists()  # another process may be writing it
    os.utime(half, (0, 0))
    begin(tmp_path, resume=True)
    assert [file.name for file in tmp_path.iterdir()] == ["count.jsonl"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    journal = begin(tmp_path / "out")
    (tmp_path / "out" / "count.jsonl").unlink()
    (tmp_path / "out").rmdir()
    with pytest.raises(VesalError, match="add --resume"):
        journal.add(Counted(id="a"))


def test_stamps_differ_where_a_file_changes_and_are_empty_where_it_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "scan"
    file.write_bytes(b"one")
    before = file_stamps([file, tmp_path / "none"])
    file.write_bytes(b"other")
    assert before[1] == []
    assert before[0] != file_stamps([file])[0]


def test_stamps_differ_where_two_files_of_one_size_and_time_exchange_their_names(tmp_path: Path) -> None:
    """As the labels of a ZIP archive, which has one time for all, where somebody puts them right."""
    files = [tmp_path / "a.nii", tmp_path / "b.nii"]
    for file in files:
        file.write_bytes(file.name.encode())
        os.utime(file, (1_700_000_000, 1_700_000_000))
    before = file_stamps(files)
    time.sleep(0.02)
    files[0].rename(tmp_path / "x")
    files[1].rename(files[0])
    (tmp_path / "x").rename(files[1])
    after = file_stamps(files)
    assert [one[:2] for one in after] == [one[:2] for one in before]
    assert all(one != other for one, other in zip(after, before, strict=True))
