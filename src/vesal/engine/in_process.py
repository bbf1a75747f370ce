"""An engine without workers: this process does the items one after the other, with the same outcomes."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from vesal.engine.one_item import do
from vesal.engine.outcome import Outcome, Prepare
from vesal.text import plural


@dataclass(frozen=True)
class InProcess:
    """This process; what kills it kills the work.

    Attributes:
        threads: that it computes with, for who asks; they are not changed.
    """

    threads: int = 1

    @property
    def described(self) -> str:
        """The worker in a few words."""
        return f"this process, with {plural(self.threads, 'thread')}"

    def run(self, prepare: Prepare, items: Sequence[Any]) -> Generator[Outcome, None, None]:
        """As `Engine.run`.

        Raises:
            VesalError: the work cannot be prepared.
        """
        if items:
            function = prepare()
            for number, item in enumerate(items):
                yield do(function, number, item)
