"""A cohort by the engines: the same masks, how much faster than one process, and what broken scans and lost nodes cost.

    python -m benchmarks.many_scans MODEL SCANS [--scans 600] [--work FOLDER] [--precision 32]

MODEL is a model file and SCANS a folder of scans for it, taken again under other names until there are enough. Three
of them are planted broken, one is larger than the memory that a worker may take. `local` has two workers; `ray` is a
head and two nodes of one processor each on this machine: once left alone, and once with one of the two killed midway,
after which one processor is left. Beside them stand one `vesal predict`, which reads, computes and writes at the same
time, and a loop over the scans as the README shows it in Python, with the estimate of quality. In another precision
than 32 the masks of one process, whose threads add in another order, may differ from those of the engines; with
--precision 32 it computes with one thread, as each worker does, and every mask has to be the same.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from benchmarks.record import machine, versions

#: What a worker may take, and the sides of the scan that needs more.
WORKER_RAM, LARGE = "1500M", 640
#: The plain loop: MODEL SCANS OUT PRECISION.
LOOP = """
import sys
from pathlib import Path
import vesal
model = vesal.load_model(sys.argv[1], device="cpu", backend="torch", precision=sys.argv[4])
for scan in sorted(Path(sys.argv[2]).iterdir()):
    prediction = model.predict(vesal.read_volume(scan), quality=True)
    vesal.write_label(Path(sys.argv[3]) / scan.name, prediction.label)
"""
BROKEN = ("broken-cut", "broken-header", "broken-empty")
TOO_LARGE = "too-large"


@dataclass(frozen=True)
class Found:
    """What a run made.

    Attributes:
        seconds: from start to end.
        masks: name -> bytes.
        rows: case -> its row of cohort.csv; nothing of a run without an engine.
    """

    seconds: float
    masks: dict[str, bytes]
    rows: dict[str, dict[str, str]]


def plant(scans: Path, folder: Path, count: int) -> None:
    """So many scans under names of their own, three broken ones, and one that is too large."""
    found = sorted(path for path in scans.iterdir() if path.name.endswith(".nii.gz") and path.name[0] != ".")
    folder.mkdir()
    for number in range(count):
        source = found[number % len(found)]
        shutil.copy(source, folder / f"{source.name.removesuffix('.nii.gz')}-{number // len(found)}.nii.gz")
    good = found[0].read_bytes()
    (folder / f"{BROKEN[0]}.nii.gz").write_bytes(good[: len(good) // 2])
    (folder / f"{BROKEN[1]}.nii").write_bytes(b"\x5c\x01" + bytes(400))
    (folder / f"{BROKEN[2]}.nii.gz").write_bytes(b"")
    # Noise, for a scan that packs to a thousandth is refused as one that is made to fill the memory.
    noise = np.random.default_rng(0).integers(0, 255, (LARGE,) * 3, dtype=np.uint8)
    nib.save(nib.Nifti1Image(noise, np.eye(4)), folder / f"{TOO_LARGE}.nii")


def predict(model: Path, scans: Path, out: Path, options: Sequence[str], threads: int | None = None) -> Found:
    """`vesal predict`, as a user calls it, with so many threads."""
    command = [sys.executable, "-m", "vesal", "predict", str(model), str(scans), "-o", str(out)]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, "--backend", "torch", "--device", "cpu", *options],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)}),
    )
    seconds = time.perf_counter() - began
    print(done.stdout, flush=True)
    if "Traceback" in done.stderr:
        sys.exit(done.stderr)
    rows: dict[str, dict[str, str]] = {}
    with suppress(OSError), (out / "cohort.csv").open(newline="") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    masks = {path.name: path.read_bytes() for path in sorted(out.glob("*.nii*"))}
    return Found(seconds, masks, rows)


def looped(model: Path, scans: Path, out: Path, precision: str, threads: int | None) -> float:
    """Seconds of the plain loop, from the start of its process to the end."""
    out.mkdir()
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", LOOP, str(model), str(scans), str(out), precision],
        check=True,
        env=os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)}),
    )
    return time.perf_counter() - began


def on_ray(model: Path, scans: Path, out: Path, kill_after: int | None, options: Sequence[str]) -> Found:
    """On a head without processors and two nodes, the second of which is killed when so many are done."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        lost = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        if kill_after is not None:
            record = out / "cohort.jsonl"
            threading.Thread(target=_kill, args=(cluster, lost, record, kill_after), daemon=True).start()
        return predict(
            model,
            scans,
            out,
            ["--engine", "ray", "--ray-address", cluster.address, "--worker-ram", WORKER_RAM, *options],
        )
    finally:
        cluster.shutdown()


def _kill(cluster: Any, node: Any, record: Path, after: int) -> None:
    while not record.exists() or record.read_bytes().count(b"\n") <= after:
        time.sleep(0.1)
    cluster.remove_node(node, allow_graceful=False)
    print(f"A node is killed after {after} scans.", flush=True)


def describe(name: str, found: Found, alone: Found, loop_s: float) -> list[str]:
    """A line of the table, and what is not as it should be."""
    wrong = [] if found.masks == alone.masks else ["other masks"]
    states = Counter(row["status"] for row in found.rows.values())
    failed = {case for case, row in found.rows.items() if row["status"] == "failed"}
    if failed != {*BROKEN, TOO_LARGE}:
        wrong.append(f"failed: {sorted(failed)}")
    tries = Counter(row["tries"] for row in found.rows.values())
    print(
        f"| {name} | {found.seconds:.1f} | {len(found.masks) / found.seconds:.1f} | "
        f"{alone.seconds / found.seconds:.2f} | {loop_s / found.seconds:.2f} | "
        f"{dict(states)} | {dict(tries)} | {'; '.join(wrong) or 'nothing'} |"
    )
    return wrong


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("scans_of", type=Path, metavar="SCANS")
    parser.add_argument("--scans", type=int, default=600)
    parser.add_argument(
        "--work", type=Path, help="a folder that is not there yet; a temporary one by default"
    )
    parser.add_argument("--precision", default="auto")
    chosen = parser.parse_args()
    precision = ["--precision", chosen.precision]
    work = chosen.work or Path(tempfile.mkdtemp(prefix="vesal-many-scans-"))
    work.mkdir(exist_ok=True)
    plant(chosen.scans_of, work / "scans", chosen.scans)
    good = work / "good"
    good.mkdir()
    for path in (work / "scans").iterdir():
        if path.name.split(".")[0] not in (*BROKEN, TOO_LARGE):
            os.link(path, good / path.name)
    one = 1 if chosen.precision == "32" else None
    loop_s = looped(chosen.model, good, work / "loop", chosen.precision, one)
    alone = predict(chosen.model, good, work / "alone", precision, one)
    local = predict(
        chosen.model, work / "scans", work / "local",
        ["--engine", "local", "--workers", "2", "--worker-ram", WORKER_RAM, *precision],
    )  # fmt: skip
    whole = on_ray(chosen.model, work / "scans", work / "ray", None, precision)
    halved = on_ray(chosen.model, work / "scans", work / "ray-halved", chosen.scans // 3, precision)
    print(machine(), versions(), "", sep="\n")
    print(
        f"{len(alone.masks)} masks. vesal predict: {alone.seconds:.1f} s. The loop: {loop_s:.1f} s.",
        "",
        sep="\n",
    )
    print(
        "| engine | seconds | scans a second | times as fast as vesal predict | as the loop | ended | tries | "
        "not as it should be |"
    )
    print("|---|---|---|---|---|---|---|---|")
    wrong = describe("local, two workers", local, alone, loop_s)
    wrong += describe("ray, two nodes", whole, alone, loop_s)
    wrong += describe("ray, one of them killed", halved, alone, loop_s)
    for case in (*BROKEN, TOO_LARGE):
        print(f"- {case}: {local.rows[case]['reason']} | {halved.rows[case]['reason']}")
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
