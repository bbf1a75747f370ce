"""How many true volumes the intervals hold: of patients that neither the networks nor the intervals have seen.

python -m benchmarks.volume_intervals RUN [--splits N] [--level L] [--severity S] [--device cpu]

RUN is a run with held-out scans of at least ten patients (level 0.9). Each is predicted by the network that was not
trained on it: clean, with an artefact of severity 5 as in the calibration, and with another one of severity S. Then,
again and again, the patients are split: the whole quality model, references and difficulty included, is fitted to some
of them, and the intervals of the others are counted; as many as the quantile leaves over, at most a quarter. Beside it,
intervals of one width for all scans: the same quantile of the plain errors. What is printed is Markdown.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vesal.infer.quality.calibrate import HeldOutScan, calibrate
from vesal.infer.quality.estimate import QualityEstimator
from vesal.infer.quality.volumes.conformal import conformal_quantile, needed_patients, patient_weights
from vesal.infer.quality.volumes.interval_level import LEVEL
from vesal.run.folder import Run
from vesal.workflow.quality import CalibrationOptions, predict_held_out

#: Share of the patients that is counted in a split, where the quantile leaves so many over.
_TEST_SHARE = 0.25
#: Of the artefacts of the other severity: others than those of the calibration.
_SEED = 7


@dataclass(frozen=True)
class Counted:
    """One interval of one class of one test scan of a split.

    Attributes:
        held, held_unscaled: whether the interval holds the true volume, and whether one of the common width does.
        width, width_unscaled: of both, as a share of the predicted volume.
    """

    name: str
    clean: bool
    split: int
    held: bool
    held_unscaled: bool
    width: float
    width_unscaled: float


def splits_of(patients: Sequence[str], level: float, splits: int) -> list[set[str]]:
    """The test patients of each split; of few patients each once, alone."""
    names = sorted(set(patients))
    spare = len(names) - needed_patients(level)
    if spare < 1:
        raise SystemExit(
            f"A level of {level} needs {needed_patients(level) + 1} patients, and there are {len(names)}."
        )
    count = min(max(1, round(_TEST_SHARE * len(names))), spare)
    if count == 1:
        return [{name} for name in names]
    generator = np.random.default_rng(0)
    return [set(generator.choice(names, count, replace=False).tolist()) for _ in range(splits)]


def counted(
    fitted_to: Sequence[HeldOutScan],
    others: Sequence[HeldOutScan],
    classes: Sequence[str],
    level: float,
    splits: int,
) -> Iterator[Counted]:
    """Fit to some patients and count the intervals of the rest, split after split.

    Args:
        fitted_to: clean scans and their copies of severity 5.
        others: copies of another severity, which are only counted.
    """
    for number, test in enumerate(splits_of([one.group for one in fitted_to], level, splits)):
        known = [one for one in fitted_to if one.group not in test]
        calibrations, _ = calibrate(known, classes, 1.0)
        clean = [one for one in known if one.artifact is None]
        asked = [one for one in fitted_to if one.artifact is None] + [
            one for one in others if one.artifact is not None
        ]
        for name in classes:
            seen = [one for one in clean if one.volumes_ml.get(name, (0.0, 0.0))[0] > 0]
            errors = np.array([abs(np.subtract(*one.volumes_ml[name])) for one in seen])
            half = conformal_quantile(errors, patient_weights([one.group for one in seen]), level)
            for one in asked:
                predicted, true = one.volumes_ml.get(name, (0.0, 0.0))
                if one.group not in test or one.fold not in calibrations or predicted <= 0 or half is None:
                    continue
                estimate = QualityEstimator([calibrations[one.fold]]).estimate(
                    one.features, volumes_ml={name: predicted}, level=level
                )
                found = estimate.volumes[name]
                if found.low_ml is None or found.high_ml is None:
                    continue
                yield Counted(
                    name,
                    one.artifact is None,
                    number,
                    found.low_ml <= true <= found.high_ml,
                    abs(predicted - true) <= half,
                    (found.high_ml - found.low_ml) / predicted,
                    (predicted + half - max(0.0, predicted - half)) / predicted,
                )


def table(rows: Sequence[Counted], classes: Sequence[str], level: float, severity: int) -> str:
    """A line for each class and kind of scan, and for all classes together."""
    lines = [
        f"Level {level:g}.",
        "",
        "| scans | class | held | nine of ten splits | of one width | width (median) | of one width |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for clean in (True, False):
        for name in (*classes, None):
            chosen = [row for row in rows if row.clean == clean and name in (row.name, None)]
            if not chosen:
                continue
            by_split: dict[int, list[bool]] = defaultdict(list)
            for row in chosen:
                by_split[row.split].append(row.held)
            low, high = np.percentile([np.mean(of) for of in by_split.values()], (5, 95))
            what = "clean" if clean else f"artefact of severity {severity}"
            lines.append(
                f"| {what} | {name or 'all'} | {np.mean([row.held for row in chosen]):.1%} | {low:.0%} to {high:.0%} | "
                f"{np.mean([row.held_unscaled for row in chosen]):.1%} | "
                f"{np.median([row.width for row in chosen]):.1%} | "
                f"{np.median([row.width_unscaled for row in chosen]):.1%} |"
            )
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--splits", type=int, default=50)
    parser.add_argument("--level", type=float, default=LEVEL)
    parser.add_argument("--severity", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    run, options = Run(chosen.run), CalibrationOptions(device=chosen.device)
    began = time.process_time()
    fitted_to, _ = predict_held_out(run, options)
    others, _ = predict_held_out(run, replace(options, severity=chosen.severity, seed=_SEED))
    classes = run.dataset().labels.classes
    clean = [one for one in fitted_to if one.artifact is None]
    patients = len({one.group for one in clean})
    rows = list(counted(fitted_to, others, classes, chosen.level, chosen.splits))
    splits = len({row.split for row in rows})
    print(
        f"{len(clean)} held-out scans of {patients} patients, {len(run.trained_folds())} folds, {splits} splits; "
        f"{time.process_time() - began:.0f} processor seconds.\n"
    )
    print(table(rows, classes, chosen.level, chosen.severity))


if __name__ == "__main__":
    main()
