"""A run in short: summary.json for programs, summary.md for people."""

from __future__ import annotations

import math
import shlex
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, deserialize

from vesal.errors import VesalError
from vesal.evaluate.scores import Scores
from vesal.evaluate.tables import HEADLINE, summary_table
from vesal.files import read_json, write_json, write_text
from vesal.report.figures.curves import largest, series
from vesal.run.contents import RunContents
from vesal.run_files import DESCRIPTIONS, FINISHED, MODELS, SUMMARY, SUMMARY_TEXT, fold_folder
from vesal.table import Cell, Table
from vesal.text import bullets, duration, listed, markdown_text, moment, plural, times

#: Of a batch norm: they are counted on, not trained.
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def write_summary(pieces: RunContents) -> None:
    """Write summary.json and summary.md into a run folder.

    They hold recipe, network with its parameters, data set, device, time, steps, epochs, the best step of every fold
    with its Dice, scores with their intervals, the files that are there, and how to predict, to resume and to report.
    What a run does not have is null in JSON and left out of the text.

    Raises:
        VesalError: a file cannot be written.
    """
    summary = run_summary(pieces)
    write_json(pieces.folder / SUMMARY, summary)
    write_text(pieces.folder / SUMMARY_TEXT, _markdown(summary, pieces.scores))


def run_summary(pieces: RunContents) -> dict[str, Any]:
    """Everything as plain values; times in seconds, memory in MB, intervals at the scores' confidence."""
    configuration: dict[str, Any] = {}
    with suppress(yaml.YAMLError):
        found = yaml.safe_load(pieces.configuration)
        configuration = found if isinstance(found, dict) else {}
    folds = [_fold(pieces, name) for name in pieces.curves]
    environment = pieces.environment
    run = shlex.quote(str(pieces.folder))
    data = "DATA" if pieces.dataset is None else shlex.quote(str(pieces.dataset.root))
    return {
        "version": 1,
        "recipe": configuration.get("recipe"),
        "network": _network(pieces, configuration),
        "dataset": _dataset(pieces),
        "device": environment.get("device"),
        "platform": environment.get("platform"),
        "environment": environment,
        "training": {
            "time_s": sum(fold["time_s"] or 0.0 for fold in folds),
            "steps": sum(fold["steps"] or 0 for fold in folds),
            "seed": configuration.get("seed"),
            "folds": folds,
        },
        "scores": None if pieces.scores is None else _scores(pieces.scores),
        "files": _files(pieces.folder),
        "commands": {
            "predict": f"vesal predict {run} SCANS -o OUT",
            "resume": f"vesal train {data} -o {run} --resume",
            "evaluate": f"vesal evaluate {run}",
            "report": f"vesal report {run}",
        },
        "missing": pieces.missing,
    }


# --- the pieces ----------------------------------------------------------------------------------------


def _network(pieces: RunContents, configuration: dict[str, Any]) -> dict[str, Any]:
    plan = pieces.plan
    models = sorted(pieces.folder.glob(MODELS))
    return {
        "name": configuration.get("network"),
        "dimension": None if plan is None else plan.dimension,
        "parameters": parameter_count(models[0]) if models else None,
        "inputs": None if plan is None else plan.inputs,
        "features": None if plan is None else [stage.features for stage in plan.stages],
        "patch": None if plan is None else list(plan.patch),
        "batch": None if plan is None else plan.batch,
        "spacing_mm": None if plan is None else list(plan.spacing_mm),
    }


def parameter_count(model: Path) -> int | None:
    """Trainable numbers of a .vesal file; None where that cannot be read."""
    try:
        with zipfile.ZipFile(model) as archive:
            tensors = deserialize(archive.read("weights.safetensors"))
    except (OSError, KeyError, SafetensorError, zipfile.BadZipFile):
        return None
    return sum(math.prod(tensor["shape"]) for name, tensor in tensors if not name.endswith(_BUFFERS))


def _dataset(pieces: RunContents) -> dict[str, Any] | None:
    dataset = pieces.dataset
    if dataset is None:
        return None
    return {
        "name": dataset.name,
        "folder": str(dataset.root),
        "layout": dataset.layout,
        "cases": len(dataset.cases),
        "patients": len({case.patient for case in dataset.cases}),
        "channels": list(dataset.channels),
        "classes": list(dataset.labels.classes),
        "findings": None if pieces.findings is None else len(pieces.findings),
    }


def _fold(pieces: RunContents, name: str) -> dict[str, Any]:
    """One training: its length, its last losses, and the step that was shipped."""
    rows = pieces.curves[name]
    steps, dice = series(rows, "val_dice")
    losses = series(rows, "train_loss")[1]
    best_step = int(steps[dice.argmax()]) if len(dice) else None
    with suppress(VesalError, AttributeError):
        # As the training noted it; a run that goes on has not yet.
        best_step = read_json(fold_folder(pieces.folder, name) / FINISHED).get("best_step", best_step)
    # Not the highest: the loss or one class may have chosen the step.
    there = dice[steps == best_step]
    return {
        "fold": name,
        "steps": largest(rows, "step"),
        "epochs": largest(rows, "epoch"),
        "time_s": largest(rows, "time_s"),
        "memory_mb": largest(rows, "memory_mb"),
        "train_loss": float(losses[-1]) if len(losses) else None,
        "best_step": best_step,
        "best_val_dice": float(there[-1]) if len(there) else None,
        "held_out": sum(of == name for of in pieces.fold_of.values()),
    }


def _scores(scores: Scores) -> dict[str, Any]:
    """Means with their intervals: of each class, and of the mean over the classes."""

    def of(name: str) -> dict[str, Any]:
        found = {}
        for metric in HEADLINE:
            row = scores.of(metric, name)
            found[metric] = {"mean": row.mean, "low": row.low, "high": row.high, "cases": row.count}
        return found

    return {
        "confidence": scores.confidence,
        "cases": len({row.case for row in scores.cases}),
        "mean": of("mean"),
        "classes": {name: of(name) for name in scores.classes},
        "failures": [failure.id for failure in scores.failures],
    }


def _files(folder: Path) -> dict[str, str]:
    """What is there, relative to the run -> what it is; this summary is about to be."""
    found = {}
    for pattern, what in DESCRIPTIONS.items():
        if pattern in (SUMMARY, SUMMARY_TEXT):
            found[pattern] = what
        for path in sorted(folder.glob(pattern)):
            found[path.relative_to(folder).as_posix()] = what
    return found


# --- the text ------------------------------------------------------------------------------------------


def _markdown(summary: dict[str, Any], scores: Scores | None) -> str:
    dataset = summary["dataset"]
    parts = [f"# {markdown_text(dataset['name']) if dataset else 'Training'}", bullets(_facts(summary))]
    if folds := summary["training"]["folds"]:
        parts += ["## Training", _folds_table(folds).markdown()]
    if scores is not None:
        cases = plural(len({row.case for row in scores.cases}), "held-out case")
        note = f"Means over {cases}; in brackets the {scores.confidence:.0%} interval over {scores.drawn}."
        parts += ["## Scores", note, summary_table(scores, HEADLINE, counted=True).markdown()]
    parts += ["## Files", bullets([f"`{name}`: {what}" for name, what in summary["files"].items()])]
    aims = {
        "predict": "Segment other scans", "resume": "Go on, also after more --steps, --epochs or --budget",
        "evaluate": "Score again", "report": "Draw the report again",
    }  # fmt: skip
    commands = [f"# {aims[name]}\n{command}" for name, command in summary["commands"].items()]
    parts += ["## How to go on", "```sh\n" + "\n".join(commands) + "\n```"]
    if summary["missing"]:
        parts += ["## What is missing", bullets([markdown_text(text) for text in summary["missing"]])]
    return "\n\n".join(parts) + "\n"


def _facts(summary: dict[str, Any]) -> list[str]:
    network, dataset, environment = summary["network"], summary["dataset"], summary["environment"]
    training = summary["training"]
    facts = []
    if summary["recipe"]:
        facts.append(f"Recipe: {markdown_text(summary['recipe'])}")
    about = [markdown_text(network["name"])] if network["name"] else []
    about += [f"{network['dimension']}D"] if network["dimension"] else []
    about += [f"{network['parameters']:,} parameters"] if network["parameters"] else []
    about += [f"patch {times(network['patch'])}, batch {network['batch']}"] if network["patch"] else []
    if about:
        facts.append(f"Network: {', '.join(about)}")
    if dataset is not None:
        facts.append(
            f"Data: {plural(dataset['cases'], 'case')} of {plural(dataset['patients'], 'patient')} in "
            f"{markdown_text(dataset['folder'])} (layout {dataset['layout']}); "
            f"channels {markdown_text(listed(dataset['channels']))}; "
            f"classes {markdown_text(listed(dataset['classes']))}"
        )
    where = [str(summary[key]) for key in ("platform", "device") if summary[key]]
    where += [str(environment["system"])] if environment.get("system") else []
    where += [f"{environment['cpus']} CPUs"] if environment.get("cpus") else []
    if where:
        facts.append(f"Machine: {markdown_text(', '.join(where))}")
    if training["time_s"]:
        facts.append(f"Time: {duration(training['time_s'])} of training, {plural(training['steps'], 'step')}")
    if isinstance(versions := environment.get("versions"), dict):
        facts.append(f"Versions: {markdown_text(', '.join(f'{name} {of}' for name, of in versions.items()))}")
    if environment.get("date"):
        facts.append(f"Date: {markdown_text(moment(str(environment['date'])))}")
    return facts


def _folds_table(folds: Sequence[dict[str, Any]]) -> Table:
    columns = [
        "Fold",
        "Steps",
        "Epochs",
        "Time",
        "Training loss",
        "Best step",
        "Its validation Dice",
        "Held out",
    ]
    rows = [
        (
            fold["fold"],
            _whole(fold["steps"]),
            Cell(fold["epochs"], decimals=1),
            Cell(fold["time_s"], text=None if fold["time_s"] is None else duration(fold["time_s"])),
            fold["train_loss"],
            _whole(fold["best_step"]),
            fold["best_val_dice"],
            fold["held_out"],
        )
        for fold in folds
    ]
    return Table.of(columns, rows)


def _whole(value: float | None) -> Cell:
    return Cell(value, text=None if value is None else f"{value:,.0f}")
