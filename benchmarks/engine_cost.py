"""What an engine costs by itself: for each scan, for the record of a hundred thousand, and with 64 workers.

    python -m benchmarks.engine_cost [--items 2000] [--rows 100000] [--workers 64] [--engines local,ray]

The predictor is empty: a worker answers at once what a prediction would answer, so that what is left is the engine.
Then 64 workers of this machine sleep for as long as a scan would take: they share its processors, which a cluster's do
not. The record, the parts of it at an address, the names of the scans and the notes of the results' folder are those
that `vesal predict` keeps, of made-up cases.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.record import machine, versions
from vesal.data.dataset import Case
from vesal.data.labels import LabelSet
from vesal.engine.local_engine import LocalEngine
from vesal.engine.outcome import Engine, Outcome
from vesal.outputs import OutputFolder
from vesal.run_files import COHORT, COHORT_CSV, COHORT_PARQUET, COHORT_PARTS, OUTPUTS, QUALITY
from vesal.workflow.prediction.case_predictor import CaseResult, Entry
from vesal.workflow.prediction.cohort_record import CohortRecord
from vesal.workflow.prediction.predict_targets import Target
from vesal.workflow.prediction.quality_files import QualityFiles
from vesal.workflow.prediction.stored_files import StoredFile, StoredFolder
from vesal.workflow.prediction.stored_record import StoredRecord
from vesal.workflow.prediction.stored_scans import scans_at

CLASSES = ("anterior", "posterior")
#: Seconds that a scan takes in the simulation, and scans of each worker.
SLEEP_S, EACH = 0.5, 20


def result(number: int) -> CaseResult:
    """What a prediction with a quality estimate finds in a scan."""
    dice = {name: {"value": 0.8876, "low": 0.8301, "high": 0.9312} for name in CLASSES}
    quality = {
        "verdict": "ok", "reason": "", "uncertainty": 0.0312, "threshold": 0.61, "ood_score": 0.2345,
        "predicted_dice": dice,
    }  # fmt: skip
    return CaseResult(f"{number:032x}", "", quality, dict.fromkeys(CLASSES, 1.2345))


@dataclass(frozen=True)
class Empty:
    """A predictor that does nothing, or sleeps."""

    sleep_s: float = 0.0

    def __call__(self) -> Callable[[Entry], CaseResult]:
        def predict(entry: Entry) -> CaseResult:
            time.sleep(self.sleep_s)
            return result(len(entry[0].id))

        return predict


def entries(count: int) -> list[Entry]:
    """Cases that are nowhere, with the files that they would become."""
    names = [f"hippocampus_{number:06}" for number in range(count)]
    folder = Path("/data/cohort")
    return [
        (Case(id=name, images=(folder / f"{name}.nii.gz",), patient=name), Target(folder / name, None, {}))
        for name in names
    ]


def rate(engine: Engine, count: int, sleep_s: float = 0.0) -> tuple[float, float]:
    """(seconds until the first outcome, seconds for each of the others)."""
    began, first = time.perf_counter(), 0.0
    with closing(engine.run(Empty(sleep_s), entries(count))) as outcomes:
        for number, outcome in enumerate(outcomes):
            assert not outcome.failed, outcome.reason
            first = first or time.perf_counter()
            last = number
    return first - began, (time.perf_counter() - first) / last


@contextmanager
def timed(what: str, count: int) -> Iterator[None]:
    """A line with the seconds, and microseconds for each of so many."""
    began = time.perf_counter()
    yield
    seconds = time.perf_counter() - began
    print(f"| {what} | {seconds:.2f} | {1e6 * seconds / count:.0f} |", flush=True)


def outcome_of(number: int) -> Outcome:
    """As a worker would send it."""
    return Outcome(number, result(number), seconds=10.0, peak_bytes=800_000_000, worker="node-17:4242")


def size(path: Path) -> str:
    """In MB."""
    return f"{path.stat().st_size / 1e6:.1f} MB" if path.exists() else "not there"


def on_disk(folder: Path, count: int) -> None:
    """The record of so many cases in a folder."""
    cases = [f"hippocampus_{number:06}" for number in range(count)]
    output = OutputFolder(folder)
    record = CohortRecord(folder, CLASSES)
    record.begin(output, cases)
    with timed("a line of cohort.jsonl for each case", count):
        for number, case in enumerate(cases):
            record.add(case, outcome_of(number))
    with timed("cohort.csv and cohort.parquet, once", count):
        record.save(cases)
    made_of = {"model": "a" * 32, "threshold": 0.5, "overlap": 0.5, "mirror": False, "least Dice": 0.5}
    with timed("a line of the folder's record for each case", count):
        for number, case in enumerate(cases):
            output.finish(f"{case}.nii.gz", made_of | {"scan": f"{number:032x}"}, ())
    quality = QualityFiles(folder, CLASSES)
    quality.rows = record.quality
    with timed("quality.json and quality.csv, each time", count):
        quality.save(last=True)
    with timed("reading the record again, to resume", count):
        CohortRecord(folder, CLASSES)
        OutputFolder(folder)
    names = (COHORT, COHORT_CSV, COHORT_PARQUET, OUTPUTS, QUALITY)
    print("", ", ".join(f"{name} {size(folder / name)}" for name in names), "", sep="\n")


def at_an_address(folder: Path, count: int) -> None:
    """The same at an address, of a storage that answers at once: this disk."""
    out, cases = StoredFolder(f"file://{folder}/out"), [f"hippocampus_{number:06}" for number in range(count)]
    made_of = {"model": "a" * 32, "threshold": 0.5, "scan": [["x.nii.gz", 8_000_000, "1796025600.123456"]]}
    copies = [folder / "copy", folder / "again"]
    for copy in copies:
        copy.mkdir(parents=True)
    record = StoredRecord(out, copies[0], CLASSES)
    record.begin(cases, [f"{case}.nii.gz" for case in cases])
    with timed("at an address: each case", count):
        for number, case in enumerate(cases):
            file = StoredFile(200_000, f'"{number:032x}"')
            record.add(case, outcome_of(number), made_of, {f"{case}.nii.gz": file})
    record.flush()
    parts = len(list((folder / "out" / COHORT_PARTS).iterdir()))
    with timed("at an address: opening what a kill left, to resume", count):
        StoredRecord(out, copies[1], CLASSES)
    with timed("at an address: the whole record and the tables, once", count):
        record.end(cases)
    print("", f"{parts} parts; {COHORT} {size(folder / 'out' / COHORT)}", "", sep="\n")


def names(folder: Path, count: int) -> None:
    """Recognising so many scans by the names of a listing."""
    (folder / "scans").mkdir()
    for number in range(count):
        (folder / "scans" / f"hippocampus_{number:06}.nii.gz").touch()
    labels = LabelSet.from_values({"background": 0, "anterior": 1, "posterior": 2})
    with timed("at an address: recognising the scans of a listing", count):
        found = scans_at([f"file://{folder}/scans"], 1, labels, folder / "names")
    assert len(found) == count


def ray_engine(workers: int) -> Engine:
    """On a Ray of this machine."""
    from vesal.engine.ray_engine import RayEngine

    return RayEngine(workers=workers)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--engines", default="local,ray")
    chosen = parser.parse_args()
    print(machine(), versions(), "", sep="\n")
    kinds: dict[str, Callable[[int], Any]] = {"local": LocalEngine, "ray": ray_engine}
    print(
        "| engine, empty predictor | until the first answer (s) | for each scan (ms) |",
        "|---|---|---|",
        sep="\n",
    )
    for name in filter(None, chosen.engines.split(",")):
        for workers in (1, 2):
            begun, each = rate(kinds[name](workers), chosen.items)
            print(f"| {name}, {workers} | {begun:.2f} | {1e3 * each:.2f} |", flush=True)
    count = chosen.workers * EACH
    begun, each = rate(LocalEngine(chosen.workers), count, SLEEP_S)
    best = SLEEP_S / chosen.workers
    print(
        "", f"{chosen.workers} workers that take {SLEEP_S} s for a scan, {count} scans: {1 / each:.1f} scans a second "
        f"of {1 / best:.0f} that the workers could do ({100 * best / each:.0f} %); the first after {begun:.1f} s.",
        "", sep="\n", flush=True,
    )  # fmt: skip
    print(f"| record of {chosen.rows:,} cases | seconds | for each (us) |", "|---|---|---|", sep="\n")
    with tempfile.TemporaryDirectory(prefix="vesal-engine-cost-") as name:
        on_disk(Path(name) / "disk", chosen.rows)
        at_an_address(Path(name) / "address", chosen.rows)
        names(Path(name), chosen.rows)


if __name__ == "__main__":
    main()
