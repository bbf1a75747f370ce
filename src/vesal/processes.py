"""Work on many items by processes with a thread each, for what keeps a core busy by itself.

Threads that compute one item together wait for each other at every step: on two cores they gain less than two
processes do, and where another job holds a core they lose far more. A process shares nothing that it could wait for.

They are forked: what the parent holds (a network, a data set) is there at once and in memory once. That needs Linux,
and a parent whose libraries survive it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import IO, Any, Literal, TypeVar

from vesal.cpus import keep_to
from vesal.errors import VesalError
from vesal.parallel import Progress, map_in_order

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Called after a step of the work on an item.
Tick = Callable[[], None]

#: Libraries with threads of their own for which their makers do not say that a forked process may go on with them.
_UNSAFE = ("openvino", "ray")

#: Fewer items are done by threads before processes have begun.
_FEW = 8

#: How long a process that was asked to end may take (s) before it is killed.
_PATIENCE_S = 2.0

_Kind = Literal["tick", "result", "error"]
#: Bytes of a process' last words that are kept.
_LAST_WORDS = 4000


def can_fork() -> bool:
    """Whether `map_in_processes` works here: on Linux, and where no library that forking breaks has been loaded."""
    daemon = multiprocessing.current_process().daemon
    return sys.platform == "linux" and not daemon and not any(name in sys.modules for name in _UNSAFE)


def map_on_cores(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int,
    progress: Progress | None = None,
) -> list[Result]:
    """`function(item)` of each item in order, by as many processes, or threads where it cannot be by processes.

    For work that holds the interpreter's lock, or memory's, too often for threads. It must not change what its caller
    looks at later: in another process that has no effect.

    Args:
        function: as of `map_in_processes`.
        items: to work on; few are worked on by threads.
        workers: processes or threads.
        progress: called with (done, total).

    >>> map_on_cores(len, ["a", "bb"], workers=2)
    [1, 2]
    """
    found: dict[int, Result] = {}
    with contextlib.closing(each_on_cores(function, items, workers=workers)) as results:
        for number, result in results:
            found[number] = result
            if progress is not None:
                progress(len(found), len(items))
    return [found[number] for number in range(len(items))]


def each_on_cores(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int
) -> Generator[tuple[int, Result], None, None]:
    """As `map_on_cores`, but (number of the item, result) as soon as it is known, in whatever order."""
    if workers == 1 or len(items) < _FEW or not can_fork():
        with contextlib.closing(map_in_order(function, items, workers=workers)) as results:
            yield from enumerate(results)
    else:
        yield from map_in_processes(lambda item, _: function(item), items, workers)


def map_in_processes(
    function: Callable[[Item, Tick], Result],
    items: Sequence[Item],
    processes: int,
    *,
    begin: Callable[[], None] | None = None,
    tick: Tick | None = None,
    again: str = "start again",
) -> Generator[tuple[int, Result], None, None]:
    """Yield (number of the item, `function(item, tick)`) for each item, as soon as it is done, in whatever order.

    Each process takes the next item when it has finished one. The first exception ends them all and is raised here;
    so does the end of this generator, an interruption included.

    Args:
        function: gets an item and a `tick` of its own, which calls this process' `tick`. Neither function nor items
            are copied; results and exceptions are (they must be picklable).
        items: to work on.
        processes: at most so many.
        begin: called in each process first, such as to limit the threads of a library.
        tick: called in this process for every `tick` of an item.
        again: how to go on where a process was ended from outside, for the message.

    Raises:
        VesalError: a process was ended from outside, as the system does where memory runs out, or by a library; a note
            of it holds where its code was, where the process could still say so.
    """
    waiting = deque(range(len(items)))
    started: dict[Connection, _Process] = {}
    try:
        for _ in range(min(processes, len(items))):
            _next(_start(started, function, items, begin), waiting)
        at_work = set(started)
        while at_work:
            for connection in wait(list(at_work)):
                assert isinstance(connection, Connection)
                kind, value = _received(connection, started[connection], again)
                if kind == "error":
                    raise value
                if kind == "tick":
                    if tick is not None:
                        tick()
                    continue
                number, result = value
                if waiting:
                    _next(connection, waiting)
                else:
                    at_work.remove(connection)
                yield number, result
    finally:
        _end(started)


@dataclass(frozen=True, eq=False)
class _Process:
    """A process, and the file for its last words."""

    process: Any
    words: IO[bytes]

    def ended_by(self, again: str) -> VesalError:
        """Why it has no answer."""
        self.process.join(_PATIENCE_S)
        code = self.process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        sentence = (
            f"A process at work was ended by the system ({how}), as it is where memory runs out; end other programs "
            f"and {again}."
        )
        self.words.seek(0)
        words = self.words.read(_LAST_WORDS).decode(errors="replace").strip()
        if not words:
            return VesalError(sentence)
        error = VesalError(
            f"A process at work was ended by a library that it used ({how}); --debug shows where, and {again}."
        )
        error.add_note(f"In another process:\n{words}")
        return error


def _start(
    started: dict[Connection, _Process],
    function: Callable[[Item, Tick], Any],
    items: Sequence[Item],
    begin: Callable[[], None] | None,
) -> Connection:
    """Start one more process, and note it and our end of the pipe to it."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    words = os.fdopen(os.memfd_create("last words"), "w+b", buffering=0)
    process = context.Process(
        target=_serve, args=(theirs, words, [ours, *started], function, items, begin), daemon=True
    )
    with warnings.catch_warnings():
        # Python 3.12 and newer warn of a fork beside threads; `can_fork` says when it is safe.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    theirs.close()
    started[ours] = _Process(process, words)
    return ours


def _next(connection: Connection, waiting: deque[int]) -> None:
    # A process that has died is noticed where its answer is read.
    with contextlib.suppress(BrokenPipeError):
        connection.send(waiting.popleft())


def _received(connection: Connection, process: _Process, again: str) -> tuple[_Kind, Any]:
    try:
        kind, value = connection.recv()
    except (EOFError, ConnectionResetError):
        raise process.ended_by(again) from None
    return kind, value


def _end(started: dict[Connection, _Process]) -> None:
    for connection, one in started.items():
        # At its end by itself, or in the middle of what nobody wants any more.
        connection.close()
        one.process.terminate()
    for one in started.values():
        one.process.join(_PATIENCE_S)
        if one.process.is_alive():
            one.process.kill()
            one.process.join()
        one.process.close()
        one.words.close()


# --- in the other process --------------------------------------------------------------------------------


def _serve(
    connection: Connection,
    words: IO[bytes],
    others: Sequence[Connection],
    function: Callable[[Item, Tick], Any],
    items: Sequence[Item],
    begin: Callable[[], None] | None,
) -> None:
    """Work on the items whose numbers come, until the parent is gone."""
    # A library that ends the process says nothing: here stands which call it was.
    faulthandler.enable(words, all_threads=False)
    # Ctrl-C reaches every process of the terminal: the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a process was writing is cleared away: an end like any other.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit())
    # The parent's ends, inherited: as long as one is open here, nobody learns that the parent is gone.
    for other in others:
        other.close()
    keep_to(1)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _work(connection, function, items, begin)


def _work(
    connection: Connection,
    function: Callable[[Item, Tick], Any],
    items: Sequence[Item],
    begin: Callable[[], None] | None,
) -> None:
    answer: tuple[_Kind, Any]
    ready = begin is None
    while True:
        number = connection.recv()
        try:
            if begin is not None and not ready:
                begin()
                ready = True
            answer = ("result", (number, function(items[number], lambda: connection.send(("tick", None)))))
        except (BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:
            error.add_note(f"In another process:\n{traceback.format_exc()}")
            answer = ("error", error)
        connection.send(_sendable(answer))


def _sendable(answer: tuple[_Kind, Any]) -> tuple[_Kind, Any]:
    """The same, or in place of an error that cannot be pickled, or not be made again, one that says the same."""
    if answer[0] == "error":
        try:
            pickle.loads(pickle.dumps(answer[1]))
        except Exception:
            return "error", RuntimeError("".join(traceback.format_exception(answer[1])))
    return answer
