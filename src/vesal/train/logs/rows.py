"""Rows of a training's metrics, and the files that they are written to."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from vesal.files import cannot_write, read_json_lines, write_text
from vesal.text import number, one_line

#: One row: numbers (None where undefined) and dictionaries of numbers a class.
Row = dict[str, Any]


class _GrowingFile:
    """A file of lines, each on the disk at once, so that a killed run keeps its history.

    Raises:
        VesalError: when it is made, and by `write`, where the system does not take it.
    """

    def __init__(self, path: Path, *, anew: bool = False) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Without a buffer: what a full disk did not take would be written once more when the file is closed.
            self._file = path.open("wb" if anew else "ab", buffering=0)
        except OSError as error:
            raise cannot_write(path, error) from error

    def write(self, line: str) -> None:
        data = memoryview(f"{line}\n".encode())
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


class JsonLines:
    """metrics.jsonl: one row a line. On resume, rows after the checkpoint's step are dropped."""

    def __init__(self, path: Path, *, resume_step: int = 0) -> None:
        kept = (
            [row for row in read_json_lines(path) if row.get("step", 0) <= resume_step] if resume_step else []
        )
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = _GrowingFile(path)

    def row(self, row: Row) -> None:
        """Write a row."""
        self._file.write(json.dumps(_finite(row)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TextLog:
    """train.log: what happened, a dated line each, for people. A resumed run goes on below."""

    def __init__(self, path: Path, *, resume_step: int = 0) -> None:
        self._file = _GrowingFile(path, anew=not resume_step)

    def say(self, line: str) -> None:
        """Write one line."""
        text = "  ".join(map(one_line, line.split("  ")))
        self._file.write(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}  {text}")

    def row(self, row: Row) -> None:
        """A row's numbers under their own names."""
        self.say(row_text(row))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def row_text(row: Row) -> str:
    """A row in one line, without the progress, which follows from the rest.

    >>> row_text({"step": 20, "progress": 0.5, "epoch": 2.5, "lr": 1e-05, "val_dice_per_class": {"left atrium": 0.5}})
    'step 20  epoch 2.5  lr 1e-05  val_dice_per_class: left atrium 0.5000'
    """
    parts = []
    for key, value in row.items():
        if isinstance(value, dict):
            parts.append(f"{key}: {', '.join(f'{name} {number(of, 4)}' for name, of in value.items())}")
        elif key != "progress" and value is not None:
            shown = (
                f"{value:.4f}" if key.startswith(("train_", "val_")) and key != "val_cases" else f"{value:g}"
            )
            parts.append(f"{key} {shown}")
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
