"""Scores as tables and files: CSV for programs, Markdown for people."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from vesal.data.labels import MEAN
from vesal.evaluate.case_scores import (
    ALL_METRICS,
    LESION_METRICS,
    OF_AREAS,
    OF_VOLUMES,
    ClassScore,
)
from vesal.evaluate.scores import Scores
from vesal.files import remove, write_json, write_text
from vesal.metrics.agreement import Agreement
from vesal.record import Record
from vesal.run_files import SCORES, SCORES_CSV, SCORES_TEXT, VOLUME_SCORES_CSV
from vesal.table import Cell, Table
from vesal.text import bullets, listed, plural, shortened

#: Metrics of the first table.
HEADLINE = ("dice", "nsd", "hd95_mm", "assd_mm")

_LESION_NOTE = (
    "A lesion is a connected piece (by faces, edges and corners). It is found when one of its voxels was predicted; "
    "a predicted piece that touches no truth is a false positive. Counts are over all cases, the rest are means over "
    "cases."
)
_SIZE_NOTE = (
    "Predicted minus true {}: its mean (bias) and the limits between which 95 of 100 differences lie (Bland and "
    "Altman), with their intervals."
)

_WHOLE_NOTE = (
    "The cases are slices. Those of one volume, one on another at the stated distance, are one case here: Dice over "
    "all voxels, distances in 3D."
)

_NOTES = {
    "both": "empty in prediction and truth",
    "prediction": "nothing was predicted",
    "truth": "predicted, but not in the truth",
}


def save_scores(folder: str | Path, scores: Scores) -> None:
    """Write scores.json, scores.csv and scores.md into `folder`, and scores_volumes.csv where slices make volumes."""
    folder = Path(folder)
    write_json(folder / SCORES, scores.to_dict())
    write_text(folder / SCORES_CSV, scores_csv(scores))
    if scores.volumes is not None:
        write_text(folder / VOLUME_SCORES_CSV, scores_csv(scores.volumes))
    else:  # Of an earlier evaluation.
        remove(folder / VOLUME_SCORES_CSV)
    write_text(folder / SCORES_TEXT, scores_markdown(scores))


def scores_csv(scores: Scores) -> str:
    """One line a case and class with the fields of `ClassScore`; undefined values are empty.

    The columns of lesions are there when any were counted, those of areas for 2D images, those of volumes for others.
    """
    left_out = set() if scores.lesions else {"lesions", "lesions_found", *LESION_METRICS}
    if not any(row.flat for row in scores.cases):
        left_out |= {*OF_AREAS}
    elif all(row.flat for row in scores.cases):
        left_out |= {*OF_VOLUMES}
    return record_table(ClassScore, scores.cases, left_out).csv()


def record_table(kind: type[Record], rows: Iterable[Record], left_out: Collection[str] = ()) -> Table:
    """A row a record; a column a field, named as in JSON."""
    fields = {name: field for name, field in kind.model_fields.items() if name not in left_out}
    columns = [field.serialization_alias or name for name, field in fields.items()]
    return Table.of(columns, [[getattr(row, name) for name in fields] for row in rows])


def scores_markdown(scores: Scores) -> str:
    """The means with their intervals, the medians, notes, and the cases."""
    parts = [
        "# Scores",
        f"{plural(len({row.case for row in scores.cases}), 'case')}, {len(scores.classes)} "
        f"{'class' if len(scores.classes) == 1 else 'classes'}. NSD at a tolerance of {scores.tolerance_mm:g} mm. "
        f"Means over the cases; in brackets the {scores.confidence:.0%} interval of the studentised bootstrap over "
        f"{scores.drawn}.",
        summary_table(scores, HEADLINE, counted=True).markdown(),
        "## Means",
        summary_table(scores).markdown(),
        "## Medians",
        summary_table(scores, median=True).markdown(),
    ]
    for title, note, table in further_tables(scores):
        parts += [f"## {title}", note, table.markdown()]
    if notes := [*_exclusions(scores.cases), *scores.remarks]:
        parts += ["## Notes", bullets(notes)]
    if scores.failures:
        failed = [f"{failure.id}: {failure.message}" for failure in scores.failures]
        parts += ["## Cases that could not be scored", bullets(failed)]
    parts += ["## Cases", _case_table(scores.cases).markdown()]
    if scores.volumes is not None:
        parts += [
            "## Whole volumes",
            _WHOLE_NOTE,
            summary_table(scores.volumes, HEADLINE, counted=True).markdown(),
            *[bullets(scores.volumes.remarks)] * bool(scores.volumes.remarks),
            _case_table(scores.volumes.cases).markdown(),
        ]
        failed = [f"{failure.id}: {failure.message}." for failure in scores.volumes.failures]
        parts += ["Volumes that could not be put together:", bullets(failed)] if failed else []
    return "\n\n".join(parts) + "\n"


def scores_text(scores: Scores) -> str:
    """What a terminal shows: a table of 80 columns at most, what was remarked, and what could not be scored."""
    count = len({row.case for row in scores.cases})
    over = " over patients" if scores.patients else ""
    bounds = f"; in brackets the {scores.confidence:.0%} interval{over}" if count > 1 else ""
    parts = [
        _small_table(scores).plain(),
        f"Means over {plural(count, 'case')}{bounds}. NSD at {scores.tolerance_mm:g} mm.",
        *scores.remarks,
    ]
    if scores.volumes is not None and scores.volumes.cases:
        volumes = plural(len({row.case for row in scores.volumes.cases}), "whole volume")
        parts += [_small_table(scores.volumes).plain(), f"The same slices as {volumes}."]
    if failed := [failure.id for failure in scores.failures]:
        parts.append(f"Not scored: {listed(failed)}.")
    return "\n".join(parts)


def _small_table(scores: Scores) -> Table:
    """Dice with its interval, and means of distances, as far as the scores have them."""
    rows = []
    shown = [metric for metric in ("nsd", "hd95_mm") if metric in scores.metrics]
    for name in [*scores.classes, *[MEAN] * (len(scores.classes) > 1)]:
        means = [
            Cell(scores.of(metric, name).mean, decimals=ALL_METRICS[metric].decimals) for metric in shown
        ]
        count = scores.of("dice", name).count
        rows.append([shortened(name, 28), _summary_cell(scores, "dice", name), *means, count])
    return Table.of(["Class", "Dice", *map(metric_heading, shown), "Cases"], rows)


def summary_table(
    scores: Scores, metrics: Sequence[str] | None = None, *, median: bool = False, counted: bool = False
) -> Table:
    """A row a class, and one of the mean over the classes where there are several; a column a metric.

    Values are means over the cases, or medians, of all metrics where none are named; `counted` adds a column of the
    cases that define the Dice.
    """
    metrics = scores.metrics if metrics is None else metrics
    several = len(scores.classes) > 1
    rows = []
    for name in [*scores.classes, MEAN] if several else scores.classes:
        row = [Cell(name), *(_summary_cell(scores, metric, name, median) for metric in metrics)]
        if counted:
            dice = scores.of("dice", name)
            row.append(Cell(dice.count, remark=f"{dice.excluded} excluded" if dice.excluded else ""))
        rows.append(row)
    return Table(["Class", *map(metric_heading, metrics), *["Cases"] * counted], rows, totals=int(several))


def further_tables(scores: Scores) -> list[tuple[str, str, Table]]:
    """Title, note and table of lesions, and of volumes or areas, where there are any."""
    found = []
    if scores.lesions:
        found.append(("Lesions", _LESION_NOTE, lesion_table(scores)))
    for title, unit, agreement in (
        ("Volumes", "ml", scores.agreement_ml),
        ("Areas", "mm²", scores.agreement_mm2),
    ):
        if agreement:
            note = _SIZE_NOTE.format(title[:-1].lower())
            found.append((title, note, agreement_table(agreement, unit)))
    return found


def lesion_table(scores: Scores) -> Table:
    """Counts over all cases, then means over the cases."""
    metrics, rows = scores.lesion_metrics, []
    for name in scores.lesions:
        of = [row for row in scores.cases if row.class_name == name]
        counts = [sum(getattr(row, key) or 0 for row in of) for key in ("lesions", "lesions_found")]
        rows.append([name, *counts, *(_summary_cell(scores, metric, name) for metric in metrics)])
    return Table.of(["Class", "Lesions", "Found", *map(metric_heading, metrics)], rows)


def agreement_table(agreement: Mapping[str, Agreement], unit: str) -> Table:
    """Bias and limits of agreement of volumes or areas, class by class."""
    rows = [
        (
            name,
            Cell(found.bias, found.bias_low, found.bias_high, decimals=2),
            Cell(found.spread, decimals=2),
            Cell(found.lower, found.lower_low, found.lower_high, decimals=2),
            Cell(found.upper, found.upper_low, found.upper_high, decimals=2),
            found.count,
        )
        for name, found in agreement.items()
    ]
    columns = [f"{name} ({unit})" for name in ("Bias", "SD", "Lower limit", "Upper limit")]
    return Table.of(["Class", *columns, "Cases"], rows)


def _case_table(rows: Sequence[ClassScore]) -> Table:
    volumes, areas = not all(row.flat for row in rows), any(row.flat for row in rows)
    sizes = [("volume_error_ml", "volume_ml", "truth_volume_ml")] if volumes else []
    sizes += [("area_error_mm2", "area_mm2", "truth_area_mm2")] if areas else []
    heads = ["Volume (ml)", "Truth (ml)"] if volumes else []
    heads += ["Area (mm²)", "Truth (mm²)"] if areas else []
    metrics = (*HEADLINE, *(error for error, _, _ in sizes))
    return Table.of(
        ["Case", "Class", *map(metric_heading, metrics), *heads, "Note"],
        [
            (
                row.case,
                row.class_name,
                *(metric_cell(getattr(row, metric), metric) for metric in metrics),
                *(
                    Cell(getattr(row, size), decimals=ALL_METRICS[error].decimals)
                    for error, *both in sizes
                    for size in both
                ),
                _NOTES.get(row.empty or "", ""),
            )
            for row in rows
        ],
    )


def _exclusions(rows: Iterable[ClassScore]) -> list[str]:
    """What the policy for empty masks did, a sentence a class and kind."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.empty is not None:
            found.setdefault((row.class_name, row.empty), []).append(row.case)
    judged = "Dice and NSD 0, distances the image's diagonal"
    return [
        f"{name}: {_NOTES[kind]} in {len(cases)} "
        f"({'excluded from the means' if kind == 'both' else judged}): {', '.join(cases)}."
        for (name, kind), cases in found.items()
    ]


def _summary_cell(scores: Scores, metric: str, name: str, median: bool = False) -> Cell:
    """One case has no interval."""
    row = scores.of(metric, name)
    value, bounds = (
        (row.median, (row.median_low, row.median_high)) if median else (row.mean, (row.low, row.high))
    )
    return metric_cell(value, metric, *(bounds if row.count > 1 else ()))


def metric_cell(
    value: float | None, metric: str, low: float | None = None, high: float | None = None
) -> Cell:
    """A value with the metric's own decimals."""
    return Cell(value, low, high, decimals=ALL_METRICS[metric].decimals)


def metric_heading(metric: str) -> str:
    """Title and unit."""
    shown = ALL_METRICS[metric]
    return f"{shown.title} ({shown.unit})" if shown.unit else shown.title
