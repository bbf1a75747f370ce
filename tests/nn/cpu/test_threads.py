"""How many threads compute: one beside others, and fewer where they hold each other up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from vesal.nn.cpu.threads import ThreadPace, compute_alone


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_a_thread_that_computes_alone_leaves_the_caller_its_threads() -> None:
    def count() -> int:
        compute_alone()
        return torch.get_num_threads()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(count).result() == 1
    assert torch.get_num_threads() == 4


def run(pace: ThreadPace, seconds_of: Callable[[int], float], steps: int, clock: list[float]) -> list[int]:
    """The number of threads of each step on a machine where a step of so many threads takes so many seconds."""
    counts = []
    for _ in range(steps):
        counts.append(pace.count)
        seconds = seconds_of(pace.count)
        clock[0] += seconds
        pace.took(seconds, clock[0])
    return counts


def quiet(count: int) -> float:
    return {4: 0.28, 2: 0.5, 1: 0.9}[count]


def busy(count: int) -> float:
    return {4: 2.0, 2: 0.8, 1: 0.95}[count]


def test_a_quiet_machine_uses_all_threads_and_loses_little() -> None:
    clock = [0.0]
    counts = run(ThreadPace(), quiet, 1000, clock)
    assert counts[-100:] == [4] * 100
    assert clock[0] < 1.03 * 1000 * quiet(4)


def test_fewer_are_used_where_they_are_faster_and_all_again_when_the_machine_is_quiet() -> None:
    pace, clock = ThreadPace(), [0.0]
    run(pace, quiet, 200, clock)
    counts = run(pace, busy, 400, clock)
    assert counts.count(2) > 340
    assert counts[-1] == 2
    counts = run(pace, quiet, 3000, clock)
    assert counts[-100:] == [4] * 100


def test_a_machine_that_is_busy_from_the_beginning_is_noticed() -> None:
    clock = [0.0]
    assert run(ThreadPace(), busy, 300, clock).count(2) > 250


def test_steps_are_timed_with_the_number_of_threads_that_is_chosen() -> None:
    pace = ThreadPace()
    seen = []
    for _ in range(9):
        with pace.step():
            seen.append((pace.count, torch.get_num_threads()))
    assert all(wanted == used for wanted, used in seen)
    assert {count for count, _ in seen} > {4}


def test_one_thread_stays_one() -> None:
    pace = ThreadPace(1)
    for _ in range(30):
        with pace.step():
            pass
    assert pace.count == 1
    assert torch.get_num_threads() == 4
