"""Files that are whole or absent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vesal.errors import VesalError
from vesal.files import atomic_path, link_or_copy, read_json, sweep, write_json, write_text


def test_a_failed_write_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "plan.json"
    write_text(target, "old")

    def interrupted() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        interrupted()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_process_left_is_swept_at_once_and_what_is_being_written_stays(tmp_path: Path) -> None:
    below, foreign = tmp_path / "below", tmp_path / ".writing-0123abcd-1-x.json"
    below.mkdir()
    foreign.write_text("of another machine")
    code = """
import os, sys
from vesal.files import atomic_path
writing = [atomic_path(name) for name in sys.argv[1:]]
for one in writing:
    one.__enter__()
os._exit(1)
"""
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.nii.gz"), str(below / "b.json")], check=False
    )
    assert len(list(tmp_path.iterdir())) == 3
    with atomic_path(tmp_path / "plan.json"):
        sweep(tmp_path, below=False)
        assert len(list(tmp_path.iterdir())) == 3
        assert len(list(below.iterdir())) == 1
        sweep(tmp_path)
        assert not list(below.iterdir())
    assert foreign.exists()
    os.utime(foreign, (time.time() - 7200,) * 2)
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["below", "plan.json"]


def test_the_temporary_name_keeps_the_ending_that_writers_look_at(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "scan.nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_bytes(b"x")
    assert (tmp_path / "scan.nii.gz").read_bytes() == b"x"


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert os.stat(tmp_path / "a").st_mode == os.stat(tmp_path / "b").st_mode


def test_a_place_that_cannot_be_written_is_named_with_a_fix(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VesalError, match=r"Cannot write .*inside\.json.*choose another"):
        write_json(tmp_path / "file" / "inside.json", {})


def test_json_without_numbers_is_refused_and_damaged_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"dice": float("nan")})
    assert not (tmp_path / "x.json").exists()
    (tmp_path / "y.json").write_text("{")
    with pytest.raises(VesalError, match=r"y\.json is not valid JSON"):
        read_json(tmp_path / "y.json")


def test_a_file_is_at_a_second_place_also_where_links_are_not_to_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("x")
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert os.path.samefile(tmp_path / "a", tmp_path / "b")

    def refused(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refused)
    link_or_copy(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "c").read_text() == "x"
    assert not os.path.samefile(tmp_path / "a", tmp_path / "c")
