"""What is lost on the way is tried again, with a wait that doubles; what is refused is not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from vesal.errors import VesalError

Result = TypeVar("Result")


class Unreachable(VesalError):
    """The other side does not answer, or not now: the same may succeed later."""


class Stopped(VesalError):
    """The work was asked to end while it waited."""


class Passing(Exception):
    """A try failed in a way that may pass.

    Attributes:
        wait_s: the other side asked to be left alone for so long.
    """

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def wait_before(attempt: int, wait_s: float, most_wait_s: float) -> float:
    """Seconds before a further try.

    Args:
        attempt: how many have failed.
        wait_s: before the second try.
        most_wait_s: at most so long.

    >>> [wait_before(attempt, 0.5, 3.0) for attempt in (1, 2, 3, 4, 5000)]
    [0.5, 1.0, 2.0, 3.0, 3.0]
    """
    # An exponent without limit overflows after days.
    return min(wait_s * 2.0 ** min(attempt - 1, 60), most_wait_s)


def tried(
    action: Callable[[], Result],
    tries: int,
    waits: tuple[float, float],
    stop: threading.Event,
    message: Callable[[str], str],
) -> Result:
    """What the action returns, which is tried again where it raises `Passing`.

    Args:
        action: can be done again after any failure.
        tries: at most so many.
        waits: (before the second try, at most) in seconds.
        stop: ends the waiting, and keeps a try from being begun.
        message: makes a sentence of the last reason.

    Raises:
        Unreachable: no try succeeded.
        Stopped: `stop` is set.
    """
    attempt = 1
    while True:
        if stop.is_set():
            raise Stopped("The work was stopped; what is done is kept.")
        try:
            return action()
        except Passing as error:
            if attempt >= tries:
                raise Unreachable(message(str(error))) from error
            pause = min(max(wait_before(attempt, *waits), error.wait_s), waits[1])
        stop.wait(pause)
        attempt += 1
