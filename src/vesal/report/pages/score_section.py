"""The scores on the report's page: tiles, the table with intervals, charts, and the table of every case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from vesal.data.labels import MEAN, LabelSet
from vesal.evaluate.case_scores import ClassScore
from vesal.evaluate.scores import Scores, by_case, sizes_of
from vesal.evaluate.tables import further_tables, summary_table
from vesal.report.figures import charts
from vesal.report.figures.colours import MEAN_COLOUR, Theme, colours_by_class
from vesal.report.pages.html import Picture, chart
from vesal.table import Cell, Table
from vesal.text import interval, number, plural

#: Columns of the table of scores, as far as they were measured.
_SHOWN = ("dice", "nsd", "hd95_mm", "assd_mm", "precision", "recall", "volume_error_ml", "area_error_mm2")
#: Of whole volumes, where the cases are slices.
_WHOLE_SHOWN = ("dice", "nsd", "hd95_mm", "assd_mm", "volume_error_ml")
#: With more classes the table of cases holds Dice alone.
_FEW_CLASSES = 4
#: A page has room for so many tiles in a row.
_TILES = 7
#: Charts of agreement, one a class.
_MOST_AGREEMENTS = 8


def score_section(scores: Scores, labels: LabelSet | None, fold_of: Mapping[str, str]) -> dict[str, Any]:
    """For the template: tiles, tables, charts and notes of the held-out cases.

    `labels` are None where the classes' colours are not known; `fold_of` names the fold that held a case out.
    """
    colours = colours_by_class(scores.classes, labels)
    return {
        "tiles": _tiles(scores, colours),
        "table": summary_table(scores, [name for name in _SHOWN if name in scores.metrics], counted=True),
        "colours": colours,
        "further": [*_whole_volumes(scores.volumes), *further_tables(scores)],
        "note": f"Means over the cases with {scores.confidence:.0%} studentised bootstrap intervals over "
        f"{scores.drawn}. NSD at {scores.tolerance_mm:g} mm. "
        "A case where both truth and prediction lack the class is left out of its mean; where one lacks it, Dice "
        "is 0. The held-out cases also chose the best checkpoint, so expect a little less on scans from elsewhere.",
        "remarks": [*scores.remarks, *(f"{failure.id}: {failure.message}" for failure in scores.failures)],
        "charts": score_charts(scores, colours),
        "cases": _case_table(scores, fold_of),
    }


def _whole_volumes(volumes: Scores | None) -> list[tuple[str, str, Table]]:
    """Title, note and table of the volumes that slices belong to."""
    if volumes is None:
        return []
    count = len({row.case for row in volumes.cases})
    notes = [
        f"The cases are slices; here those of one volume, one on another, are one case ({plural(count, 'volume')}).",
        *volumes.remarks,
        *(f"{failure.id}: {failure.message}." for failure in volumes.failures),
    ]
    return [("Whole volumes", " ".join(notes), summary_table(volumes, _WHOLE_SHOWN, counted=True))]


def _tiles(scores: Scores, colours: Mapping[str, str]) -> list[tuple[str, str, str, str]]:
    """Name, colour, value and interval."""
    tiles = []
    for name in [*[MEAN] * (len(scores.classes) > 1), *scores.classes][:_TILES]:
        row = scores.of("dice", name)
        title = "mean Dice" if name == MEAN else f"Dice, {name}"
        bounds = interval(row.low, row.high) if row.count > 1 else ""
        tiles.append((title, colours.get(name, ""), number(row.mean), bounds))
    return tiles


def score_charts(scores: Scores, colours: Mapping[str, str]) -> list[Picture]:
    """Dice and volumes (areas of 2D images) of all cases, and how far predicted and true ones agree in each class."""
    values: dict[str, Sequence[float]] = {}
    shades = list(colours.values())
    if len(scores.classes) > 1:
        values[MEAN] = [dice for dice in scores.mean_dice().values() if dice is not None]
        shades = [MEAN_COLOUR, *shades]
    flat = all(row.flat for row in scores.cases)
    unit = "mm²" if flat else "ml"
    sizes = {}
    for name in scores.classes:
        rows = [row for row in scores.cases if row.class_name == name]
        values[name] = [row.dice for row in rows if row.dice is not None]
        sizes[name] = sizes_of([row for row in rows if row.flat == flat])
    drawn: list[tuple[Callable[[Theme], bytes], str]] = []
    if any(len(dice) for dice in values.values()):
        drawn.append((partial(charts.dice_distribution, values, shades), "Dice of each case"))
        agreement = partial(charts.volume_agreement, sizes, [*colours.values()], unit)
        drawn.append((agreement, f"Predicted over true {'area' if flat else 'volume'}"))
    agreements = scores.agreement_mm2 if flat else scores.agreement_ml
    for name, found in [*agreements.items()][:_MOST_AGREEMENTS]:
        draw = partial(charts.bland_altman_chart, name, sizes[name], found, colours[name], unit)
        kind = "Area" if flat else "Volume"
        drawn.append((draw, f"{kind} differences of {name}, with the limits of agreement"))
    return [chart(draw, alt) for draw, alt in drawn]


def _case_table(scores: Scores, fold_of: Mapping[str, str]) -> Table:
    """A row a case: its fold where there are several, its mean Dice, and what each class reached."""
    folds, several = len(set(fold_of.values())) > 1, len(scores.classes) > 1
    detailed = len(scores.classes) <= _FEW_CLASSES
    size = "area (mm²)" if all(row.flat for row in scores.cases) else "volume (ml)"
    columns = ["case", *["fold"] * folds, *["mean Dice"] * several]
    for name in scores.classes:
        columns += [f"Dice, {name}", *[f"HD95 (mm), {name}", f"{size}, {name}"] * detailed]
    scored, rows = by_case(scores.cases), []
    for case, mean in scores.mean_dice().items():
        cells = [Cell(case), *[Cell(fold_of.get(case, ""))] * folds, *[_cell(mean)] * several]
        for name in scores.classes:
            cells += _class_cells(scored[case].get(name))[: 3 if detailed else 1]
        rows.append(cells)
    return Table(columns, rows)


def _class_cells(row: ClassScore | None) -> list[Cell]:
    """Dice, HD95 and volume, or area in 2D."""
    if row is None:
        return [Cell("")] * 3
    empty = {"prediction": "not found", "truth": "not in the truth"}.get(row.empty or "", "")
    true, found = row.sizes
    decimals = 1 if row.flat else 2
    size = Cell(found, decimals=decimals, remark=f"true {number(true, decimals)}")
    return [replace(_cell(row.dice), remark=empty), _cell(row.hd95_mm, 1), size]


def _cell(value: float | None, decimals: int = 3) -> Cell:
    """Undefined values are left empty."""
    return Cell("") if value is None else Cell(value, decimals=decimals)
