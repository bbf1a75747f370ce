"""The quality files of a folder of predictions; apart from the calibration, whose imports prediction does not need."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vesal.errors import VesalError
from vesal.files import read_json, write_json, write_text
from vesal.run_files import QUALITY, QUALITY_CSV
from vesal.table import Table
from vesal.text import listed

#: Seconds between two writes while scans are predicted: what a kill may lose. And what a write took, so many times: of
#: a hundred thousand cases it takes seconds.
_EVERY_S, _EVERY_WRITES = 10.0, 30.0

#: Values of an estimate that stand in the table, as `QualityEstimate.to_dict` names them.
_COLUMNS = ("verdict", "reason", "uncertainty", "threshold", "ood_score")


class QualityFiles:
    """quality.json and quality.csv of a folder of predictions, written while it grows.

    Attributes:
        rows: case -> `QualityEstimate.to_dict`; those of earlier runs into the same folder, too.
    """

    def __init__(self, folder: Path | None, classes: Sequence[str]) -> None:
        """Without a folder nothing is written."""
        self.rows: dict[str, dict[str, Any]] = {} if folder is None else _earlier(folder / QUALITY)
        self._folder, self._classes = folder, tuple(classes)
        self._written_s, self._took_s = time.monotonic(), 0.0

    @property
    def files(self) -> tuple[Path, ...]:
        """What is written."""
        return () if self._folder is None else (self._folder / QUALITY, self._folder / QUALITY_CSV)

    def flag(self, case: str, reason: str) -> None:
        """A case is to be reviewed for a reason that was found in the scan, whatever was estimated."""
        known = self.rows.get(case, dict.fromkeys(_COLUMNS) | {"predicted_dice": {}})
        reasons = [reason, *([known["reason"]] if known["verdict"] == "review" else [])]
        self.rows[case] = known | {"verdict": "review", "reason": "; ".join(reasons)}

    def is_estimated(self, case: str) -> bool:
        """Whether more is known of a case than what was found in its scan."""
        return self.rows.get(case, {}).get("uncertainty") is not None

    def drop_estimates(self, cases: Iterable[str]) -> None:
        """Forget what was estimated of results that are about to be replaced, and write that down: whatever ends the
        work, no estimate stands beside another result than its own.
        """
        gone = [case for case in cases if self.is_estimated(case)]
        for case in gone:
            del self.rows[case]
        if gone:
            self.save(last=True)

    def save(self, *, last: bool) -> None:
        """Write, if it is the last time or the last is some seconds ago."""
        began = time.monotonic()
        if not last and began - self._written_s < max(_EVERY_S, _EVERY_WRITES * self._took_s):
            return
        if self._folder is None or not (self.rows or self._folder.joinpath(QUALITY).exists()):
            return
        write_json(self._folder / QUALITY, {"version": 1, "cases": self.rows})
        dice = [(name, what) for name in self._classes for what in ("value", "low", "high")]
        names = [f"{name} {'dice' if what == 'value' else what}" for name, what in dice]
        names += [f"{name} ml" if what == "value" else f"{name} ml {what}" for name, what in dice]
        rows = []
        for case, row in self.rows.items():
            predicted = (row["predicted_dice"].get(name, {}).get(what) for name, what in dice)
            volumes = (row.get("volumes_ml", {}).get(name, {}).get(what) for name, what in dice)
            rows.append([case, *map(row.get, _COLUMNS), *predicted, *volumes])
        write_text(self._folder / QUALITY_CSV, Table.of(["case", *_COLUMNS, *names], rows).csv())
        self._written_s = time.monotonic()
        self._took_s = self._written_s - began

    def text(self, cases: Sequence[str]) -> str:
        """One line for a reader on some of the cases: how many are ok, which are not, and the Dice to be expected."""
        review = [case for case in cases if self.rows[case]["verdict"] == "review"]
        if not cases:
            return ""
        parts = [
            f"all {len(cases)} ok"
            if not review
            else f"review {len(review)} of {len(cases)} ({listed(review, 5)})"
        ]
        dice = [one["value"] for case in cases for one in self.rows[case]["predicted_dice"].values()]
        if dice:
            spread = f" ({min(dice):.2f} to {max(dice):.2f})" if len(dice) > 1 else ""
            parts.append(f"expected Dice {sum(dice) / len(dice):.2f}{spread}")
        if len(review) == 1 and self._folder is None:
            parts.append(f"why: {self.rows[review[0]]['reason']}")
        elif review:
            parts.append(f"why: {self.files[-1]}")
        return f"Quality: {'; '.join(parts)}"


def _earlier(path: Path) -> dict[str, dict[str, Any]]:
    """Rows of an earlier run; none where they cannot be read."""
    try:
        rows = read_json(path)["cases"]
        return {str(case): row for case, row in rows.items() if {*_COLUMNS, "predicted_dice"} <= set(row)}
    except (VesalError, KeyError, TypeError, AttributeError):
        return {}
