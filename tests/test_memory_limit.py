"""The limit of memory: what it has no room for lies on the disk, with the same values, or is refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from vesal import memory_limit
from vesal.engine.memory import memory_of, peak
from vesal.errors import DataError, UsageError, VesalError
from vesal.memory_limit import (
    array,
    array_like,
    held_bytes,
    keep_within,
    limit,
    limited,
    mapped,
    parse_size,
    release,
    require,
    room,
    rows_at_once,
)
from vesal.parallel import available_memory

MB = 10**6


@pytest.mark.parametrize("text", ["", "much", "-4G", "0", "4X", "G", "nan"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="give it as 4G or 500M"):
        parse_size(text)


def test_without_a_limit_nothing_changes() -> None:
    assert limit() is None
    assert room() is None
    require(1 << 60, "All of it", "nothing")
    assert rows_at_once(1000, 1e30) == 1000
    assert array((2, 3), np.float32, zeros=True).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert array_like(np.ones((2, 3), order="F"), np.uint8).flags.f_contiguous


def test_a_limit_holds_within_its_block_and_for_all_who_ask_what_is_free(tmp_path: Path) -> None:
    most = held_bytes() + 400 * MB
    with limited(most, tmp_path):
        assert limit() == most
        left = room()
        assert left is not None
        assert available_memory() <= left + 50 * MB
        assert left < 450 * MB
        assert 1 <= rows_at_once(1000, 10 * MB) < 20
        with limited(None):
            assert limit() == most
    assert limit() is None


def test_a_limit_below_what_the_program_takes_is_refused_with_its_size() -> None:
    with pytest.raises(UsageError, match=r"--max-ram 20 MB is less than the program itself takes \("):
        keep_within(20 * MB)
    assert limit() is None


def test_what_the_limit_has_no_room_for_is_refused_with_estimate_and_fix(tmp_path: Path) -> None:
    most = held_bytes() + 400 * MB
    with limited(most, tmp_path):
        require(MB, "A little", "do without")
        with pytest.raises(
            DataError,
            match=r"^The picture takes about .* GB of memory where --max-ram allows .*; allow "
            r"more, or leave it out\.$",
        ):
            require(2000 * MB, "The picture", "leave it out")


def test_a_large_array_lies_on_the_disk_and_holds_what_is_written(tmp_path: Path) -> None:
    shape = (30, 20, 60_000)
    with limited(held_bytes() + 400 * MB, tmp_path / "new"):
        values = array(shape, np.float32, zeros=True, slow_axis=2)
        assert (tmp_path / "new").is_dir()
        # No name: a kill leaves nothing.
        assert not list((tmp_path / "new").iterdir())
        assert values.shape == shape
        assert max(range(3), key=lambda axis: values.strides[axis]) == 2
        before = held_bytes()
        values[...] = np.arange(20)[:, None]
        assert held_bytes() > before + 100 * MB
        release()
        assert held_bytes() < before + 20 * MB
        assert values[7, :, 50_000].tolist() == list(range(20))
        assert not values[:, 0].any()


def test_within_the_limit_an_array_is_in_memory(tmp_path: Path) -> None:
    with limited(held_bytes() + 400 * MB, tmp_path / "new"):
        assert array((1000,), np.float64, zeros=True).sum() == 0
        other = np.zeros((4, 5, 6))[:, ::-1].transpose(1, 2, 0)
        made = array_like(other, np.int16)
        assert made.shape == other.shape
        assert np.argsort(made.strides).tolist() == np.argsort(np.abs(other.strides)).tolist()
    assert not (tmp_path / "new").exists()


def test_a_file_that_is_looked_at_piece_by_piece_never_fills_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "voxels"
    np.arange(50_000_000, dtype=np.int32).tofile(path)
    most = held_bytes() + 150 * MB
    most = max(most, 300 * MB)
    with limited(most, tmp_path):
        values = mapped(path, np.dtype(np.int32), 50_000_000, 0)
        total = 0
        for first in range(0, len(values), 1_000_000):
            total += int(values[first : first + 1_000_000].sum(dtype=np.int64))
            memory_limit.breathe()
            assert held_bytes() < most
    assert total == 50_000_000 * 49_999_999 // 2
    with pytest.raises(ValueError, match="buffer"):
        mapped(path, np.dtype(np.int32), 50_000_001, 0)


def test_a_full_disk_is_named(
    all_on_disk: Callable[[], AbstractContextManager[None]], tmp_path: Path
) -> None:
    with (
        all_on_disk(),
        pytest.raises(VesalError, match=r"needs 1e\+03 TB|needs .* in .*disk.*free some space there"),
    ):
        array((1 << 50,), np.uint8)


def test_what_a_process_takes_is_what_the_system_says() -> None:
    import os

    assert abs(held_bytes() - memory_of(os.getpid())) < 50 * MB
    assert held_bytes() <= peak() + 5 * MB
