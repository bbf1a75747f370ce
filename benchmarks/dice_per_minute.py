"""The table of what the recipe reaches in how many minutes: real data, held-out scans, one run after the other.

    python -m benchmarks.dice_per_minute DATA --work FOLDER [ROW ...] [--table]

DATA is a folder of data sets as they are published. A row takes the time of its budget, and a few minutes more, for
each of its folds; all rows take about ten hours of a quiet machine. Rows that are done are not run again, and one
that was stopped goes on. Other work on the machine is measured beside each run, for it takes steps away.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.record import commit, machine, versions
from benchmarks.votes_within import cut, steps
from vesal.files import read_json, write_json

#: nnU-Net's Dice on the same task, and where it stands.
HIPPOCAMPUS = "0.890 (own five folds), 0.892 (52 other scans, two hours of an H100)"
HEART = "0.939 and 0.943 (two folds with 16 scans to train on, eight hours)"
ACDC = "0.915 (with twice the patients)"


@dataclass(frozen=True)
class Row:
    """One line of the table: a run of `vesal train`, of one fold or several.

    Attributes:
        data: folder of the data set, below the folder of all.
        budget: of each fold.
        folds: that are trained.
        settings: for `--set`.
        seed: of the weights and batches of its first network.
        beside: nnU-Net's value.
        within: a longer row whose first networks are those of this one (benchmarks/votes_within.py); then nothing is
            trained but that.
        networks: of the longer row, from 1.
    """

    data: str
    budget: str
    folds: tuple[int, ...]
    settings: tuple[str, ...] = ()
    seed: int = 0
    beside: str = ""
    within: str = ""
    networks: tuple[int, ...] = ()

    def command(self, data: Path, out: Path, fold: int, *, resume: bool) -> list[str]:
        """The arguments of `vesal`."""
        begin = ["train", str(data / self.data), "-o", str(out)]
        if resume:
            return [*begin, "--resume", "--fold", str(fold)]
        sets = [part for setting in self.settings for part in ("--set", setting)]
        return [*begin, "--fold", str(fold), "--budget", self.budget, "--device", "cpu", *sets]


def _within(name: str, row: Row, task: str, count: int) -> dict[str, Row]:
    """A row of so many networks, the shorter rows that lie within it, and 20 minutes with another seed.

    In two stages the locator of the longer run takes one to three minutes more, and its networks up to 4 % more.
    """
    parts = {f"{task}-{20 * last}m": tuple(range(1, last + 1)) for last in range(1, count)}
    parts[f"{task}-20m-seed-1"] = (2,)
    shorter = {
        part: replace(
            row, budget=f"{20 * len(networks)}m", within=name, networks=networks, seed=networks[0] - 1
        )
        for part, networks in parts.items()
    }
    return {name: row, **shorter}


#: Folds 1 and 2 of the heart hold out eight different scans; two of fold 0 are the same one.
ROWS: dict[str, Row] = {
    **_within(
        "hippocampus-80m", Row("Task04_Hippocampus", "80m", (0,), beside=HIPPOCAMPUS), "hippocampus", 4
    ),
    "hippocampus-20m": Row("Task04_Hippocampus", "20m", (0,), beside=HIPPOCAMPUS),
    "hippocampus-5m": Row("Task04_Hippocampus", "5m", (0,), beside=HIPPOCAMPUS),
    "hippocampus-10m": Row("Task04_Hippocampus", "10m", (0,), beside=HIPPOCAMPUS),
    **_within("acdc-80m", Row("ACDC/training", "80m", (0,), ("folds=4",), beside=ACDC), "acdc", 4),
    "acdc-5m-one-stage": Row("ACDC/training", "5m", (0,), ("folds=4", "plan.locate=false"), beside=ACDC),
    "acdc-5m": Row("ACDC/training", "5m", (0,), ("folds=4",), beside=ACDC),
    "acdc-10m": Row("ACDC/training", "10m", (0,), ("folds=4",), beside=ACDC),
    "acdc-30m": Row("ACDC/training", "30m", (0,), ("folds=4",), beside=ACDC),
    **_within("heart-60m", Row("Task02_Heart", "60m", (1, 2), ("folds=3",), beside=HEART), "heart", 3),
    "heart-20m": Row("Task02_Heart", "20m", (1, 2), ("folds=3",), beside=HEART),
    "heart-20m-one-stage": Row("Task02_Heart", "20m", (1, 2), ("folds=3", "plan.locate=false"), beside=HEART),
    **_within("prostate-40m", Row("Task05_Prostate", "40m", (0, 1), ("folds=2",)), "prostate", 2),
    **_within("brats-40m", Row("BraTS2018", "40m", (0, 1, 2, 3), ("folds=4",)), "brats", 2),
}


def _busy_s() -> float:
    """Seconds of all CPUs that were not idle, since the system began."""
    numbers = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    idle = numbers[3] + numbers[4]
    # The last two, guests' time, are within the first.
    return (sum(numbers[:8]) - idle) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def measured(file: Path, about: dict[str, Any]) -> Iterator[None]:
    """Add to a list in a file how long the block took, what it used, and what others used meanwhile."""
    began, busy, own = time.time(), _busy_s(), _own_s()
    try:
        yield
    finally:
        wall, mine = time.time() - began, _own_s() - own
        others = max(0.0, _busy_s() - busy - mine)
        found = {"seconds": round(wall), "cpu_s": round(mine), "others": round(others / max(1.0, wall), 3)}
        write_json(file, [*(read_json(file) if file.exists() else []), about | found])


def run(name: str, data: Path, work: Path) -> None:
    """Train what of a row is not done.

    Raises:
        CalledProcessError: a run failed; its log is beside it.
    """
    row, out = ROWS[name], work / name
    if row.within:
        run(row.within, data, work)
    for fold in row.folds:
        if (out / f"fold_{fold}" / "finished.json").exists():
            continue
        if row.within:
            cut(work / row.within, fold, row.networks, out)
            continue
        resume = (out / "config.yaml").exists()
        command = row.command(data, out, fold, resume=resume)
        print(f"{time.strftime('%H:%M')} vesal {' '.join(command)}", flush=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        about = {"fold": fold, "resumed": resume, "commit": commit(), "machine": machine()}
        with measured(work / f"{name}.runs.json", about), (work / f"{name}.log").open("a") as log:
            subprocess.run([sys.executable, "-m", "vesal.cli", *command], stdout=log, stderr=log, check=True)


def line(name: str, work: Path) -> str | None:
    """The row of the table; None where it is not done."""
    row, out = ROWS[name], work / name
    if not all((out / f"fold_{fold}" / "finished.json").exists() for fold in row.folds):
        return None
    scores = read_json(out / "scores.json")
    dice = [of for of in scores["summary"] if of["metric"] == "dice"]
    cells = {of["class"]: f"{of['mean']:.4f} [{of['low']:.3f}, {of['high']:.3f}]" for of in dice}
    mean = cells.pop("mean", None) or next(iter(cells.values()))
    classes = ", ".join(f"{key} {value}" for key, value in cells.items())
    source, networks = work / (row.within or name), row.networks or None
    took = ", ".join(f"{steps(source / f'fold_{fold}', networks):,}" for fold in row.folds)
    runs = work / f"{row.within or name}.runs.json"
    others = f"{max(of['others'] for of in read_json(runs)):.0%}" if runs.exists() else "not measured"
    return (
        f"| {name} | {row.budget} | {dice[-1]['count']} | {mean} | "
        f"{classes} | {took} | {others} | {row.beside} |"
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("rows", nargs="*", help=f"some of {', '.join(ROWS)}; all by default")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--table", action="store_true", help="only print the table of what is done")
    chosen = parser.parse_intermixed_args()
    for name in () if chosen.table else chosen.rows or ROWS:
        run(name, chosen.data, chosen.work)
    print(machine(), versions(), "", sep="\n")
    print("| run | budget | cases | Dice | classes | steps of the folds | other work, of a core | nnU-Net |")
    print("|---|---|---|---|---|---|---|---|")
    for found in filter(None, (line(name, chosen.work) for name in ROWS)):
        print(found)


if __name__ == "__main__":
    main()
