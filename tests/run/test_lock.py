"""Locks in a run folder: refused, waited for, and released by death."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vesal.errors import VesalError
from vesal.run.lock import InUseError, locked
from vesal.run_files import LOCKS

HOLD = """
import sys, time
from pathlib import Path
from vesal.run.lock import locked
with locked(Path(sys.argv[1]), "fold_0", "Fold 0"):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(run: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.skipif(os.name == "nt", reason="kills by signal")
def test_a_held_lock_names_host_and_process_and_dies_with_it(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        with (
            pytest.raises(
                InUseError, match=f"Fold 0 is in use by process {process.pid} on {socket.gethostname()}"
            ),
            locked(tmp_path, "fold_0", "Fold 0"),
        ):
            pass
        with locked(tmp_path, "fold_1", "Fold 1"):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with locked(tmp_path, "fold_0", "Fold 0"):
        pass


def test_a_lock_is_waited_for_where_that_is_wanted(tmp_path: Path) -> None:
    messages: list[str] = []
    order: list[str] = []

    def second() -> None:
        with locked(tmp_path, "results", "It", waiting=messages.append):
            order.append("second")

    with locked(tmp_path, "results", "It"):
        thread = threading.Thread(target=second)
        thread.start()
        deadline = time.monotonic() + 30
        while not messages and time.monotonic() < deadline:
            time.sleep(0.01)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]
    assert f"process {os.getpid()}" in messages[0]
    assert "waiting for it" in messages[0]


def test_an_error_in_the_block_releases_the_lock_and_comes_out_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="of the block"), locked(tmp_path, "fold_0", "Fold 0"):
        raise OSError("of the block")
    with locked(tmp_path, "fold_0", "Fold 0"):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = "choose another output folder"
    with pytest.raises(VesalError, match=words), locked(tmp_path / "file", "fold_0", "Fold 0"):
        pass


def test_where_the_file_system_has_no_locks_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("vesal.run.lock.FileLock.acquire", refuse)
    done = False
    with locked(tmp_path, "fold_0", "Fold 0"):
        done = True
    assert done


@pytest.mark.skipif(os.name == "nt", reason="flock is of Unix")
@pytest.mark.parametrize("left", ["", "4242\nnode17\n12345\n"])
def test_without_locks_a_file_that_a_killed_process_left_stops_nobody(
    left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> None:
        raise OSError(38, "Function not implemented")

    (tmp_path / LOCKS).mkdir()
    (tmp_path / LOCKS / "fold_0.lock").write_text(left)
    monkeypatch.setattr("fcntl.flock", refuse)
    done = False
    with locked(tmp_path, "fold_0", "Fold 0"):
        done = True
    assert done


def test_a_note_that_another_program_reads_and_windows_keeps_costs_neither_lock_nor_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where a file that somebody has open is neither replaced nor removed."""

    def in_use(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(13, "The process cannot access the file because it is being used by another")

    (tmp_path / LOCKS).mkdir()
    (tmp_path / LOCKS / "fold_0.json").write_text("{}")
    with monkeypatch.context() as windows:
        windows.setattr("vesal.files.os.replace", in_use)
        windows.setattr("pathlib.Path.unlink", in_use)
        # Whoever holds it, the note does not say.
        with (
            locked(tmp_path, "fold_0", "Fold 0"),
            pytest.raises(InUseError, match="Fold 0 is in use by another process; wait"),
            locked(tmp_path, "fold_0", "Fold 0"),
        ):
            pass
        with locked(tmp_path, "fold_0", "Fold 0"):
            pass
    with locked(tmp_path, "fold_0", "Fold 0"):
        assert str(os.getpid()) in (tmp_path / LOCKS / "fold_0.json").read_text()
