"""Items are shared among processes; whatever ends the work ends them, and a bad item or a killed process is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vesal import processes
from vesal.cpus import cpu_count
from vesal.errors import DataError, VesalError
from vesal.files import atomic_path
from vesal.processes import can_fork, map_in_processes, map_on_cores

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


def gone(number: int) -> bool:
    """Whether a process has ended within twenty seconds."""
    for _ in range(2000):
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_every_item_is_done_once_by_more_than_one_process_and_every_tick_arrives():
    def work(item: int, tick: Callable[[], None]) -> tuple[int, int, int]:
        for _ in range(item):
            tick()
        time.sleep(0.02)
        return item * item, os.getpid(), cpu_count()

    ticks = []
    found = dict(map_in_processes(work, range(8), 2, tick=lambda: ticks.append(1)))
    assert {number: result[0] for number, result in found.items()} == {n: n * n for n in range(8)}
    numbers = {result[1] for result in found.values()}
    assert len(numbers) == 2
    assert os.getpid() not in numbers
    assert {result[2] for result in found.values()} == {1}  # a process takes one CPU for itself
    assert len(ticks) == sum(range(8))
    assert all(gone(number) for number in numbers)


def test_no_more_processes_begin_than_there_are_items_and_each_begins_as_asked():
    begun = []
    found = list(map_in_processes(lambda _item, _tick: len(begun), "a", 4, begin=lambda: begun.append(1)))
    assert found == [(0, 1)]
    assert not begun
    assert list(map_in_processes(lambda _item, _tick: 0, [], 2)) == []


def test_an_error_of_an_item_is_raised_with_its_kind_and_ends_all_processes(tmp_path):
    def work(item: int, _tick: Callable[[], None]) -> int:
        (tmp_path / str(os.getpid())).touch()
        if item == 1:
            time.sleep(0.2)
            raise DataError("the scan is bad")
        time.sleep(60)
        return item

    with pytest.raises(DataError) as caught:
        list(map_in_processes(work, range(3), 2))
    assert str(caught.value) == "the scan is bad"
    assert "in work" in caught.value.__notes__[0]
    numbers = [int(path.name) for path in tmp_path.iterdir()]
    assert len(numbers) == 2
    assert all(gone(number) for number in numbers)


def test_an_error_that_cannot_be_sent_is_told_all_the_same():
    class Private(Exception):
        pass

    def work(_item: int, _tick: Callable[[], None]) -> int:
        raise Private("only here")

    with pytest.raises(RuntimeError, match="Private: only here"):
        list(map_in_processes(work, range(1), 1))


def test_a_killed_process_is_told_in_a_sentence_and_ends_the_others():
    def work(item: int, _tick: Callable[[], None]) -> int:
        if item == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
        return item

    began = time.monotonic()
    with pytest.raises(VesalError, match=r"ended by the system \(signal 9\), as it is where memory runs out"):
        list(map_in_processes(work, range(2), 2))
    assert time.monotonic() - began < 30


CRASH = """
import ctypes
from vesal.errors import VesalError
from vesal.processes import map_in_processes

def work(item, _tick):
    ctypes.string_at(0)  # reads where no memory is
    return item

try:
    list(map_in_processes(work, range(2), 2))
except VesalError as error:
    print(error, *error.__notes__)
"""


def test_a_process_that_a_library_ends_says_which_call_it_was():
    # In an interpreter of its own: tests that ran before leave libraries behind that catch such signals.
    ran = subprocess.run([sys.executable, "-c", CRASH], capture_output=True, text=True, check=True)
    assert "ended by a library that it used (signal 11); --debug" in ran.stdout
    assert "string_at" in ran.stdout
    assert "in work" in ran.stdout


def test_who_stops_listening_stops_the_processes():
    def work(item: int, tick: Callable[[], None]) -> int:
        tick()
        time.sleep(60 if item else 0)
        return os.getpid()

    results = map_in_processes(work, range(3), 2)
    _, number = next(results)
    results.close()
    assert gone(number)

    def interrupt() -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(map_in_processes(work, range(1, 3), 2, tick=interrupt))
    assert time.monotonic() - began < 30


def test_processes_end_where_their_parent_was_killed(tmp_path: Path):
    program = tmp_path / "program.py"
    program.write_text(
        "import os, pathlib, signal, sys, time\n"
        "from vesal.processes import map_in_processes\n"
        "def work(item, tick):\n"
        "    pathlib.Path(sys.argv[1], str(os.getpid())).touch()\n"
        "    time.sleep(0.5)\n"
        "    return item\n"
        "for number, _ in map_in_processes(work, range(99), 2):\n"
        "    if len(os.listdir(sys.argv[1])) == 2:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    folder = tmp_path / "numbers"
    folder.mkdir()
    ended = subprocess.run([sys.executable, program, folder], check=False)
    assert ended.returncode == -signal.SIGKILL
    numbers = [int(path.name) for path in folder.iterdir()]
    assert len(numbers) == 2
    assert all(gone(number) for number in numbers)


def test_nothing_is_forked_where_a_library_would_not_survive_it(monkeypatch):
    for name in processes._UNSAFE:
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert can_fork()
    monkeypatch.setitem(sys.modules, "openvino", sys)
    assert not can_fork()
    monkeypatch.delitem(sys.modules, "openvino")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not can_fork()


def test_many_items_are_shared_by_processes_and_few_by_threads(monkeypatch):
    monkeypatch.setattr(processes, "can_fork", lambda: True)
    seen = []
    found = map_on_cores(
        lambda item: (item, os.getpid()),
        range(8),
        workers=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [item for item, _ in found] == list(range(8))
    assert os.getpid() not in {number for _, number in found}
    assert seen == [(done, 8) for done in range(1, 9)]
    for items, workers, can in ((range(7), 2, True), (range(8), 1, True), (range(8), 2, False)):
        monkeypatch.setattr(processes, "can_fork", lambda can=can: can)
        assert set(map_on_cores(lambda _: os.getpid(), items, workers=workers)) == {os.getpid()}


def test_a_process_that_is_stopped_leaves_nothing_half_written(tmp_path):
    def work(item: int, tick: Callable[[], None]) -> None:
        with atomic_path(tmp_path / f"{item}.txt") as temporary:
            temporary.write_text("half")
            tick()
            for _ in range(600):
                time.sleep(0.1)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(map_in_processes(work, range(2), 2, tick=stop))
    assert list(tmp_path.iterdir()) == []
