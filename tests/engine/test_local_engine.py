"""Workers of this machine, beside what every engine promises (test_outcome)."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_work import CountsThreads, Work

from vesal.engine.local_engine import LocalEngine


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
