"""How long layout, fingerprint, plan and preparation of a data set take, as one process.

python -m benchmarks.preparation FOLDER [--as-nnunet PLANS]

It prepares into a new, empty cache and prints one JSON object with the seconds of the stages. With --as-nnunet the
plan has the spacing, the patch and so the size of the prepared cases of a plans file of nnU-Net; without, the plan
is Vesal's own for 20 minutes on a CPU, which may prepare at a coarser spacing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.nnunet import CONFIGURATION, axes
from vesal.data.fingerprint import fingerprint
from vesal.layouts.registry import load_dataset
from vesal.planning.planner import make_plan
from vesal.planning.settings import PlanSettings
from vesal.preprocessing.prepare import prepare_dataset

#: What the plan is made for.
BUDGET_S = 20 * 60


def prepare(folder: Path, settings: PlanSettings) -> dict[str, Any]:
    """Seconds of reading (layout and fingerprint), planning and preparation; cases, spacing and voxels of a case."""
    began = time.perf_counter()
    dataset = load_dataset(folder)
    record = fingerprint(dataset)
    read = time.perf_counter()
    plan = make_plan(record, dataset.labels, settings, budget_s=BUDGET_S, device="cpu")
    planned = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        ready, failed = prepare_dataset(dataset.cases, plan, Path(cache))
        prepared = time.perf_counter()
    if failed:
        raise RuntimeError(f"{len(failed)} cases could not be prepared: {failed[0].message}")
    return {
        "fingerprint_s": read - began,
        "plan_s": planned - read,
        "prepare_s": prepared - planned,
        "cases": len(ready),
        "spacing_mm": plan.spacing_mm,
        "median_shape": plan.median_shape,
    }


def settings_of(plans: dict[str, Any]) -> PlanSettings:
    """nnU-Net's spacing and patch, with its axes turned to Vesal's."""
    found, order = plans["configurations"][CONFIGURATION], axes(plans)
    return PlanSettings(
        spacing_mm=tuple(float(found["spacing"][axis]) for axis in order),
        patch=tuple(int(found["patch_size"][axis]) for axis in order),
    )


def main() -> None:
    """Prepare once, print what it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--as-nnunet", type=Path)
    chosen = parser.parse_args()
    settings = PlanSettings()
    if chosen.as_nnunet is not None:
        settings = settings_of(json.loads(chosen.as_nnunet.read_text()))
    print(json.dumps(prepare(chosen.folder, settings)))


if __name__ == "__main__":
    main()
