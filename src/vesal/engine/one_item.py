"""One item in a worker: done, measured, and every failure of it made into an outcome that can be sent."""

from __future__ import annotations

import os
import pickle
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from vesal.engine.memory import forget_peak, peak
from vesal.engine.outcome import Outcome
from vesal.errors import DataError, UsageError, VesalError, out_of_memory

_SHORT_OF_MEMORY = "the memory does not suffice for it; take a larger machine."


def worker_name() -> str:
    """The host and process of this worker."""
    return f"{socket.gethostname()}:{os.getpid()}"


def do(function: Callable[[Any], Any], number: int, item: Any) -> Outcome:
    """What becomes of an item; no failure but the end of the process gets out."""
    forget_peak()
    began = time.perf_counter()
    result, reason, detail, hopeless = None, "", "", False
    try:
        result = function(item)
    except VesalError as error:
        reason, hopeless = str(error), not isinstance(error, DataError | UsageError)
    except Exception as error:
        if out_of_memory(error):
            reason = _SHORT_OF_MEMORY
        else:
            reason, detail = unforeseen(error), traceback.format_exc()
    outcome = Outcome(
        number=number,
        result=result,
        reason=reason,
        detail=detail,
        hopeless=hopeless,
        seconds=time.perf_counter() - began,
        peak_bytes=peak(),
        worker=worker_name(),
    )
    try:
        pickle.dumps(outcome)
    except Exception as error:
        return replace(outcome, result=None, reason=unforeseen(error), detail=traceback.format_exc())
    return outcome


def unforeseen(error: BaseException) -> str:
    """An error that is none of ours, in a line.

    >>> unforeseen(ValueError("no such axis"))
    'ValueError: no such axis'
    """
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
