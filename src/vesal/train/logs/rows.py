"""Rows of a training's metrics, and the files that they are written to."""

from __future__ import annotations

import json
import math
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from vesal.files import read_json_lines, write_text
from vesal.text import number, one_line

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


class TextLog:
    """train.log: what happened, a dated line each, for people. A resumed run goes on below."""

    def __init__(self, path: Path, *, resume_step: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a" if resume_step else "w", encoding="utf-8")

    def say(self, line: str) -> None:
        """Write and flush one line."""
        text = "  ".join(map(one_line, line.split("  ")))
        self._file.write(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}  {text}\n")
        self._file.flush()

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
