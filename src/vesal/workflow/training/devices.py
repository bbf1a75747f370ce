"""Training by several processes of this machine, one a device: begun, listened to, and ended together."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from vesal.cpus import cpu_count, keep_to
from vesal.engine.start import start_context
from vesal.errors import UsageError, VesalError
from vesal.parallel import Progress, StageProgress
from vesal.train.distributed import PeerLostError
from vesal.workflow.requests.train_request import TrainRequest

#: Seconds that the others get to say why, once one has ended without a result, and to end when they are asked to.
_PATIENCE_S = 5.0

#: What the first process does: train by a request, with a stage's progress and messages.
Train = Callable[[TrainRequest, StageProgress, Callable[[str], None]], Any]


def train_on_devices(
    train: Train, request: TrainRequest, stage: StageProgress, tell: Callable[[str], None]
) -> Any:
    """What the first of `request.devices` processes makes of `train(request, stage, tell)`, which all of them call.

    Args:
        train: a function of a module, which every process imports.
        request: with its number of devices.
        stage, tell: as of `train_run`; they hear of the first process.

    Raises:
        VesalError: what one of them raised, with its traceback where nobody foresaw it; all others are ended.
    """
    count = request.devices or 1
    _check(request, count)
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(count)}
    context = start_context([train.__module__])
    processes = []
    for rank in range(count):
        ours, theirs = multiprocessing.Pipe()
        own = environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        most = None if request.max_ram is None else request.max_ram // count
        asked_of_it = replace(request, devices=None, max_ram=most)
        arguments = (theirs, train, asked_of_it, own, max(1, cpu_count() // count))
        process = context.Process(target=_serve, args=arguments)  # type: ignore[attr-defined]
        process.start()
        theirs.close()
        processes.append(_Process(rank, process, ours))
    with _signals_passed_on(processes) as asked:
        try:
            return _Listener(processes, stage, tell).result()
        except EndedError as error:
            if not asked:
                raise
            raise VesalError(
                f"Stopped; vesal train {request.data} -o {request.out} --resume goes on."
            ) from error


def _check(request: TrainRequest, count: int) -> None:
    # Here, for what one process needs is imported in it.
    import torch

    wanted = request.device
    if ":" in wanted:
        raise UsageError(
            f"--devices {count} takes the first {count}; leave the number out of --device {wanted}."
        )
    on_gpu = wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available())
    if on_gpu and torch.cuda.device_count() < count:
        raise UsageError(
            f"{count} GPUs are wanted, and {torch.cuda.device_count()} are here; lower --devices."
        )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class EndedError(VesalError):
    """A process was ended from outside."""


@dataclass(eq=False)
class _Process:
    """One of them, and why it has no result."""

    rank: int
    process: Any
    connection: Connection
    over: bool = False
    error: Exception | None = None


@dataclass(eq=False)
class _Listener:
    """Hears what the processes say, until all have ended."""

    processes: Sequence[_Process]
    stage: StageProgress
    tell: Callable[[str], None]
    found: Any = None
    bars: dict[str, Progress | None] = field(default_factory=dict)
    ending: bool = False

    def result(self) -> Any:
        """Of the first process.

        Raises:
            VesalError: one of them failed.
        """
        failed_at: float | None = None
        ending_at: float | None = None
        while listening := {one.connection: one for one in self.processes if not one.over}:
            for connection in wait(list(listening), timeout=0.2):
                assert isinstance(connection, Connection)
                self._hear(listening[connection])
            now = time.monotonic()
            if failed_at is None and any(one.error is not None for one in self.processes):
                failed_at = now
            known = any(one.error and not isinstance(one.error, PeerLostError) for one in self.processes)
            if failed_at is not None and ending_at is None and (known or now - failed_at > _PATIENCE_S):
                ending_at = now
                self._end("terminate")
            if ending_at is not None and now - ending_at > _PATIENCE_S:
                # One that waits for the others hears no signal.
                self._end("kill")
        for one in self.processes:
            one.process.join()
        errors = [one.error for one in self.processes if one.error is not None]
        if errors:
            raise next((one for one in errors if not isinstance(one, PeerLostError)), errors[0])
        return self.found

    def _end(self, how: str) -> None:
        self.ending = True
        for one in self.processes:
            if not one.over:
                getattr(one.process, how)()

    def _hear(self, one: _Process) -> None:
        try:
            kind, value = one.connection.recv()
        except (EOFError, ConnectionResetError):
            one.over = True
            one.process.join(_PATIENCE_S)
            code = one.process.exitcode
            # Those that are ended here tell nothing of the reason.
            if code and one.error is None and not self.ending:
                how = f"signal {-code}" if code < 0 else f"exit status {code}"
                one.error = EndedError(
                    f"Process {one.rank} of {len(self.processes)} of the training was ended by the system ({how}), as "
                    "it is where memory runs out; add --resume to go on."
                )
            return
        if kind == "error":
            one.error = value
        elif one.rank == 0 and kind == "tell":
            self.tell(value)
        elif one.rank == 0 and kind == "progress":
            title, done, total = value
            if title not in self.bars:
                self.bars[title] = self.stage(title)
            if (bar := self.bars[title]) is not None:
                bar(done, total)
        elif one.rank == 0 and kind == "result":
            self.found = value


@contextlib.contextmanager
def _signals_passed_on(processes: Sequence[_Process]) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM stop the training: every process ends after its step, and saves.

    The list holds the signals that came.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def stop(number: int, _frame: Any) -> None:
        came.append(number)
        for one in processes:
            # A terminal's Ctrl-C has reached it as well: a second one would end it at once, this signal does not.
            if not one.over:
                one.process.terminate()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- in each process -----------------------------------------------------------------------------------------


def _serve(
    connection: Connection, train: Train, request: TrainRequest, environment: dict[str, str], threads: int
) -> None:
    os.environ.update(environment)
    # Where a library ends the process, its traceback is on the standard error.
    faulthandler.enable()
    keep_to(threads)
    threading.Thread(target=_end_with_parent, args=(connection,), daemon=True).start()
    lock = threading.Lock()

    def send(kind: str, value: Any) -> None:
        with lock, contextlib.suppress(BrokenPipeError):
            connection.send((kind, value))

    def stage(title: str) -> Progress:
        return lambda done, total: send("progress", (title, done, total))

    try:
        send("result", train(request, stage, lambda text: send("tell", text)))
    except VesalError as error:
        send("error", error)
        os._exit(error.exit_code)
    except BaseException as error:
        text = "".join(traceback.format_exception(error))
        send("error", RuntimeError(f"Process {environment['RANK']} of the training failed:\n{text}"))
        os._exit(1)


def _end_with_parent(connection: Connection) -> None:
    """The parent sends nothing: what comes is its end."""
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
    os._exit(1)
