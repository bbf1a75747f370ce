"""What may pass is tried again, with waits that grow; what is refused is not."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from vesal.errors import VesalError
from vesal.serve.pacs.retries import Passing, Stopped, Unreachable, tried, wait_before


class Recorder(threading.Event):
    """Notes the waits, and takes no time."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return self.is_set()


def failing(*errors: Exception) -> Callable[[], str]:
    left = list(errors)

    def action() -> str:
        if left:
            raise left.pop(0)
        return "result"

    return action


def test_a_loss_is_tried_again_after_waits_that_double() -> None:
    recorder = Recorder()
    action = failing(*[Passing("lost")] * 4)
    assert tried(action, 5, (1.0, 3.0), recorder, str) == "result"
    assert recorder.waits == [1.0, 2.0, 3.0, 3.0]


def test_after_the_last_try_the_reason_is_told_in_a_sentence() -> None:
    recorder = Recorder()
    with pytest.raises(Unreachable, match=r"^It fell silent\.$"):
        tried(failing(*[Passing("fell silent")] * 9), 3, (0.0, 1.0), recorder, lambda why: f"It {why}.")
    assert len(recorder.waits) == 2


def test_what_is_refused_is_not_tried_again() -> None:
    recorder = Recorder()
    with pytest.raises(VesalError, match="refused"):
        tried(failing(VesalError("refused")), 5, (1.0, 1.0), recorder, str)
    assert recorder.waits == []


def test_the_other_side_may_ask_for_more_time_but_not_for_any() -> None:
    recorder = Recorder()
    tried(failing(Passing("busy", 7.0), Passing("busy", 1e9)), 3, (1.0, 20.0), recorder, str)
    assert recorder.waits == [7.0, 20.0]


def test_a_wait_ends_when_the_work_is_stopped() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        tried(failing(Passing("lost")), 2, (3600.0, 3600.0), stop, str)


def test_nothing_is_begun_after_the_stop() -> None:
    """A study of thousands of instances is a try for each: a server that ends waits for one of them alone."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        tried(lambda: pytest.fail("begun"), 2, (0.0, 0.0), stop, str)


def test_waits_stay_within_their_limit_after_any_number_of_failures() -> None:
    assert wait_before(10**6, 1.0, 60.0) == 60.0
