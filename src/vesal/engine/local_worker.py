"""A process of `LocalEngine`: prepares once, then does the items that come, until nobody sends any more."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection, wait

from vesal.cpus import keep_to
from vesal.engine.one_item import do
from vesal.engine.outcome import Prepare
from vesal.errors import VesalError

#: How long a worker whose parent is gone may take (s) to save what it is at.
_PATIENCE_S = 60.0


def serve(connection: Connection, prepare: Prepare, threads: int, words: str) -> None:
    """What the process runs.

    Args:
        connection: over which numbers and items come, and outcomes go; 'ready' goes first.
        prepare: gives what does an item.
        threads: to compute with.
        words: file for what is printed here; a library that ends the process says why there.
    """
    # Ctrl-C reaches every process of the terminal: the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What was being written is cleared away: an end like any other.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit())
    with open(words, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.enable()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    compute_with(threads)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            function = prepare()
        except Exception as error:
            connection.send(failed_preparation(error))
            return
        connection.send("ready")
        while True:
            number, item = connection.recv()
            connection.send(do(function, number, item))


def _end_with_parent() -> None:
    """Nobody would hear of an item that may take hours: what works on it is asked to end as by a signal."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE_S)
    os._exit(1)


def failed_preparation(error: Exception) -> Exception:
    """What the parent raises: ours as it is, another with its traceback, which would be lost on the way."""
    if isinstance(error, VesalError):
        return error
    return RuntimeError("".join(traceback.format_exception(error)))


def compute_with(threads: int) -> None:
    """From here on this process computes with so many threads."""
    keep_to(threads)
    # Here, for what an engine carries need not compute by torch.
    import torch

    torch.set_num_threads(threads)
