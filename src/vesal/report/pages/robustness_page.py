"""The page of a robustness benchmark: what is lost where, as curves, as a table of colours, and on the worst cases."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vesal.data.labels import LabelSet
from vesal.evaluate.robustness.degradation import CLEAN, MEAN, Condition, Estimate, corrupted_means
from vesal.evaluate.robustness.result import Robustness
from vesal.files import write_text
from vesal.report.figures.colours import class_colours
from vesal.report.figures.robustness_charts import (
    CorruptedScan,
    Degradation,
    corrupted_png,
    degradation_chart,
)
from vesal.report.pages.html import Picture, chart, render_page, scan
from vesal.run_files import MODEL, fold_name
from vesal.table import Cell, Table
from vesal.text import duration, interval, listed, number, plural
from vesal.version import __version__

#: A drop of so many percent has the full colour of the table.
_FULL = 60.0
#: How much of that colour, in percent, so that the ink on it stays readable.
_DEEPEST = 70.0


def write_robustness_report(
    path: Path,
    found: Robustness,
    labels: LabelSet,
    pictures: Sequence[CorruptedScan] = (),
    baseline: Robustness | None = None,
) -> Path:
    """Write one page that holds everything, pictures too.

    Args:
        path: of the page.
        found: what was measured.
        labels: names and colours of the classes.
        pictures: of the worst cases.
        baseline: drawn dashed in the curves, if there is one.

    Raises:
        VesalError: the page cannot be written.
    """
    write_text(path, render_page("robustness.html.j2", _context(found, labels, pictures, baseline)))
    return path


def _context(
    found: Robustness, labels: LabelSet, pictures: Sequence[CorruptedScan], baseline: Robustness | None
) -> dict[str, Any]:
    context: dict[str, Any] = {
        "title": f"Robustness of {_name(Path(found.model))}",
        "verdict": _verdict(found),
        "passed": found.passed,
        "facts": _facts(found),
        "tiles": _tiles(found),
        "limits": [
            (one.limit.text, number(one.measured_percent, 1), one.passed, one.sentence())
            for one in found.limits
        ],
        "heat": _heat(found),
        "curves": _curves(found, labels, baseline),
        "examples": [
            {
                "case": shown.worst.case,
                "what": f"{shown.worst.condition}: Dice {number(shown.worst.clean_dice)} to "
                f"{number(shown.worst.dice)}, a drop of {number(shown.worst.drop_percent, 1)} %",
                "picture": scan(
                    corrupted_png(shown, labels), f"{shown.worst.case}, clean and {shown.worst.condition}"
                ),
            }
            for shown in pictures
        ],
        "comparison": found.comparison,
        "comparison_rows": [
            (one.artifact, number(one.error, 1), number(one.relative, 1)) for one in _errors(found)
        ],
        "number": number,
        "table": _table(found),
        "worst": _worst(found),
        "failures": found.failures,
        "remarks": found.remarks,
        "overview": _overview(found),
        "version": __version__,
    }
    context["contents"] = _contents(context)
    return context


def _contents(context: dict[str, Any]) -> list[tuple[str, str]]:
    every = [
        ("limits", "Limits", context["limits"]),
        ("heat", "All artefacts", context["heat"]["rows"]),
        ("curves", "Curves", context["curves"]),
        ("baseline", "Baseline", context["comparison"]),
        ("worst", "Worst cases", context["worst"]["rows"]),
        ("table", "Every number", True),
        ("how", "How it was measured", True),
    ]
    return [(target, name) for target, name, there in every if there]


# --- the first lines -------------------------------------------------------------------------------------


def _name(model: Path) -> str:
    """What people call a model: a run and its fold where the file is one of these.

    >>> _name(Path("runs/heart/fold_0/model.vesal")), _name(Path("heart.vesal"))
    ('heart, fold 0', 'heart.vesal')
    """
    folder = model.parent if model.name == MODEL else model
    if (fold := fold_name(folder)) is not None:
        return f"{folder.parent.name}, fold {fold}".removeprefix(", ")
    return model.name or str(model)


def _verdict(found: Robustness) -> str:
    parts = []
    if (top := found.headline) is not None:
        where = "" if top.severity is None else f" at severity {top.severity}"
        drop = top.drop_percent
        parts.append(
            f"Over {plural(top.artifacts, 'artefact')}{where}, {number(drop.mean, 1)} % of the Dice is lost on average"
            + (f" (95 % interval {interval(drop.low, drop.high, 1)})" if found.cases > 1 else "")
            + "."
        )
    if sentence := found.verdict():
        parts.append(sentence)
    return " ".join(parts) or "Nothing could be compared."


def _facts(found: Robustness) -> list[str]:
    return [
        plural(found.cases, "case"),
        listed(found.classes, 5),
        plural(found.cost.predictions, "prediction"),
        duration(found.cost.seconds),
    ]


def _tiles(found: Robustness) -> list[dict[str, str]]:
    clean = found.of(CLEAN).dice if any(one.artifact == CLEAN for one in found.conditions) else Estimate()
    tiles = [
        {"name": "clean mean Dice", "value": number(clean.mean), "small": interval(clean.low, clean.high)}
    ]
    if (top := found.headline) is not None:
        where = "" if top.severity is None else f" at severity {top.severity}"
        tiles.append(
            {
                "name": f"mean drop{where}",
                "value": f"{number(top.drop_percent.mean, 1)} %",
                "small": interval(top.drop_percent.low, top.drop_percent.high, 1),
            }
        )
        here = [
            one
            for one in corrupted_means(found.conditions)
            if one.severity == top.severity and one.drop_percent.mean is not None
        ]
        if here:
            hardest = max(here, key=lambda one: one.drop_percent.mean or 0.0)
            tiles.append(
                {
                    "name": f"hardest{where}",
                    "value": hardest.artifact,
                    "small": f"{number(hardest.drop_percent.mean, 1)} % of the Dice",
                }
            )
    if found.comparison is not None:
        tiles.append(
            {
                "name": "mean corruption error",
                "value": f"{number(found.comparison.mce, 1)} %",
                "small": "100 is the baseline",
            }
        )
    if found.cost.memory_mb is not None:
        tiles.append(
            {
                "name": "memory",
                "value": f"{found.cost.memory_mb / 1024:.1f} GiB",
                "small": f"{number(found.cost.seconds_each, 2)} s a prediction",
            }
        )
    return tiles


# --- artefacts -------------------------------------------------------------------------------------------


def _heat(found: Robustness) -> dict[str, Any]:
    """Artefacts down, severities across: the relative drop of the mean Dice, the harder the redder."""
    corrupted = corrupted_means(found.conditions)
    severities = sorted({one.severity for one in corrupted if one.severity is not None})
    rows: dict[str, dict[int | None, Condition]] = {}
    for one in corrupted:
        rows.setdefault(one.artifact if one.severity is not None else one.condition, {})[one.severity] = one
    columns: list[int | None] = [*severities]
    if any(one.severity is None for one in corrupted):
        columns.append(None)
    return {
        "columns": ["own setting" if level is None else str(level) for level in columns],
        "rows": [
            {"name": name, "cells": [_heat_cell(levels.get(level)) for level in columns]}
            for name, levels in rows.items()
        ],
    }


def _heat_cell(level: Condition | None) -> dict[str, Any]:
    if level is None or level.drop_percent.mean is None:
        return {"text": "" if level is None else "–", "share": 0, "title": ""}
    drop = level.drop_percent
    share = round(_DEEPEST * min(1.0, max(0.0, drop.mean or 0.0) / _FULL))
    return {
        "text": number(drop.mean, 1),
        "share": share,
        "title": f"{level.condition}: Dice {number(level.dice.mean)}, drop {interval(drop.low, drop.high, 1)} %",
    }


def _curves(found: Robustness, labels: LabelSet, baseline: Robustness | None) -> list[Picture]:
    degradations = _degradations(found, baseline)
    if not degradations:
        return []
    values = [low for degradation in degradations for _, low, _ in degradation.mean.values()]
    values += [
        value
        for degradation in degradations
        for line in degradation.classes.values()
        for value in line.values()
    ]
    lowest = max(0.0, 0.1 * int(10 * min(values)))
    colours = class_colours(labels)
    return [
        chart(
            partial(degradation_chart, degradation, colours, lowest),
            f"Dice over the severity of {degradation.artifact}",
        )
        for degradation in degradations
    ]


def _degradations(found: Robustness, baseline: Robustness | None) -> list[Degradation]:
    severities: dict[str, list[int]] = {}
    for one in corrupted_means(found.conditions):
        if one.severity is not None:
            severities.setdefault(one.artifact, []).append(one.severity)
    known = {(one.condition, one.class_name): one.dice for one in found.conditions}
    theirs = (
        {} if baseline is None else {(one.condition, one.class_name): one.dice for one in baseline.conditions}
    )
    degradations = []
    for artifact, levels in severities.items():
        titles = {0: CLEAN, **{level: f"{artifact} {level}" for level in sorted(levels)}}
        mean = {level: known.get((title, MEAN), Estimate()) for level, title in titles.items()}
        degradations.append(
            Degradation(
                artifact=artifact,
                mean={
                    level: (one.mean, one.low or 0.0, one.high or 0.0)
                    for level, one in mean.items()
                    if one.mean is not None
                },
                classes={name: _means(known, titles, name) for name in found.classes},
                baseline=_means(theirs, titles, MEAN),
            )
        )
    return [degradation for degradation in degradations if degradation.mean]


def _means(known: dict[tuple[str, str], Estimate], titles: dict[int, str], name: str) -> dict[int, float]:
    found = {level: known.get((title, name), Estimate()).mean for level, title in titles.items()}
    return {level: mean for level, mean in found.items() if mean is not None}


# --- tables ----------------------------------------------------------------------------------------------


def _errors(found: Robustness) -> Sequence[Any]:
    return () if found.comparison is None else found.comparison.artifacts


def _table(found: Robustness) -> Table:
    columns = ["condition", "class", "Dice", "drop (%)", "HD95 (mm)", "boundary Dice", "cases"]
    rows = []
    for one in found.conditions:
        name = "mean of the classes" if one.class_name == MEAN else one.class_name
        drop = Estimate() if one.artifact == CLEAN else one.drop_percent
        rows.append(
            [
                one.condition,
                name,
                _estimate(one.dice, 3),
                _estimate(drop, 1),
                _estimate(one.hd95_mm, 2),
                _estimate(one.boundary_dice, 3),
                one.count,
            ]
        )
    return Table.of(columns, rows)


def _estimate(value: Estimate, decimals: int) -> Cell:
    return Cell("") if value.mean is None else Cell(value.mean, value.low, value.high, decimals)


def _worst(found: Robustness) -> Table:
    rows = [
        (one.condition, one.case, one.clean_dice, one.dice, Cell(one.drop_percent, decimals=1))
        for one in found.worst
    ]
    return Table.of(["condition", "case", "clean Dice", "Dice", "drop (%)"], rows)


def _overview(found: Robustness) -> list[tuple[str, str]]:
    cost, settings = found.cost, found.settings
    memory = "unknown" if cost.memory_mb is None else f"{cost.memory_mb / 1024:.2f} GiB at most"
    facts = [
        ("model", found.model),
        ("data", found.data),
        *(
            (name.replace("_", " "), _plain(value))
            for name, value in settings.items()
            if value not in ([], ())
        ),
        ("time", f"{duration(cost.seconds)}, {number(cost.seconds_each, 2)} s a prediction"),
        ("memory", memory),
        ("computed by", cost.backend),
    ]
    return [(name, value) for name, value in facts if value]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
