"""The quality files of a folder of predictions; apart from the calibration, whose imports prediction does not need."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vesal.errors import VesalError
from vesal.files import read_json, write_json, write_text
from vesal.run_files import QUALITY, QUALITY_CSV
from vesal.table import Table
from vesal.text import listed

#: Seconds between two writes while scans are predicted: what a kill may lose.
_EVERY_S = 10.0

#: Values of an estimate that stand in the table, as `QualityEstimate.to_dict` names them.
_COLUMNS = ("verdict", "reason", "uncertainty", "threshold", "ood_score")


class QualityFiles:
    """quality.json and quality.csv of a folder of predictions, written while it grows.

    Attributes:
        rows: case -> `QualityEstimate.to_dict`; with `earlier` those of an earlier run of the same folder, too.
    """

    def __init__(self, folder: Path, classes: Sequence[str], *, earlier: bool) -> None:
        self.rows: dict[str, dict[str, Any]] = _earlier(folder / QUALITY) if earlier else {}
        self._folder, self._classes = folder, tuple(classes)
        self._written_s = time.monotonic()

    def save(self, *, last: bool) -> None:
        """Write, if it is the last time or the last is some seconds ago."""
        if not last and time.monotonic() - self._written_s < _EVERY_S:
            return
        write_json(self._folder / QUALITY, {"version": 1, "cases": self.rows})
        dice = [(name, what) for name in self._classes for what in ("value", "low", "high")]
        names = [f"{name} {'dice' if what == 'value' else what}" for name, what in dice]
        rows = []
        for case, row in self.rows.items():
            predicted = (row["predicted_dice"].get(name, {}).get(what) for name, what in dice)
            rows.append([case, *map(row.get, _COLUMNS), *predicted])
        write_text(self._folder / QUALITY_CSV, Table.of(["case", *_COLUMNS, *names], rows).csv())
        self._written_s = time.monotonic()

    def text(self) -> str:
        """One line for a reader."""
        review = [case for case, row in self.rows.items() if row["verdict"] == "review"]
        if not self.rows:
            return ""
        if not review:
            return f"Quality: all {len(self.rows)} ok"
        return (
            f"Quality: review {len(review)} of {len(self.rows)} ({listed(review, 5)}); "
            f"why: {self._folder / QUALITY_CSV}"
        )


def _earlier(path: Path) -> dict[str, dict[str, Any]]:
    """Rows of an earlier run; none where they cannot be read."""
    try:
        rows = read_json(path)["cases"]
        return {str(case): row for case, row in rows.items() if {*_COLUMNS, "predicted_dice"} <= set(row)}
    except (VesalError, KeyError, TypeError, AttributeError):
        return {}
