"""The report of a run: one HTML file that holds everything, pictures too, and loads nothing from anywhere."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from vesal.evaluate.postprocessing.choice_record import PostprocessChoice
from vesal.evaluate.scores import Scores
from vesal.files import remove, write_text
from vesal.infer.backends.bfloat16_agreement import Bfloat16Agreement
from vesal.infer.channels.missing_channels import MissingChannels
from vesal.infer.quality.quality_model import CalibrationRecord
from vesal.planning.plan import Plan
from vesal.report.figures import curves
from vesal.report.figures.colours import colours_by_class
from vesal.report.figures.glb import write_glb
from vesal.report.figures.validation_grid import run_history, write_training_pictures
from vesal.report.files.history import write_history
from vesal.report.files.summary import write_summary
from vesal.report.pages.case_section import CasePictures, case_pictures
from vesal.report.pages.finetuning_section import finetuning_section
from vesal.report.pages.html import Picture, chart, render_page
from vesal.report.pages.located_section import located_section
from vesal.report.pages.missing_channels_section import missing_channels_section
from vesal.report.pages.postprocess_section import postprocess_section
from vesal.report.pages.quality_section import quality_section
from vesal.report.pages.score_section import score_section
from vesal.run.contents import RunContents, run_contents
from vesal.run.folder import Run
from vesal.run_files import (
    ALL,
    BFLOAT16,
    CALIBRATION,
    FOLD_RESULTS,
    HISTORY_ARRAY,
    MISSING_CHANNELS,
    POSTPROCESS,
    REPORT,
    SUMMARY,
    SUMMARY_TEXT,
    SURFACES,
    fold_folder,
    fold_folders,
)
from vesal.table import Table
from vesal.text import duration, interval, listed, moment, number, plural, times


def write_run_report(run: Path, *, arrays: bool = False) -> Path:
    """Write the report of a run and its further files into its folder.

    report.html: one page that holds everything, pictures too. surfaces/CASE.glb: the surfaces of the cases that it
    shows. summary.json and summary.md: what was done and reached, and how to go on. In the folder of each fold:
    history.csv, training_curves.png and val_predictions.png.

    Whatever the run lacks (scores, scans that were moved, a damaged file) is named on the page. The same run
    gives the same files.

    Args:
        run: folder that training wrote.
        arrays: the histories as history.npy too; where they are there, they are made anew in any case.

    Returns:
        The page's path.

    Raises:
        UsageError: the folder holds no run, or a file that would be overwritten was changed by hand.
        VesalError: a file cannot be written.
    """
    pieces = run_contents(Path(run))
    path = pieces.folder / REPORT
    # Arrays of an earlier report would be of an earlier state.
    arrays = arrays or any((fold / HISTORY_ARRAY).exists() for fold in fold_folders(pieces.folder))
    names = [name for name in FOLD_RESULTS if arrays or name != HISTORY_ARRAY]
    with Run(pieces.folder).output((REPORT, SUMMARY, SUMMARY_TEXT), names) as output:
        for old in (pieces.folder / SURFACES).glob("*.glb"):
            # Of an earlier state of the run, in which other cases were the best and the worst.
            if output.wrote(old):
                remove(old)
        write_text(path, render_page("run.html.j2", _context(pieces)))
        write_history(pieces, arrays=arrays)
        write_training_pictures(pieces)
        write_summary(pieces)
    return path


def _context(pieces: RunContents) -> dict[str, Any]:
    record = pieces.record(CALIBRATION, CalibrationRecord)
    quality = None
    if record is not None:
        quality = quality_section(record, [*colours_by_class([*record.dice], pieces.labels).values()])
    lacking = pieces.record(MISSING_CHANNELS, MissingChannels)
    choice = pieces.record(POSTPROCESS, PostprocessChoice)
    return {
        "title": pieces.dataset.name if pieces.dataset else pieces.folder.name,
        "verdict": _verdict(pieces),
        "facts": _facts(pieces),
        "missing": pieces.missing,
        "scores": score_section(pieces.scores, pieces.labels, pieces.fold_of) if pieces.scores else None,
        "quality": quality,
        "postprocess": None if choice is None else postprocess_section(choice),
        "located": located_section(pieces.folder),
        "finetuning": finetuning_section(pieces.folder),
        "missing_channels": None if lacking is None else missing_channels_section(lacking),
        "examples": _examples(pieces, pieces.scores) if pieces.scores else [],
        "curves": _curves(pieces),
        "training_note": _training_note(pieces),
        "data_facts": _data_facts(pieces),
        "findings": pieces.findings,
        "remarks": pieces.dataset.remarks if pieces.dataset else (),
        "plan_facts": _plan_facts(pieces.plan) if pieces.plan else [],
        "reasons": pieces.plan.reasons if pieces.plan else (),
        "stages": _stages(pieces.plan) if pieces.plan else None,
        "environment": _environment_facts(pieces),
        "configuration": pieces.configuration,
        "version": pieces.environment.get("versions", {}).get("vesal", ""),
        "date": moment(str(pieces.environment.get("date", ""))),
    }


# --- the first lines -----------------------------------------------------------------------------------


def _verdict(pieces: RunContents) -> str:
    scores = pieces.scores
    if scores is None:
        if pieces.trained_on_all:
            cases = plural(len(pieces.dataset.cases), "case") if pieces.dataset else "cases"
            return f"Trained on all {cases}; nothing was held out, so there is no score. Evaluate it on other data."
        return "This run has not been scored."
    row = scores.of("dice")
    if row.mean is None:
        return "No case defines a Dice: truth and prediction are empty everywhere."
    count = len({score.case for score in scores.cases})
    of = "" if row.count == count else f"{row.count} of "
    sentence = f"On {of}{plural(count, 'held-out case')} the mean Dice is {number(row.mean)}"
    if row.low is not None and row.count > 1:
        sentence += f" ({scores.confidence:.0%} interval {interval(row.low, row.high)})"
    if of:
        sentence += "; the others are empty in truth and prediction"
    if scores.failures:
        sentence += f"; {plural(len(scores.failures), 'case')} could not be scored"
    return sentence + "."


def _facts(pieces: RunContents) -> list[str]:
    facts = []
    if pieces.plan is not None:
        facts.append(f"{pieces.plan.dimension}D")
    if pieces.labels is not None:
        facts.append(listed(pieces.labels.classes, 5))
    if pieces.trained_on_all:
        facts.append("trained on all cases")
    elif pieces.curves:
        facts.append(
            f"fold {', '.join(pieces.curves)}"
            if len(pieces.curves) == 1
            else plural(len(pieces.curves), "fold")
        )
    if seconds := _seconds(pieces):
        facts.append(f"{duration(seconds)} of training")
    if date := pieces.environment.get("date"):
        facts.append(moment(str(date)))
    return facts


def _seconds(pieces: RunContents) -> float:
    """Training time of all folds together."""
    return sum(curves.largest(rows, "time_s") or 0.0 for rows in pieces.curves.values())


# --- pictures of cases ---------------------------------------------------------------------------------


def _examples(pieces: RunContents, scores: Scores) -> list[dict[str, Any]]:
    ranked = sorted(
        ((dice, case) for case, dice in scores.shown_dice().items() if dice is not None), reverse=True
    )
    chosen: dict[str, str] = {}
    ranks = (("Best", 0), ("Median", len(ranked) // 2), ("Worst", len(ranked) - 1))
    for rank, place in ranks if len(ranked) > 1 else (("Only case", 0),):
        if ranked and ranked[place][1] not in chosen:
            chosen[ranked[place][1]] = rank
    examples = []
    for case, rank in chosen.items():
        rows = [row for row in scores.cases if row.case == case]
        made, solid = _pictures(pieces, case), ""
        if pieces.labels is not None and made.surfaces:
            path = pieces.folder / SURFACES / f"{case}.glb"
            write_glb(path, made.surfaces, pieces.labels)
            solid = f"{SURFACES}/{quote(path.name)}"
        examples.append(
            {
                "rank": rank,
                "case": case,
                "scores": listed([f"{row.class_name} {number(row.dice)}" for row in rows]),
                "pictures": made.pictures,
                "problems": made.problems,
                "solid": solid,
                "command": made.command,
            }
        )
    return examples


def _pictures(pieces: RunContents, name: str) -> CasePictures:
    case = next((case for case in pieces.dataset.cases if case.id == name), None) if pieces.dataset else None
    if case is None or pieces.labels is None:
        return CasePictures(
            problems=["The run does not say where this scan is, so no picture could be made."]
        )
    prediction = pieces.predictions.get(name)
    channels = pieces.plan.channels if pieces.plan else ()
    made = case_pictures(case, pieces.labels, channels, prediction=prediction)
    if prediction is None and made.pictures:
        made.problems.insert(0, "The prediction is no longer in the run folder; only the truth is shown.")
    return made


# --- training ------------------------------------------------------------------------------------------


def _curves(pieces: RunContents) -> list[Picture]:
    folds = {name: rows for name, rows in pieces.curves.items() if rows}
    if not folds:
        return []
    history = run_history(pieces, folds)
    keys = ("val_dice", "train_dice")
    measured = any(row.get(key) is not None for rows in folds.values() for row in rows for key in keys)
    return [
        chart(partial(curves.training_curve, name, history), f"{name[0].upper()}{name[1:]} over the steps")
        for name in curves.CURVES
        if measured or name != "Dice"
    ]


def _training_note(pieces: RunContents) -> str:
    notes = []
    for name, rows in pieces.curves.items():
        if not rows:
            continue
        steps, seconds, memory = (curves.largest(rows, key) or 0 for key in ("step", "time_s", "memory_mb"))
        fold = "All cases" if name == ALL else f"Fold {name}"
        notes.append(
            f"{fold}: {plural(steps, 'step')} in {duration(seconds)}"
            + (f", {memory / 1024:.1f} GiB of memory at most" if memory else "")
        )
    return "; ".join(notes) + "." if notes else ""


# --- data, plan, environment ---------------------------------------------------------------------------


def _data_facts(pieces: RunContents) -> list[tuple[str, str]]:
    facts = []
    if (dataset := pieces.dataset) is not None:
        patients = len({case.patient for case in dataset.cases})
        facts += [
            ("cases", f"{plural(len(dataset.cases), 'labelled scan')} of {plural(patients, 'patient')}"),
            ("folder", f"{dataset.root} (layout {dataset.layout})"),
            ("channels", listed(dataset.channels)),
            ("labels", listed([f"{label.name} = {label.value}" for label in dataset.labels.labels], 20)),
        ]
        if dataset.labels.regions:
            regions = [f"{region.name} = {' + '.join(region.members)}" for region in dataset.labels.regions]
            facts.append(("regions", "; ".join(regions)))
    if (record := pieces.fingerprint) is not None and record.cases:
        first = record.cases[0]
        median = partial(np.median, axis=0)
        same = [case for case in record.cases if len(case.shape) == len(first.shape)]
        facts += [
            ("median shape", times(median([case.shape for case in same]))),
            ("median spacing", f"{times(median([case.spacing_mm for case in same]))} mm"),
        ]
    return facts


def _plan_facts(plan: Plan) -> list[tuple[str, str]]:
    normalisation = [
        f"{name}: {scheme.scheme}"
        + (f" {scheme.lower:g} to {scheme.upper:g}" if None not in (scheme.lower, scheme.upper) else "")
        for name, scheme in zip(plan.channels, plan.normalisation, strict=True)
    ]
    coarse = plan.locator
    found = f"{times(coarse.patch)} in voxels of {times(coarse.spacing_mm, 3)} mm" if coarse else ""
    return [
        *([("coarse stage", f"patch {found}; {plan.margin_mm:.3g} mm around its box")] if coarse else []),
        (
            "network",
            f"{plan.dimension}D, {plural(len(plan.stages), 'stage')}, loss at {plural(plan.heads, 'resolution')}",
        ),
        ("patch", f"{times(plan.patch)}, {plan.batch} in a batch"),
        ("spacing", f"{times(plan.spacing_mm)} mm"),
        ("median shape", times(plan.median_shape)),
        ("normalisation", "; ".join(normalisation)),
        ("mirrored axes", listed([str(axis) for axis in plan.mirror_axes]) or "none"),
    ]


def _stages(plan: Plan) -> Table:
    rows = [
        (index, stage.features, times(stage.kernel), times(stage.stride), stage.convolutions)
        for index, stage in enumerate(plan.stages)
    ]
    return Table.of(["stage", "features", "kernel", "stride", "convolutions"], rows)


def _environment_facts(pieces: RunContents) -> list[tuple[str, str]]:
    found = []
    for key, value in pieces.environment.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {version}" for name, version in value.items())
        found.append((str(key), moment(str(value)) if key == "date" else str(value)))
    if seconds := _seconds(pieces):
        found.append(("training time", duration(seconds)))
    for name in pieces.curves:
        agreement = pieces.record(str(fold_folder(Path(), name) / BFLOAT16), Bfloat16Agreement)
        if agreement is not None:
            title = "prediction" if len(pieces.curves) == 1 else f"prediction, fold {name}"
            found.append((title, agreement.sentence))
    return found
