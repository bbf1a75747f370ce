"""Vesal beside nnU-Net and MONAI: the same machine, data, networks and weights, in turn.

python -m benchmarks.beside [PART ...] --data FOLDER [--runs 5] [--runs-heart 3]

FOLDER holds Task04_Hippocampus and Task02_Heart of the Medical Segmentation Decathlon. Every measurement is kept in
WORK/results.json as it comes: a bench that was stopped goes on where it was, and --fresh measures the parts anew.
The table is written from that file. The first bench also plans and prepares with nnU-Net and trains for some minutes
the networks that both tools then predict with; they are kept in WORK.
"""

from __future__ import annotations

import argparse
import datetime
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.parts import MIRRORED_HEART, PARTS, Comparison, Setup
from benchmarks.record import record
from benchmarks.results import Results

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Chosen:
    """What was asked for.

    Attributes:
        parts: names in `PARTS`.
        runs, runs_heart: of each side; of predictions that take minutes.
        fresh: what was measured before does not count.
    """

    parts: list[str]
    runs: int
    runs_heart: int
    fresh: bool = False


def take_turns(results: Results, comparison: Comparison, runs: int, say: Callable[[str], None]) -> None:
    """Measure all sides of a comparison, one after the other, so many times; what was measured before counts."""
    with comparison.opened() as sides:
        for number in range(runs):
            for side, measure in sides.items():
                if len(results.of(comparison.row, side)) > number:
                    continue
                began = time.monotonic()
                measured = measure()
                results.add(comparison.row, side, measured)
                say(
                    f"{comparison.row}: {side} {number + 1} of {runs}: {measured['seconds']:.2f} s"
                    f" ({time.monotonic() - began:.0f} s with its preparations)"
                )
    results.note(comparison.row, comparison.notes(results.runs[comparison.row]))


def measure_all(setup: Setup, chosen: Chosen, results: Results, say: Callable[[str], None]) -> None:
    """All chosen parts, in the order of `PARTS`."""
    for name, part in PARTS.items():
        if name not in chosen.parts:
            continue
        say(f"== {name}")
        runs = chosen.runs_heart if "heart" in name and name.startswith("predict") else chosen.runs
        for comparison in part(setup):
            if chosen.fresh:
                results.forget(comparison.row)
            take_turns(results, comparison, runs, say)


def main() -> None:
    """Measure what is missing, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    standard = [name for name in PARTS if name != MIRRORED_HEART]
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"all of: {', '.join(standard)}")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / ".bench", help="scratch: what is worth keeping")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--runs-heart", type=int, default=3, help="of predictions that take minutes")
    parser.add_argument("--mirrored-heart", action="store_true", help="also predict the heart with mirroring")
    parser.add_argument("--fresh", action="store_true", help="measure the parts anew")
    parser.add_argument("--table-only", action="store_true", help="write the table from what was measured")
    today = datetime.date.today().isoformat()
    parser.add_argument("--out", type=Path, default=ROOT / "records" / f"{today}-beside-nnunet.md")
    asked = parser.parse_args()
    for name in asked.parts:
        if name not in PARTS:
            parser.error(f"there is no part {name}; they are {', '.join(PARTS)}")
    for task in ("Task04_Hippocampus", "Task02_Heart"):
        if not (asked.data / task / "dataset.json").exists():
            parser.error(
                f"{asked.data} holds no {task}; name the folder that does with --data (make bench DATA=...)"
            )
    parts = list(asked.parts) or standard
    if asked.mirrored_heart and MIRRORED_HEART not in parts:
        parts.append(MIRRORED_HEART)

    def say(line: str) -> None:
        print(f"[{datetime.datetime.now():%H:%M:%S}] {line}", flush=True)

    # So that what is being measured ends too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    work = asked.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    results = Results.open(work / "results.json")
    place = Setup(asked.data.resolve(), work, say)
    if not asked.table_only:
        measure_all(place, Chosen(parts, asked.runs, asked.runs_heart, asked.fresh), results, say)
    command = f"make bench  # python -m benchmarks.beside {' '.join(sys.argv[1:])}".rstrip()
    asked.out.write_text(record(results, command))
    say(f"Table: {asked.out}")


if __name__ == "__main__":
    main()
