"""Files that are whole or absent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vesal.errors import VesalError
from vesal.files import (
    Place,
    atomic_path,
    file_checksum,
    is_temporary,
    link_or_copy,
    read_json,
    scratch_folder,
    staying,
    sweep,
    sweep_scratch,
    temporary_name,
    write_json,
    write_text,
)


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
    no_file = tmp_path / ".writing-of-somebody-else"
    no_file.mkdir()
    for old in (foreign, no_file):
        os.utime(old, (time.time() - 7200,) * 2)
    sweep(tmp_path)
    no_file.rmdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["below", "plan.json"]


def test_the_first_write_into_a_folder_clears_away_what_a_killed_process_left_there(tmp_path: Path) -> None:
    code = (
        "import os, sys, vesal.files; it = vesal.files.atomic_path(sys.argv[1]); it.__enter__(); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "scores.json")], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    write_text(tmp_path / "report.html", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.skipif(os.name == "nt", reason="a folder that is in use cannot be moved there")
def test_nothing_is_written_into_a_folder_that_is_another_by_now(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "results", tmp_path / "elsewhere"
    with staying(Place(folder)):
        for name in ("a", "below/b"):
            write_text(folder / name, "x")  # it begins to count when it is there
        folder.rename(elsewhere)
        with pytest.raises(VesalError, match=r"results was removed, replaced or unmounted.*bring it back"):
            write_text(folder / "c", "x")
        assert not folder.exists()
        folder.mkdir()
        with pytest.raises(VesalError, match="removed, replaced or unmounted"):
            write_text(folder / "below" / "c", "x")
        assert not list(folder.iterdir())
        write_text(tmp_path / "results.txt", "x")  # is not below it
        folder.rmdir()
        elsewhere.rename(folder)
        write_text(folder / "c", "x")
    (folder / "c").unlink()
    folder.rename(elsewhere)
    write_text(folder / "d", "x")


def test_threads_may_be_the_first_to_write_into_a_folder_that_stays(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / str(number)
        with staying(Place(folder)), ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name, folder=folder: write_text(folder / str(name), "x"), range(16)))
        assert len(list(folder.iterdir())) == 16


def test_a_checksum_is_that_of_zlib(tmp_path: Path) -> None:
    data = os.urandom((1 << 20) + 17)
    (tmp_path / "a").write_bytes(data)
    assert file_checksum(tmp_path / "a") == zlib.crc32(data)


def test_a_scratch_folder_is_gone_at_its_end_and_that_of_a_killed_process_when_the_next_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    code = "import os; from vesal.files import scratch_folder"
    code += "; it = scratch_folder(); (it.__enter__() / 'scan').touch(); os._exit(1)"
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(list(tmp_path.glob("*/scan"))) == 1
    with scratch_folder() as folder:
        (folder / "scan").touch()
        sweep_scratch()
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []


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
    for text in ("{", "[" * 100_000):
        (tmp_path / "y.json").write_text(text)
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


def test_a_name_for_a_while_is_nobody_elses_and_swept_like_what_is_written(tmp_path: Path) -> None:
    one, other = temporary_name(tmp_path), temporary_name(tmp_path)
    assert one != other
    assert is_temporary(one)
    write_text(one, "")
    sweep(tmp_path)
    assert one.exists()
    sweep(tmp_path, older_than_s=0.0)
    assert not one.exists()
