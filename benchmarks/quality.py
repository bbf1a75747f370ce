"""How well a run's quality model holds on scans that no fold of it has seen: predicted against true Dice, and the flag.

python -m benchmarks.quality RUN DATA [--device cpu] [--limit N]

RUN is a run of several folds, DATA a folder of labelled scans that were left out of it. Each scan is predicted
clean and with one artefact of severity 5, all kinds about equally often; once by the model of the first fold alone,
once by the vote of all. The run is calibrated first, if it is not. What is printed is Markdown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vesal.augment.artifacts.benchmark import Corruption, artifact_seed, benchmark, corrupt
from vesal.data.case import read_case
from vesal.data.dataset import Case
from vesal.data.labels import IGNORE
from vesal.infer.model import Model
from vesal.infer.predictor import load_model
from vesal.infer.quality.estimate import QualityEstimate
from vesal.infer.quality.image_features import image_features
from vesal.infer.quality.quality_model import CalibrationRecord
from vesal.infer.quality.ranking import rank_correlation
from vesal.layouts.registry import load_dataset
from vesal.metrics.overlap import confusions
from vesal.preprocessing.prepare import prepare
from vesal.run.folder import Run
from vesal.workflow.quality import CalibrationOptions, calibrate_run

#: Other artefacts than those that the flag was measured with in the run's calibration (seed 0).
_SEED = 7

#: Draws of one corrupted scan in ten.
_DRAWS = 2000


@dataclass(frozen=True)
class Row:
    """One scan: artefact or None, true Dice by class, the estimate, and seconds of both."""

    case: str
    artifact: str | None
    dice: dict[str, float]
    estimate: QualityEstimate
    plain_s: float
    estimate_s: float


def estimated(model: Model, case: Case, artifact: str | None) -> Row:
    """Predict one scan and estimate its quality."""
    raw = read_case(case)
    assert raw.label is not None
    volume, truth = raw.image, model.labels.encode(raw.label.array)
    corruption: Corruption | None = None
    if artifact is not None:
        (chosen,) = (one for one in benchmark("MR", (5,)) if one.name == artifact)
        corruption = corrupt(volume, chosen, artifact_seed(_SEED, case.id, artifact))
        volume = corruption.volume
    prepared, windows = prepare(volume, model.plan), model.windows()
    began = time.process_time()
    model.segment(prepared, windows)
    plain_s = time.process_time() - began
    began = time.process_time()
    recorder = model.feature_recorder(windows)
    label = model.segment(prepared, windows, recorder=recorder)
    estimate = model.estimate_quality(image_features(volume, prepared), recorder, label)
    estimate_s = time.process_time() - began - plain_s
    found = model.labels.encode(label.array)
    if corruption is not None:
        found = np.ascontiguousarray(corruption.restore(found))
        truth = truth if corruption.hidden is None else np.where(corruption.hidden, np.uint8(IGNORE), truth)
    counted = confusions(found, truth, model.labels.class_table, IGNORE)
    dice = {
        name: float(of.dice)
        for name, of in zip(model.labels.classes, counted, strict=True)
        if of.dice is not None
    }
    return Row(case.id, artifact, dice, estimate, plain_s, estimate_s)


def pairs(rows: Sequence[Row], name: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true Dice of a class, or (None) their means over the classes."""
    if name is not None:
        chosen = [row for row in rows if name in row.dice]
        return (
            np.array([row.estimate.dice[name].value for row in chosen]),
            np.array([row.dice[name] for row in chosen]),
        )
    return (
        np.array([np.mean([row.estimate.dice[of].value for of in row.dice]) for row in rows]),
        np.array([np.mean(list(row.dice.values())) for row in rows]),
    )


def table(title: str, rows: Sequence[Row], classes: Sequence[str]) -> str:
    """The report of one model."""
    clean, corrupted = [r for r in rows if r.artifact is None], [r for r in rows if r.artifact is not None]
    lines = [f"## {title}", "", "| scans | class | Spearman | MAE |", "|---|---|---:|---:|"]
    for what, chosen in (("clean", clean), ("clean and corrupted", rows)):
        for name in (*classes, None):
            predicted, true = pairs(chosen, name)
            rho = rank_correlation(predicted, true)
            error = np.abs(predicted - true).mean()
            lines.append(f"| {len(chosen)} {what} | {name or 'mean'} | {rho:.2f} | {error:.4f} |")
    lines += mixed(clean, corrupted)
    alarms = np.mean([r.estimate.verdict == "review" for r in clean])
    found = np.mean([r.estimate.verdict == "review" for r in corrupted])
    lines += ["", f"The flag: {alarms:.1%} false alarms of {len(clean)} clean scans, "]
    lines[-1] += f"{found:.1%} of {len(corrupted)} corrupted scans found."
    inside = [
        of.low <= row.dice[name] <= of.high
        for row in clean
        for name, of in row.estimate.dice.items()
        if name in row.dice
    ]
    lines += [f"Intervals hold {np.mean(inside):.1%} of the true Dice.", ""]
    lines += ["| artefact | scans | found | true Dice |", "|---|---:|---:|---:|"]
    for name in sorted({r.artifact for r in corrupted if r.artifact}):
        of_it = [r for r in corrupted if r.artifact == name]
        caught = sum(r.estimate.verdict == "review" for r in of_it)
        dice = np.mean([np.mean(list(r.dice.values())) for r in of_it])
        lines.append(f"| {name} | {len(of_it)} | {caught} | {dice:.3f} |")
    plain, estimate = np.median([r.plain_s for r in rows]), np.median([r.estimate_s for r in rows])
    lines += [
        "",
        f"Processor seconds a scan: {plain:.2f} to predict, {estimate:.2f} more for the estimate.",
        "",
    ]
    return "\n".join(lines)


def mixed(clean: Sequence[Row], corrupted: Sequence[Row]) -> list[str]:
    """One scan in ten corrupted, drawn many times: medians, and between which nine of ten draws lie."""
    generator = np.random.default_rng(0)
    by_case = {row.case: row for row in corrupted}
    count = max(1, round(len(clean) / 10))
    found = []
    for _ in range(_DRAWS):
        chosen = set(generator.choice(len(clean), count, replace=False).tolist())
        rows = [by_case[row.case] if place in chosen else row for place, row in enumerate(clean)]
        predicted, true = pairs(rows, None)
        caught = np.mean([r.estimate.verdict == "review" for r in rows if r.artifact])
        found.append((rank_correlation(predicted, true) or 0.0, np.abs(predicted - true).mean(), caught))
    rho, error, caught = np.percentile(np.array(found), (5, 50, 95), axis=0).T
    return [
        "",
        f"One scan in ten corrupted ({_DRAWS} draws; median, and where nine of ten lie): Spearman of the mean Dice "
        f"{rho[1]:.2f} ({rho[0]:.2f} to {rho[2]:.2f}), MAE {error[1]:.4f} ({error[0]:.4f} to {error[2]:.4f}), "
        f"corrupted scans found {caught[1]:.0%} ({caught[0]:.0%} to {caught[2]:.0%}).",
    ]


def cross_fitted(run: Run) -> str:
    """What the run's own calibration measured."""
    record = CalibrationRecord.load(run.calibration_file)
    flag, curve = record.flag, record.risk_coverage
    lines = [
        f"## Cross-fitted on the {flag.clean} held-out scans of the run ({record.source})",
        "",
        "| class | scans | Spearman | MAE | MAE of the median |",
        "|---|---|---:|---:|---:|",
    ]
    for name, of in record.dice.items():
        rho = "-" if of.spearman is None else f"{of.spearman:.2f}"
        lines.append(f"| {name} | {of.cases} | {rho} | {of.mae:.4f} | {of.mae_of_mean:.4f} |")
    area = (
        ""
        if curve is None
        else (
            f"AURC {curve.area:.4f} (best order {curve.area_of_best_order:.4f}, none {curve.area_of_no_order:.4f}). "
        )
    )
    lines += [
        "",
        f"The flag: {flag.flagged / flag.clean:.1%} false alarms; {flag.corrupted_found} of {flag.corrupted} "
        f"corrupted scans found; {flag.worst_found} of the {flag.worst} with the lowest Dice. {area}"
        f"Temperature {record.temperature:.2f}.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--limit", type=int, default=None)
    chosen = parser.parse_args()
    run = Run(chosen.run)
    began = time.process_time()
    calibrate_run(run, CalibrationOptions(device=chosen.device))
    calibration_s = time.process_time() - began
    print(cross_fitted(run))
    print(f"Calibration took {calibration_s:.0f} processor seconds (0: it was there).\n")
    cases = load_dataset(chosen.data).cases[: chosen.limit]
    names = [artifact.name for artifact in benchmark("MR", (5,))]
    generator = np.random.default_rng(_SEED)
    order: list[int] = []
    while len(order) < len(cases):
        order += generator.permutation(len(names)).tolist()
    first = run.fold(run.trained_folds()[0]) / "model.vesal"
    for title, path in (("One network", first), ("The vote of all folds", run.folder)):
        model = load_model(path, device=chosen.device)
        rows = [
            estimated(model, case, artifact)
            for case, number in zip(cases, order, strict=False)
            for artifact in (None, names[number])
        ]
        print(
            table(f"{title}, on {len(cases)} scans that no fold has seen", rows, model.labels.classes),
            flush=True,
        )


if __name__ == "__main__":
    main()
