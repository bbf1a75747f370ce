"""Which item comes next, and what killed a worker comes last and alone."""

from __future__ import annotations

from collections import deque

from vesal.engine.waiting import Waiting


def test_what_killed_a_worker_comes_after_all_others_and_alone() -> None:
    waiting = Waiting(deque(range(3)))
    assert [waiting.take(), waiting.take()] == [0, 1]
    assert waiting.lost(0)
    assert waiting.take() == 2
    waiting.done(1)
    # 2 is still at work.
    assert waiting.take() is None
    assert not waiting.any_now
    waiting.done(2)
    assert waiting.any_now
    assert waiting.take() == 0
    assert not waiting.lost(0)
    assert waiting.over
    assert waiting.tries == {0: 2, 1: 1, 2: 1}
