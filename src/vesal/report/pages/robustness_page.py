"""The page of a robustness benchmark: what is lost where, as curves, as a table of colours, and on the worst cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vesal.data.labels import MEAN, LabelSet
from vesal.evaluate.robustness.degradation import (
    CLEAN,
    Condition,
    Estimate,
    corrupted_means,
    degradation_table,
)
from vesal.evaluate.robustness.result import Robustness
from vesal.evaluate.robustness.result_text import (
    comparison_table,
    condition_table,
    drops_by_severity,
    headline_sentence,
    limits_sentence,
    worst_table,
)
from vesal.files import write_text
from vesal.report.figures.colours import class_colours
from vesal.report.figures.robustness_charts import CorruptedScan, corrupted_png, degradation_chart
from vesal.report.pages.html import Picture, chart, render_page, scan
from vesal.run_files import MODEL, fold_name
from vesal.text import UNDEFINED, duration, interval, listed, number, plural, with_interval
from vesal.version import __version__

#: A drop of so many percent has the full colour of the table.
_FULL = 60.0
#: How much of that colour, in percent, so that the ink on it stays readable.
_DEEPEST = 70.0


def write_robustness_report(
    path: Path,
    found: Robustness,
    labels: LabelSet,
    scans: Sequence[CorruptedScan] = (),
    baseline: Robustness | None = None,
) -> None:
    """Write one page that holds everything: `scans`, the worst cases, as pictures, `baseline` dashed in the curves.

    Raises:
        VesalError: the page cannot be written.
    """
    shared = _shared(found, baseline)
    context = {
        "title": f"Robustness of {_name(Path(found.model))}",
        "verdict": " ".join(filter(None, [headline_sentence(found), limits_sentence(found)])),
        "facts": [
            plural(found.cases, "case"),
            listed(found.classes, 5),
            plural(found.cost.predictions, "prediction"),
            duration(found.cost.seconds),
        ],
        "tiles": _tiles(found),
        "found": found,
        "heat": _heat(found),
        "curves": _curves(found, labels, _of_cases(baseline, shared)),
        "examples": [
            (
                one.worst,
                scan(corrupted_png(one, labels), f"{one.worst.case}, clean and {one.worst.condition}"),
            )
            for one in scans
        ],
        "comparison_table": None if found.comparison is None else comparison_table(found.comparison),
        "number": number,
        "shared": plural(len(shared), "case") if len(shared) < found.cases else "",
        "table": condition_table(found.conditions),
        "worst_table": worst_table(found),
        "overview": _overview(found),
        "version": __version__,
    }
    write_text(path, render_page("robustness.html.j2", context))


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


def _tiles(found: Robustness) -> list[tuple[str, str, str]]:
    """(name, value, what stands beneath it)."""
    clean = found.clean_dice
    tiles = [("clean mean Dice", number(clean.mean), interval(clean.low, clean.high))]
    if (top := found.headline) is not None:
        where = "" if top.severity is None else f" at severity {top.severity}"
        drop = top.drop_percent
        tiles.append((f"mean drop{where}", f"{number(drop.mean, 1)} %", interval(drop.low, drop.high, 1)))
        here = [one for one in corrupted_means(found.conditions) if one.severity == top.severity]
        drops = {one.artifact: one.drop_percent.mean for one in here if one.drop_percent.mean is not None}
        if drops:
            hardest = max(drops, key=lambda name: drops[name])
            tiles.append((f"hardest{where}", hardest, f"{number(drops[hardest], 1)} % of the Dice"))
    if found.comparison is not None:
        mce = number(found.comparison.mce, 1)
        tiles.append(("mean corruption error", f"{mce} %", "100 is the baseline"))
    if found.cost.memory_mb is not None:
        each = f"{number(found.cost.seconds_each, 2)} s a prediction"
        tiles.append(("memory", f"{found.cost.memory_mb / 1024:.1f} GiB", each))
    return tiles


# --- artefacts -------------------------------------------------------------------------------------------


def _heat(found: Robustness) -> dict[str, Any]:
    """Artefacts down, severities across: the relative drop of the mean Dice, the harder the redder."""
    severities, rows = drops_by_severity(found.conditions)
    return {
        "columns": ["own setting" if severity is None else str(severity) for severity in severities],
        "rows": [
            {"name": name, "cells": [_heat_cell(conditions.get(severity)) for severity in severities]}
            for name, conditions in rows.items()
        ],
    }


def _heat_cell(condition: Condition | None) -> dict[str, Any]:
    if condition is None or condition.drop_percent.mean is None:
        return {"text": "" if condition is None else UNDEFINED, "share": 0, "title": ""}
    drop, dice = condition.drop_percent, number(condition.dice.mean)
    return {
        "text": number(drop.mean, 1),
        "share": round(_DEEPEST * min(1.0, max(0.0, drop.mean or 0.0) / _FULL)),
        "title": f"{condition.condition}: Dice {dice}, drop {with_interval(drop.mean, drop.low, drop.high, 1)} %",
    }


def _shared(found: Robustness, baseline: Robustness | None) -> set[str]:
    """Cases that the baseline was measured on, too; none where there is no comparison."""
    if baseline is None or found.comparison is None:
        return set()
    return {row.case for row in found.rows} & {row.case for row in baseline.rows}


def _of_cases(baseline: Robustness | None, cases: set[str]) -> Sequence[Condition]:
    """What the baseline reached in these cases."""
    if baseline is None or not cases:
        return ()
    rows = [row for row in baseline.rows if row.case in cases]
    if len(rows) == len(baseline.rows):
        return baseline.conditions
    return degradation_table(rows, baseline.classes, baseline.patients)


def _curves(found: Robustness, labels: LabelSet, baseline: Sequence[Condition]) -> list[Picture]:
    """Of each artefact that was tested at severities, all over one range of Dice."""
    drawn: dict[str, tuple[dict[str, dict[int, Estimate]], dict[int, Estimate]]] = {}
    values: list[float | None] = []
    for artifact, row in drops_by_severity(found.conditions)[1].items():
        tested = sorted(severity for severity in row if severity is not None)
        titles = {0: CLEAN, **{severity: f"{artifact} {severity}" for severity in tested}}
        classes = {name: _dice(found.conditions, titles, name) for name in (MEAN, *found.classes)}
        if tested and classes[MEAN]:
            drawn[artifact] = classes, _dice(baseline, titles, MEAN)
            values += [one.mean if one.low is None else one.low for one in classes[MEAN].values()]
            values += [one.mean for name in found.classes for one in classes[name].values()]
    lowest = max(0.0, 0.1 * int(10 * min((value for value in values if value is not None), default=0.0)))
    return [
        chart(
            partial(degradation_chart, artifact, *lines, class_colours(labels), lowest),
            f"Dice over the severity of {artifact}",
        )
        for artifact, lines in drawn.items()
    ]


def _dice(conditions: Sequence[Condition], titles: Mapping[int, str], class_name: str) -> dict[int, Estimate]:
    """Severity -> Dice, where it is defined."""
    dice = {one.condition: one.dice for one in conditions if one.class_name == class_name}
    found = {severity: dice[title] for severity, title in titles.items() if title in dice}
    return {severity: one for severity, one in found.items() if one.mean is not None}


def _overview(found: Robustness) -> list[tuple[str, str]]:
    cost, settings = found.cost, found.settings
    memory = "unknown" if cost.memory_mb is None else f"{cost.memory_mb / 1024:.2f} GiB at most"
    facts = [
        ("model", found.model),
        ("data", found.data),
        *(
            (name.replace("_", " ").replace("artifact", "artefact"), _plain(value))
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
