"""Run a program and see how long it takes and how much memory it and its children need."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Seconds between two looks at the memory, and the share of the time that looking may take.
_EVERY_S, _SHARE = 0.1, 0.05


@dataclass(frozen=True)
class Finished:
    """A program that ended well.

    Attributes:
        seconds: from its start to its end.
        peak_mb: the most memory of the whole process tree: the sum of its processes' proportional set sizes
            (pages that several share are counted once), looked at ten times a second, or the high-water mark of
            a single one of them where that is more. 1 MB is 10**6 bytes.
        output: what it wrote to its standard output.
    """

    seconds: float
    peak_mb: float
    output: str


def run(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, log: Path | None = None
) -> Finished:
    """Run a program to its end, alone in its process group.

    Raises:
        RuntimeError: it failed; the end of what it wrote is in the message.
    """
    with open(log or os.devnull, "ab") as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            list(command), stdout=subprocess.PIPE, stderr=errors, env=environment, start_new_session=True
        )
        with TreeMemory(process.pid) as memory:
            try:
                assert process.stdout is not None
                output = process.stdout.read().decode(errors="replace")
                process.wait()
                seconds = time.perf_counter() - began
            except BaseException:
                _end(process)
                raise
    if process.returncode != 0:
        tail = "" if log is None else log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{output[-2000:]}\n{tail}")
    return Finished(seconds, memory.peak_bytes / 1e6, output)


class TreeMemory:
    """Watches the memory of a process and all its descendants while the block runs.

    Attributes:
        peak_bytes: the largest sum so far.
    """

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> TreeMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        pause = _EVERY_S
        while not self._stop.wait(pause):
            began = time.perf_counter()
            tree = descendants(self._pid)
            # Not the ru_maxrss of wait4: it begins with what the parent held when it forked.
            highest = max((_kib(f"/proc/{pid}/status", "VmHWM:") for pid in tree), default=0)
            together = sum(_kib(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in tree)
            self.peak_bytes = max(self.peak_bytes, 1024 * together, 1024 * highest)
            # The kernel walks the pages of large processes for it, and holds them meanwhile.
            pause = max(_EVERY_S, (time.perf_counter() - began) / _SHARE)


def descendants(pid: int) -> list[int]:
    """The process and everything that it started, as far as it is alive."""
    found, waiting = [], [pid]
    while waiting:
        parent = waiting.pop()
        found.append(parent)
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                waiting += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


def _kib(file: str, field: str) -> int:
    """A number of KiB in a file of /proc; 0 where the process has gone."""
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(field)), 0)


class Worker:
    """A program that is set up once and measures when it is told to, so that several can take turns.

    It reads a line, measures, and answers with a line of JSON. It is told first by a line of its own that it is
    ready. While it waits it uses no processor.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None, log: Path) -> None:
        self._log = log
        self._errors = log.open("ab")
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            text=True,
            start_new_session=True,
        )
        self.about: dict[str, Any] = self._answer()

    def measure(self) -> dict[str, Any]:
        """One measurement.

        Raises:
            RuntimeError: the program ended.
        """
        assert self._process.stdin is not None
        self._process.stdin.write("measure\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the program and all that it started."""
        _end(self._process)
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # Libraries greet; answers begin with a brace.
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        self.close()
        raise RuntimeError(f"a worker ended:\n{self._log.read_text(errors='replace')[-2000:]}")


def serve(about: Mapping[str, Any], measure: Any) -> None:
    """The other end of a `Worker`: say that all is ready, then answer each line with `measure()`."""
    print(json.dumps(dict(about)), flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure()), flush=True)


def high_water_mb() -> float:
    """The most memory that this process has had, in MB of 10**6 bytes."""
    return _kib("/proc/self/status", "VmHWM:") * 1024 / 1e6


def _end(process: subprocess.Popen[Any]) -> None:
    """The process group: a process pool's children outlive their parent."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=10)
    except (ProcessLookupError, ChildProcessError):
        return
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
