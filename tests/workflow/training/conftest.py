"""What tests of trainings share."""

from __future__ import annotations

import pytest


class _StopsAfter:
    """Stands in for signals: asks for a stop after so many looks, one a step."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def __call__(self) -> _StopsAfter:
        return self

    def __enter__(self) -> _StopsAfter:
        return self

    def __exit__(self, *_details: object) -> None:
        """Nothing to undo."""

    @property
    def requested(self) -> bool:
        self.looks -= 1
        return self.looks < 0


@pytest.fixture
def stops_after() -> type[_StopsAfter]:
    """In place of `vesal.train.trainer.StopRequest`: a signal after so many steps."""
    return _StopsAfter
