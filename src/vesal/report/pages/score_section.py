"""The scores on the report's page: tiles, the table with intervals, charts, and the table of every case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from vesal.data.labels import LabelSet
from vesal.evaluate.case_scores import ClassScore
from vesal.evaluate.scores import MEAN, Scores, VolumeAgreement
from vesal.evaluate.tables import LESION_NOTE, VOLUME_NOTE, agreement_table, lesion_table
from vesal.report.figures import charts
from vesal.report.figures.colours import Theme, class_colours
from vesal.report.pages.html import Picture, chart
from vesal.table import Cell, Table
from vesal.text import interval, number

#: Columns of the table of scores.
SHOWN = ("dice", "nsd", "hd95_mm", "assd_mm", "precision", "recall", "volume_error_ml")
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
        bounds = interval(row.low, row.high) if row.count > 1 else ""
        tiles.append({"name": title, "colour": colour, "value": number(row.mean), "small": bounds})
    return tiles


def further_tables(scores: Scores) -> list[tuple[str, str, Table]]:
    """Title, note and table of lesions and of volumes, where there are any."""
    found = []
    if scores.lesions:
        found.append(("Lesions", LESION_NOTE, lesion_table(scores)))
    if scores.agreement:
        found.append(("Volumes", VOLUME_NOTE, agreement_table(scores)))
    return found


def score_note(scores: Scores) -> str:
    return (
        f"Means over the cases with {scores.confidence:.0%} studentised bootstrap intervals. NSD at "
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
    for agreement in scores.agreement[:_MOST_AGREEMENTS]:
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
    return charts.bland_altman_chart(agreement.class_name, *pairs, agreement, colour, theme)


def mean_dice(scores: Scores) -> dict[str, float | None]:
    """Case -> mean over the classes that it defines, in the cases' order."""
    by_case: dict[str, list[float]] = {}
    for row in scores.cases:
        by_case.setdefault(row.case, []).extend([] if row.dice is None else [row.dice])
    return {case: float(np.mean(dice)) if dice else None for case, dice in by_case.items()}


def case_table(scores: Scores, fold_of: dict[str, str]) -> Table:
    """A row a case: its fold where there are several, its mean Dice, and what each class reached."""
    folds, several = len(set(fold_of.values())) > 1, len(scores.classes) > 1
    detailed = len(scores.classes) <= _FEW_CLASSES
    columns = ["case", *["fold"] * folds, *["mean Dice"] * several]
    for name in scores.classes:
        columns += [f"Dice, {name}", *[f"HD95 (mm), {name}", f"volume (ml), {name}"] * detailed]
    by_case: dict[str, dict[str, ClassScore]] = {}
    for row in scores.cases:
        by_case.setdefault(row.case, {})[row.class_name] = row
    rows = []
    for case, mean in mean_dice(scores).items():
        cells = [Cell(case), *[Cell(fold_of.get(case, ""))] * folds, *[_cell(mean)] * several]
        for name in scores.classes:
            cells += _class_cells(by_case[case].get(name))[: 3 if detailed else 1]
        rows.append(cells)
    return Table(columns, rows)


def _class_cells(row: ClassScore | None) -> list[Cell]:
    """Dice, HD95 and volume."""
    if row is None:
        return [Cell("")] * 3
    empty = {"prediction": "not found", "truth": "not in the truth"}.get(row.empty or "", "")
    volume = Cell(row.volume_ml, decimals=2, remark=f"true {number(row.truth_volume_ml, 2)}")
    return [replace(_cell(row.dice), remark=empty), _cell(row.hd95_mm, 1), volume]


def _cell(value: float | None, decimals: int = 3) -> Cell:
    """Undefined values are left empty."""
    return Cell("") if value is None else Cell(value, decimals=decimals)
