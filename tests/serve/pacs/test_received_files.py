"""What is received is whole and in its place, or not there at all; and never more than there is room for."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesal.serve.pacs.received_files import ReceivedFile, Space


@pytest.fixture
def space(tmp_path: Path) -> Space:
    (tmp_path / "there").write_bytes(bytes(100))
    return Space(tmp_path, 1000, 600)


def received(space: Space, size: int) -> ReceivedFile:
    found = ReceivedFile(space.folder, space)
    for _ in range(size // 50):
        found.write(bytes(50))
    return found


def test_what_lies_there_counts(space: Space) -> None:
    assert space.used == 100


def test_a_file_that_is_kept_is_in_its_place_and_counts(space: Space, tmp_path: Path) -> None:
    file = received(space, 500)
    file.keep(tmp_path / "a" / "b.dcm")
    file.close()
    assert (tmp_path / "a" / "b.dcm").stat().st_size == 500
    assert not Path(file.name).exists()
    assert space.used == 600


def test_a_file_that_comes_again_counts_once(space: Space, tmp_path: Path) -> None:
    for _ in range(5):
        file = received(space, 400)
        file.keep(tmp_path / "b.dcm")
        file.close()
    assert space.used == 500


def test_a_file_that_is_not_kept_leaves_nothing(space: Space, tmp_path: Path) -> None:
    file = received(space, 500)
    file.close()
    file.close()
    assert space.used == 100
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_too_large_an_object_is_not_written_to_its_end(space: Space) -> None:
    file = received(space, 5000)
    assert file.overflowed
    assert Path(file.name).stat().st_size <= 600
    file.close()
    assert space.used == 100


def test_all_files_at_once_stay_within_the_whole(space: Space) -> None:
    files = [received(space, 500) for _ in range(3)]
    assert [file.overflowed for file in files] == [False, True, True]
    assert space.used <= 1000


def test_a_full_disk_is_room_for_nothing(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(1 << 40, 1 << 40, 1 << 20))
    assert received(space, 50).overflowed


def test_a_piece_that_comes_after_the_end_is_no_error(space: Space) -> None:
    file = received(space, 50)
    file.close()
    assert file.write(b"late") == 4
    file.flush()
