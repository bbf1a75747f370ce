"""Threads of torch: one where a thread of ours works beside others, and fewer in all while other processes compute."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch

#: Steps whose median counts, and those before them at another number of threads, which do not.
_COUNTED, _SETTLING = 5, 2

#: A step that takes so many times as long as usual tells of other work; a number of threads is better by at least this.
_JUMP, _BETTER = 1.3, 0.9

#: Seconds from one trial to the next at least; doubled after each that was in vain, up to the second number.
_PAUSE_S, _LONGEST_PAUSE_S = 20.0, 320.0


def compute_alone() -> None:
    """Let operations of the calling thread use no other threads; threads that begin later do the same."""
    # Torch gives a thread the usual number when it first asks; only after that it keeps what it is given here.
    torch.get_num_threads()
    torch.set_num_threads(1)


class ThreadPace:
    """How many threads the caller's operations share: all, or fewer while they hold each other up.

    Threads that share an operation wait for each other at its end. Where another process takes one of the cores, all
    wait for the thread that shares it: a step of 0.28 s then took 1.4 s with two threads and 0.43 s with one
    (hippocampus, 2 x 40 x 56 x 40, float32, two cores). So what steps take decides. Numbers are halved and doubled: at
    the beginning, when steps become slower, and now and then while fewer are used than there are.

    Args:
        most: threads to share among; those of torch now by default.
    """

    def __init__(self, most: int | None = None) -> None:
        self._count = self._most = most or torch.get_num_threads()
        self._took: deque[float] = deque(maxlen=_COUNTED)
        self._to_settle = _SETTLING
        self._usual: float | None = None
        self._before: tuple[int, float] | None = None
        self._pause_s = _PAUSE_S
        self._tried_at = -float("inf")

    @property
    def count(self) -> int:
        """Threads of the next step."""
        return self._count

    @contextmanager
    def step(self) -> Iterator[None]:
        """Inside the block: a step, which is timed."""
        if self._most == 1:
            yield
            return
        torch.set_num_threads(self._count)
        began = time.perf_counter()
        yield
        self.took(time.perf_counter() - began)

    def took(self, seconds: float, now: float | None = None) -> None:
        """Take in what a step took, and choose for the next.

        Args:
            seconds: of the step.
            now: seconds of a clock; the system's by default.
        """
        if self._to_settle:
            self._to_settle -= 1
            return
        self._took.append(seconds)
        if len(self._took) < _COUNTED:
            return
        now = time.monotonic() if now is None else now
        median = statistics.median(self._took)
        if self._before is not None:
            self._judge(median, now)
        elif now - self._tried_at >= self._pause_s:
            self._consider(median, now)

    def _judge(self, median: float, now: float) -> None:
        """End a trial: stay with its number of threads, or go back."""
        assert self._before is not None
        count, usual = self._before
        self._before, self._tried_at = None, now
        if median <= _BETTER * usual:
            self._usual, self._pause_s = median, _PAUSE_S
            if self._count < count and self._count > 1:
                self._try(self._count // 2, median)
            return
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        self._usual = usual
        self._go(count)

    def _consider(self, median: float, now: float) -> None:
        """Begin a trial where there is reason to."""
        slower = self._usual is None or median > _JUMP * self._usual
        if slower and self._count > 1:
            self._try(self._count // 2, median)
        elif self._count < self._most:
            self._try(min(self._most, 2 * self._count), median)
        else:
            self._usual = min(median, self._usual or median)

    def _try(self, count: int, usual: float) -> None:
        self._before = self._count, usual
        self._go(count)

    def _go(self, count: int) -> None:
        self._count = count
        self._took.clear()
        self._to_settle = _SETTLING
