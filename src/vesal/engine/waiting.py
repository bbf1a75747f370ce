"""The items that wait for a worker, those that are at work, and those that come again because a worker died."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from vesal.engine.outcome import MOST_TRIES


@dataclass
class Waiting:
    """Which item comes next.

    What killed a worker waits until all others are done, and then has the machine for itself: where two items together
    were too much for the memory, each alone may not be.

    Attributes:
        first: numbers of items that nothing is known against.
        again: of items whose worker died.
        tries: number -> how often it was begun.
        at_work: numbers that are.
    """

    first: deque[int]
    again: deque[int] = field(default_factory=deque)
    tries: dict[int, int] = field(default_factory=dict)
    at_work: set[int] = field(default_factory=set)

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return not (self.first or self.again or self.at_work)

    @property
    def any_now(self) -> bool:
        """Whether `take` would give one."""
        return bool(self.first) or bool(self.again and not self.at_work)

    def take(self) -> int | None:
        """The next one, at work from now on; None where a worker has to wait."""
        if self.first:
            number = self.first.popleft()
        elif self.again and not self.at_work:
            number = self.again.popleft()
        else:
            return None
        self.at_work.add(number)
        self.tries[number] = self.tries.get(number, 0) + 1
        return number

    def done(self, number: int) -> None:
        """It came to an end."""
        self.at_work.discard(number)

    def lost(self, number: int) -> bool:
        """Its worker died; whether it is tried again."""
        self.at_work.discard(number)
        if self.tries[number] >= MOST_TRIES:
            return False
        self.again.append(number)
        return True
