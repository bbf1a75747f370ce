"""Logs of a training: JSON lines and the console."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from vesal.files import read_json_lines, write_text

#: One row: numbers (None where undefined) and dictionaries of numbers a class.
Row = dict[str, Any]


class JsonLines:
    """metrics.jsonl: one row a line. On resume, rows after the checkpoint's step are dropped."""

    def __init__(self, path: Path, *, resume_step: int = 0) -> None:
        kept = (
            [row for row in read_json_lines(path) if row.get("step", 0) <= resume_step] if resume_step else []
        )
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = path.open("a", encoding="utf-8")

    def row(self, row: Row) -> None:
        """Write and flush, so that a killed run keeps its history."""
        self._file.write(json.dumps(_finite(row)) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Console:
    """A live line with a bar on a terminal; a line every half minute where there is none."""

    def __init__(self, title: str, *, quiet: bool = False, every_s: float = 30.0) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TextColumn

        self._title = title
        self._console = RichConsole(stderr=True, quiet=quiet)
        self._every_s = every_s
        self._last_line = time.monotonic()
        self._began = time.monotonic()
        self._began_at: float | None = None
        self._seen: dict[str, Any] = {}
        self._bar = Progress(
            TextColumn("[bold]{task.fields[title]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[text]}"),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
            transient=False,
        )
        self._task = self._bar.add_task("", total=1.0, title=title, text="")

    def __enter__(self) -> Console:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line above the live one."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def row(self, row: Row) -> None:
        """Remember the newest numbers."""
        self._seen.update({key: value for key, value in row.items() if value is not None})

    def progress(self, share: float) -> None:
        """Show that `share` (0..1) of the run is done."""
        now = time.monotonic()
        if self._began_at is None:
            self._began, self._began_at = now, share
        gained = share - self._began_at
        left_s = (now - self._began) * (1.0 - share) / gained if gained > 0 else None
        text = status_line(self._seen, left_s)
        self._bar.update(self._task, completed=share, text=text)
        if not self._console.is_terminal and now - self._last_line >= self._every_s:
            self._last_line = now
            self._console.print(f"{self._title} {100 * share:.0f} %  {text}", highlight=False)


def status_line(seen: Row, left_s: float | None) -> str:
    """Loss, Dice, learning rate, time left and memory in one line.

    >>> status_line({"step": 10, "train_loss": 0.5, "lr": 0.001, "memory_mb": 800.0}, 125.0)
    'step 10  loss 0.500  lr 1.0e-03  800 MB  2:05 left'
    """
    parts = [f"step {seen.get('step', 0)}"]
    if "train_loss" in seen:
        parts.append(f"loss {seen['train_loss']:.3f}")
    if "val_dice" in seen:
        parts.append(f"Dice {seen['val_dice']:.3f}")
    if "lr" in seen:
        parts.append(f"lr {seen['lr']:.1e}")
    if "memory_mb" in seen:
        parts.append(f"{seen['memory_mb']:.0f} MB")
    if left_s is not None:
        minutes, seconds = divmod(round(left_s), 60)
        hours, minutes = divmod(minutes, 60)
        parts.append(f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left")
    return "  ".join(parts)


def memory_mb(device: torch.device) -> dict[str, float]:
    """Peak memory so far (MB): on CUDA allocated and reserved, else this process's resident set."""
    if device.type == "cuda":
        return {
            "memory_mb": round(torch.cuda.max_memory_allocated(device) / 1e6, 1),
            "memory_reserved_mb": round(torch.cuda.max_memory_reserved(device) / 1e6, 1),
        }
    try:
        import resource
    except ImportError:  # Windows has no such module
        return {}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"memory_mb": round(peak / 1e6 if sys.platform == "darwin" else peak / 1e3, 1)}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
