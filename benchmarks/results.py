"""What was measured: kept in a file as it comes, and the arithmetic of the table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: The side that all others are compared with.
OURS = "Vesal"


@dataclass
class Results:
    """Measurements by row and side, in a JSON file that is written anew after each of them.

    Attributes:
        file: where they are kept.
        runs: row -> side -> measurements in the order of the runs.
        notes: row -> lines for under the table.
    """

    file: Path
    runs: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def open(cls, file: Path) -> Results:
        """What the file holds; empty where there is none."""
        if not file.exists():
            return cls(file)
        held = json.loads(file.read_text())
        return cls(file, held["runs"], held["notes"])

    def of(self, row: str, side: str) -> list[dict[str, Any]]:
        """Measurements of one side so far."""
        return self.runs.setdefault(row, {}).setdefault(side, [])

    def add(self, row: str, side: str, measured: dict[str, Any]) -> None:
        """Keep a measurement."""
        self.of(row, side).append(measured)
        self.save()

    def forget(self, row: str) -> None:
        """Leave out what was measured of a row."""
        self.runs.pop(row, None)
        self.notes.pop(row, None)
        self.save()

    def note(self, row: str, lines: Sequence[str]) -> None:
        """Keep the lines for under the table."""
        self.notes[row] = list(lines)
        self.save()

    def save(self) -> None:
        """Write the file, whole or not at all."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.file.with_suffix(".tmp")
        temporary.write_text(json.dumps({"runs": self.runs, "notes": self.notes}, indent=1))
        temporary.replace(self.file)


@dataclass(frozen=True)
class Ratio:
    """How many times as much the other side took: of the medians, and from the least to the most of the pairs."""

    of_medians: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.of_medians:.2f} ({self.least:.2f} to {self.most:.2f})"


def ratio(other: Sequence[float], ours: Sequence[float]) -> Ratio:
    """Compare runs that were taken in turn, so that the i-th of both saw the same machine.

    Raises:
        ValueError: the numbers of runs differ, or there is none.

    >>> str(ratio([6.0, 9.0, 8.0], [2.0, 2.0, 4.0]))
    '4.00 (2.00 to 4.50)'
    """
    if not ours or len(ours) != len(other):
        raise ValueError(f"{len(other)} runs cannot be paired with {len(ours)}")
    pairs = [one / two for one, two in zip(other, ours, strict=True)]
    return Ratio(statistics.median(other) / statistics.median(ours), min(pairs), max(pairs))


def median_and_range(values: Sequence[float], digits: int = 3) -> str:
    """The median, and in brackets the least and the most.

    >>> median_and_range([1.0, 1.5, 12.25])
    '1.5 (1 to 12.2)'
    """
    return (
        f"{short(statistics.median(values), digits)} "
        f"({short(min(values), digits)} to {short(max(values), digits)})"
    )


def short(value: float, digits: int = 3) -> str:
    """A number with so many digits that tell something, never in powers of ten.

    >>> short(0.01234), short(1234.5), short(2.0)
    ('0.0123', '1234', '2')
    """
    return f"{value:.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def rows(results: Results) -> list[list[str]]:
    """The table's cells: row, side, runs, seconds, ratio to ours, peak MB, ratio of the peaks."""
    table = []
    for row, sides in results.runs.items():
        ours = sides.get(OURS, [])
        for side, measured in sides.items():
            if not measured:
                continue
            seconds = [one["seconds"] for one in measured]
            peaks = [one["peak_mb"] for one in measured if "peak_mb" in one]
            cells = [row, side, str(len(seconds)), median_and_range(seconds), "", "", ""]
            if side != OURS and ours:
                paired = min(len(seconds), len(ours))
                cells[4] = str(ratio(seconds[:paired], [one["seconds"] for one in ours[:paired]]))
            if peaks:
                cells[5] = short(statistics.median(peaks), 4)
                our_peaks = [one["peak_mb"] for one in ours if "peak_mb" in one]
                if side != OURS and our_peaks:
                    cells[6] = f"{statistics.median(peaks) / statistics.median(our_peaks):.2f}"
            table.append(cells)
    return table


HEADER = (
    "what", "side", "runs", "seconds: median (range)", "times Vesal's: of medians (pairs)", "peak MB", "times Vesal's",
)  # fmt: skip


def markdown(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A table.

    >>> print(markdown(["a", "b"], [["1", "x|y"]]))
    | a | b |
    |---|---|
    | 1 | x\\|y |
    """
    lines = [header, ["---"] * len(header), *cells]
    escaped = ["|".join(_cell(cell) for cell in line) for line in lines]
    return "\n".join(f"|{line}|" for line in escaped)


def _cell(text: str) -> str:
    return text if text == "---" else " " + text.replace("|", "\\|") + " "
