"""quality.json and quality.csv of a folder of predictions: how far to trust each."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vesal.errors import VesalError
from vesal.files import read_json, write_json, write_text
from vesal.infer.quality.estimate import Judgement
from vesal.run_files import QUALITY, QUALITY_CSV

#: Seconds between two writes while scans are predicted: what a kill may lose.
_EVERY_S = 10.0


class QualityFiles:
    """What is said of each scan, written while it grows.

    Attributes:
        rows: case -> `Judgement.to_dict`.

    Args:
        folder: of the predictions.
        classes: of the model.
        earlier: keep what an earlier run of the same folder has said.
    """

    def __init__(self, folder: Path, classes: Sequence[str], *, earlier: bool) -> None:
        self.rows: dict[str, dict[str, Any]] = _earlier(folder / QUALITY) if earlier else {}
        self._folder, self._classes = folder, tuple(classes)
        self._written_s = time.monotonic()

    def __contains__(self, case: object) -> bool:
        return case in self.rows

    def note(self, case: str, judgement: Judgement) -> None:
        self.rows[case] = judgement.to_dict()

    def save(self, *, last: bool) -> None:
        """Write, if it is the last time or the last is some seconds ago."""
        if not last and time.monotonic() - self._written_s < _EVERY_S:
            return
        write_json(self._folder / QUALITY, {"version": 1, "cases": self.rows})
        write_text(self._folder / QUALITY_CSV, self._table())
        self._written_s = time.monotonic()

    def _table(self) -> str:
        """One line a case."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        dice = [f"{name} {what}" for name in self._classes for what in ("dice", "low", "high")]
        writer.writerow(["case", "verdict", "reason", "doubt", "threshold", "unlikeness", *dice])
        for case, row in self.rows.items():
            of = row["predicted_dice"]
            found = [
                of.get(name, {}).get(what, "") for name in self._classes for what in ("value", "low", "high")
            ]
            told = [row[key] for key in ("verdict", "reason", "doubt", "threshold", "unlikeness")]
            writer.writerow([case, *told, *found])
        return stream.getvalue()

    def text(self) -> str:
        """One line for a reader."""
        review = [case for case, row in self.rows.items() if row["verdict"] == "review"]
        if not self.rows:
            return ""
        if not review:
            return f"Quality: all {len(self.rows)} ok"
        named = ", ".join(review[:5]) + (f" and {len(review) - 5} more" if len(review) > 5 else "")
        return (
            f"Quality: review {len(review)} of {len(self.rows)} ({named}); why: {self._folder / QUALITY_CSV}"
        )


def _earlier(path: Path) -> dict[str, dict[str, Any]]:
    """Rows of an earlier run; none where they cannot be read."""
    try:
        rows = read_json(path)["cases"]
        wanted = {"verdict", "reason", "doubt", "threshold", "unlikeness", "predicted_dice"}
        return {str(case): row for case, row in rows.items() if wanted <= set(row)}
    except (VesalError, KeyError, TypeError, AttributeError):
        return {}
