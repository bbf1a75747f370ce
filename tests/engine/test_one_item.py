"""What becomes of one item in a worker."""

from __future__ import annotations

import os
import pickle

import pytest

from vesal.engine.one_item import do, worker_name
from vesal.errors import DataError, UsageError, VesalError


def fails(error: BaseException) -> object:
    def function(_item: object) -> None:
        raise error

    return function


def test_a_result_is_measured() -> None:
    found = do(str.upper, 3, "a")
    assert (found.number, found.result, found.failed) == (3, "A", False)
    assert found.seconds >= 0.0
    assert found.worker == worker_name()
    assert found.worker.endswith(f":{os.getpid()}")


@pytest.mark.parametrize(
    ("error", "reason", "hopeless", "detailed"),
    [
        (DataError("No voxels."), "No voxels.", False, False),
        (UsageError("No such axis."), "No such axis.", False, False),
        (VesalError("The disk is full."), "The disk is full.", True, False),
        (RuntimeError("CUDA out of memory. Tried to"), "the memory does not suffice", False, False),
        (IndexError("axis 3\nof 2"), "IndexError: axis 3", False, True),
    ],
)
def test_a_failure_says_why(error: Exception, reason: str, hopeless: bool, detailed: bool) -> None:
    found = do(fails(error), 0, None)  # type: ignore[arg-type]
    assert found.reason.startswith(reason)
    assert (found.hopeless, "Traceback" in found.detail) == (hopeless, detailed)


def test_what_cannot_be_sent_is_a_failure() -> None:
    found = do(lambda _item: lambda: None, 0, None)
    assert found.failed
    assert pickle.loads(pickle.dumps(found)) == found
