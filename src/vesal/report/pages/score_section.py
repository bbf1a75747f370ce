"""The scores on the report's page: tiles, the table with intervals, charts, and the table of every case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from vesal.data.labels import LabelSet
from vesal.evaluate.case_scores import LESION_METRICS
from vesal.evaluate.score_folders import MEAN, METRICS, ClassScore, Scores, Summary
from vesal.evaluate.scores import VolumeAgreement, volume_agreement
from vesal.evaluate.tables import interval_name
from vesal.report.figures import charts
from vesal.report.figures.agreement_chart import bland_altman_chart
from vesal.report.figures.colours import Theme, class_colours
from vesal.report.pages.html import Cell, Picture, chart
from vesal.text import interval, number

#: Columns of the table of scores.
_SHOWN = ("dice", "nsd", "hd95_mm", "assd_mm", "precision", "recall", "volume_error_ml")
#: With more classes the table of cases holds Dice alone.
_FEW_CLASSES = 4
#: A page has room for so many tiles in a row.
_TILES = 7
#: Charts of agreement, one a class.
_MOST_AGREEMENTS = 8
_MEAN_COLOUR = "#8a94a3"


def colours_of(scores: Scores, labels: LabelSet | None) -> list[str]:
    known = dict(zip(labels.classes, class_colours(labels), strict=True)) if labels is not None else {}
    fallback = class_colours(LabelSet.from_values({name: i + 1 for i, name in enumerate(scores.classes)}))
    return [known.get(name, other) for name, other in zip(scores.classes, fallback, strict=False)]


def tiles(scores: Scores, colours: Sequence[str]) -> list[dict[str, str]]:
    names = [MEAN, *scores.classes] if len(scores.classes) > 1 else list(scores.classes)
    shades = ["", *colours] if len(scores.classes) > 1 else list(colours)
    tiles = []
    for name, colour in list(zip(names, shades, strict=True))[:_TILES]:
        row = scores.of("dice", name)
        title = "mean Dice" if name == MEAN else f"Dice, {name}"
        tiles.append({"name": title, "colour": colour, "value": number(row.mean), "small": _bounds(row, 3)})
    return tiles


def _bounds(row: Summary, decimals: int) -> str:
    """The interval; one case has none."""
    return interval(row.low, row.high, decimals) if row.count > 1 else ""


def score_table(scores: Scores, colours: Sequence[str]) -> dict[str, Any]:
    shown = [key for key in _SHOWN if key in METRICS]
    heads = [METRICS[key].title + (f" ({METRICS[key].unit})" if METRICS[key].unit else "") for key in shown]
    rows = []
    for name, colour in zip([*scores.classes, MEAN], [*colours, ""], strict=True):
        if name == MEAN and len(scores.classes) == 1:
            continue
        cells = []
        for key in shown:
            found, decimals = scores.of(key, name), METRICS[key].decimals
            cells.append(Cell("", number(found.mean, decimals), _bounds(found, decimals)))
        dice = scores.of("dice", name)
        without = f"{dice.excluded} without the class" if dice.excluded else ""
        cells.append(Cell("", str(dice.count), without))
        rows.append({"name": name, "colour": colour, "total": name == MEAN, "cells": cells})
    further = [table for table in (_lesion_table(scores), _agreement_table(scores)) if table["rows"]]
    return {"columns": [*heads, "cases"], "rows": rows, "further": further}


def _lesion_table(scores: Scores) -> dict[str, Any]:
    """Lesions over all cases, and means over the cases."""
    heads = [shown.title + (f" ({shown.unit})" if shown.unit else "") for shown in LESION_METRICS.values()]
    rows = []
    for name in scores.lesions:
        of = [row for row in scores.cases if row.class_name == name]
        true, found = (sum(getattr(row, key) or 0 for row in of) for key in ("lesions", "lesions_found"))
        cells = [Cell("", f"{found} of {true}")]
        for key, shown in LESION_METRICS.items():
            row = scores.of(key, name)
            cells.append(Cell("", number(row.mean, shown.decimals), _bounds(row, shown.decimals)))
        rows.append({"name": name, "cells": cells})
    return {
        "title": "Lesions",
        "note": "A lesion is a connected piece; it is found when one of its voxels was predicted. A predicted piece "
        "that touches no truth is a false positive.",
        "columns": ["found", *heads],
        "rows": rows,
    }


def _agreement_table(scores: Scores) -> dict[str, Any]:
    """Bias and limits of agreement of the volumes; scores of an older version have theirs computed."""

    def cell(value: float | None, low: float | None, high: float | None) -> Cell:
        return Cell("", number(value, 2), interval(low, high, 2))

    rows = [
        {
            "name": row.class_name,
            "cells": [
                cell(row.bias_ml, row.bias_low_ml, row.bias_high_ml),
                cell(row.lower_ml, row.lower_low_ml, row.lower_high_ml),
                cell(row.upper_ml, row.upper_low_ml, row.upper_high_ml),
                Cell("", str(row.count)),
            ],
        }
        for row in agreement_of(scores)
    ]
    return {
        "title": "Volumes",
        "note": "Predicted minus true volume: the mean (bias) and the limits between which 95 of 100 differences lie "
        "(Bland and Altman).",
        "columns": ["bias (ml)", "lower limit (ml)", "upper limit (ml)", "cases"],
        "rows": rows,
    }


def agreement_of(scores: Scores) -> tuple[VolumeAgreement, ...]:
    """Of the volumes, also of scores that an older version wrote."""
    return scores.agreement or volume_agreement(scores.classes, scores.cases)


def score_note(scores: Scores) -> str:
    return (
        f"Means over the cases with {scores.confidence:.0%} {interval_name(scores)} intervals. NSD at "
        f"{scores.tolerance_mm:g} mm. "
        "A case where both truth and prediction lack the class is left out of its mean; where one lacks it, Dice "
        "is 0. The held-out cases also chose the best checkpoint, so expect a little less on scans from elsewhere."
    )


def score_charts(scores: Scores, colours: Sequence[str]) -> list[Picture]:
    values: dict[str, Sequence[float]] = {}
    shades = list(colours)
    if len(scores.classes) > 1:
        values["mean"] = [dice for dice in mean_dice(scores).values() if dice is not None]
        shades = [_MEAN_COLOUR, *colours]
    volumes = {}
    for name in scores.classes:
        rows = [row for row in scores.cases if row.class_name == name]
        values[name] = [row.dice for row in rows if row.dice is not None]
        volumes[name] = ([row.truth_volume_ml for row in rows], [row.volume_ml for row in rows])
    drawn: list[tuple[Callable[[Theme], bytes], str]] = []
    if any(len(dice) for dice in values.values()):
        drawn.append((lambda theme: charts.dice_distribution(values, shades, theme), "Dice of each case"))
        drawn.append(
            (
                lambda theme: charts.volume_agreement(volumes, colours, "ml", theme),
                "Predicted over true volume",
            )
        )
    for agreement in agreement_of(scores)[:_MOST_AGREEMENTS]:
        colour = colours[scores.classes.index(agreement.class_name)]
        drawn.append(
            (
                partial(_agreement_chart, scores, agreement, colour),
                f"Volume differences of {agreement.class_name}, with the limits of agreement",
            )
        )
    return [chart(draw, alt) for draw, alt in drawn]


def _agreement_chart(scores: Scores, agreement: VolumeAgreement, colour: str, theme: Theme) -> bytes:
    rows = [row for row in scores.cases if row.class_name == agreement.class_name and row.empty != "both"]
    pairs = [row.truth_volume_ml for row in rows], [row.volume_ml for row in rows]
    return bland_altman_chart(agreement.class_name, *pairs, agreement, colour, theme)


def mean_dice(scores: Scores) -> dict[str, float | None]:
    """Case -> mean over the classes that it defines, in the cases' order."""
    by_case: dict[str, list[float]] = {}
    for row in scores.cases:
        by_case.setdefault(row.case, []).extend([] if row.dice is None else [row.dice])
    return {case: float(np.mean(dice)) if dice else None for case, dice in by_case.items()}


def case_table(scores: Scores, fold_of: dict[str, str]) -> dict[str, Any]:
    folds = len(set(fold_of.values())) > 1
    columns = ["case", *(["fold"] if folds else [])]
    if len(scores.classes) > 1:
        columns.append("mean Dice")
    detailed = len(scores.classes) <= _FEW_CLASSES
    for name in scores.classes:
        columns.append(f"Dice, {name}")
        if detailed:
            columns += [f"HD95 (mm), {name}", f"volume (ml), {name}"]
    by_case: dict[str, dict[str, ClassScore]] = {}
    for row in scores.cases:
        by_case.setdefault(row.case, {})[row.class_name] = row
    rows = []
    for case, mean in mean_dice(scores).items():
        cells = [Cell(case, case)]
        if folds:
            cells.append(_cell(None, fold_of.get(case, "")))
        if len(scores.classes) > 1:
            cells.append(_cell(mean))
        for name in scores.classes:
            cells += _class_cells(by_case[case].get(name), detailed)
        rows.append(cells)
    return {"columns": columns, "rows": rows}


def _class_cells(row: ClassScore | None, detailed: bool) -> list[Cell]:
    if row is None:
        return [Cell("", "")] * (3 if detailed else 1)
    empty = {"prediction": "not found", "truth": "not in the truth", "both": ""}.get(row.empty or "", "")
    dice = _cell(row.dice)
    cells = [Cell(dice.value, dice.text, empty)]
    if detailed:
        cells += [
            _cell(row.hd95_mm, None, 1),
            Cell(repr(row.volume_ml), number(row.volume_ml, 2), f"true {number(row.truth_volume_ml, 2)}"),
        ]
    return cells


def _cell(value: float | None, text: str | None = None, decimals: int = 3) -> Cell:
    if text is not None:
        return Cell(text, text)
    return Cell("", "") if value is None else Cell(repr(value), number(value, decimals))
