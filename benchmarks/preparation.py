"""How long fingerprint, plan and preparation of a data set take.

python -m benchmarks.preparation --data FOLDER [--runs 5] [NAME ...]

FOLDER holds data sets by name (Task04_Hippocampus, Task02_Heart). Each run prepares into a new, empty cache;
the files are warm in the system's cache after the first.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from vesal.data.fingerprint import fingerprint
from vesal.data.layouts import load_dataset
from vesal.data.planner import make_plan
from vesal.data.prepare import prepare_dataset

NAMES = ("Task04_Hippocampus", "Task02_Heart")


def one_run(folder: Path) -> tuple[float, float, float, int]:
    """Seconds of reading (layout and fingerprint), planning and preparation, and the number of cases."""
    began = time.perf_counter()
    dataset = load_dataset(folder)
    record = fingerprint(dataset)
    read = time.perf_counter()
    plan = make_plan(record, dataset.labels, budget_s=20 * 60, device="cpu")
    planned = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        ready, failed = prepare_dataset(dataset.cases, plan, Path(cache))
        prepared = time.perf_counter()
    assert not failed, failed
    return read - began, planned - read, prepared - planned, len(ready)


def main() -> None:
    """Print one row a data set: medians, and the range of the sum."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("names", nargs="*", default=list(NAMES))
    chosen = parser.parse_args()
    print("| data set | cases | fingerprint (s) | plan (s) | preparation (s) | sum (s) | range |")
    print("|---|---|---|---|---|---|---|")
    for name in chosen.names:
        runs = [one_run(chosen.data / name) for _ in range(chosen.runs)]
        sums = [sum(run[:3]) for run in runs]
        parts = " | ".join(f"{statistics.median(run[i] for run in runs):.2f}" for i in range(3))
        print(
            f"| {name} | {runs[0][3]} | {parts} | {statistics.median(sums):.2f} | {min(sums):.2f} to {max(sums):.2f} |"
        )


if __name__ == "__main__":
    main()
