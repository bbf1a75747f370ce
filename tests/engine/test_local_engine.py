"""Workers of this machine, beside what every engine promises (test_outcome)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine_work import CountsThreads, Work

from vesal.engine.local_engine import LocalEngine
from vesal.engine.memory import memory_of


def test_a_worker_that_dies_leaves_its_own_words(tmp_path: Path) -> None:
    (found,) = LocalEngine(1).run(Work(tmp_path), ["a kills"])
    assert "a library gave up" in found.detail
    # Where it was, as the interpreter saw it.
    assert "engine_work.py" in found.detail
    assert "signal 6" in found.reason


def test_workers_that_die_before_they_begin_say_why(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"exit status 7.*no such instruction"):
        list(LocalEngine(2).run(Work(tmp_path, "dies"), ["a"]))


def test_each_computes_with_the_threads_that_it_was_given() -> None:
    (found,) = LocalEngine(1, threads=2).run(CountsThreads(), [None])
    assert found.result == 2


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of another process is not known")
def test_workers_end_with_the_process_that_they_work_for(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from engine_work import Work
from vesal.engine.local_engine import LocalEngine
if __name__ == "__main__":
    list(LocalEngine(1).run(Work(Path(sys.argv[1])), ["a eats"]))
"""
    program = tmp_path / "program.py"
    program.write_text(code)
    command = [sys.executable, str(program), str(tmp_path)]
    path = f"{Path(__file__).parent}:{':'.join(sys.path)}"
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "tried-a").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    (mark,) = tmp_path.glob("began-*")
    pid = int(mark.name.removeprefix("began-"))
    while memory_of(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_worker_that_dies_in_the_middle_of_its_answer_harms_no_other_item(tmp_path: Path) -> None:
    first, second = LocalEngine(1).run(Work(tmp_path), ["a answers half", "b"])
    assert (first.result, second.result) == ("B", "A")
    assert second.tries == 2


def test_a_worker_that_is_ended_for_its_memory_after_its_answer_gets_no_other_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At the first look at it its answer is on its way already.
    def looked_late(_pid: int) -> int:
        looks.append(0)
        if len(looks) > 1:
            return 0
        time.sleep(0.8)
        return 2

    looks: list[int] = []
    monkeypatch.setattr("vesal.engine.local_engine.memory_of", looked_late)
    found = list(LocalEngine(1, most_bytes=1).run(Work(tmp_path), ["a takes a moment", "b", "c"]))
    assert [outcome.reason for outcome in found] == ["", "", ""]
    assert (tmp_path / "tried-b").read_text() == "x"
