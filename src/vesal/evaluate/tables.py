"""Scores as text: CSV for programs, Markdown for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from vesal.evaluate.case_scores import ALL_METRICS, LESION_METRICS, METRICS, ClassScore
from vesal.text import number, with_interval

if TYPE_CHECKING:
    from vesal.evaluate.scores import Scores, Summary

#: Metrics of the first table.
_HEADLINE = ("dice", "nsd", "hd95_mm", "assd_mm")

_LESION_NOTE = (
    "A lesion is a connected piece (by faces, edges and corners). It is found when one of its voxels was predicted; "
    "a predicted piece that touches no truth is a false positive. Counts are over all cases, the rest are means over "
    "cases."
)
_VOLUME_NOTE = (
    "Predicted minus true volume: its mean (bias) and the limits between which 95 of 100 differences lie (Bland and "
    "Altman), with their intervals."
)

_NOTES = {
    "both": "empty in prediction and truth",
    "prediction": "nothing was predicted",
    "truth": "predicted, but not in the truth",
}


def to_csv(scores: Scores) -> str:
    """One line a case and class with the fields of `ClassScore`; undefined values are empty.

    The columns of lesions are there when any were counted.
    """
    lesions = {"lesions", "lesions_found", *LESION_METRICS}
    names = [
        field.serialization_alias or name
        for name, field in ClassScore.model_fields.items()
        if scores.lesions or name not in lesions
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(row.model_dump(by_alias=True) for row in scores.cases)
    return text.getvalue()


def to_markdown(scores: Scores) -> str:
    """The means with their intervals, the medians, what is to be known about them, and the cases."""
    cases = len({row.case for row in scores.cases})
    classes = "1 class" if len(scores.classes) == 1 else f"{len(scores.classes)} classes"
    parts = [
        "# Scores",
        f"{cases} case{'s' * (cases != 1)}, {classes}. NSD at a tolerance of {scores.tolerance_mm:g} mm. "
        f"Means over the cases; in brackets the {scores.confidence:.0%} interval of the {interval_name(scores)} "
        "over cases.",
        _summary_table(scores, _HEADLINE, _mean, counted=True),
        "## Means",
        _summary_table(scores, METRICS, _mean),
        "## Medians",
        _summary_table(scores, METRICS, _median),
    ]
    if scores.lesions:
        parts += ["## Lesions", _LESION_NOTE, _lesion_table(scores)]
    if scores.agreement:
        parts += ["## Volumes", _VOLUME_NOTE, _agreement_table(scores)]
    if notes := [*_exclusions(scores.cases), *scores.remarks]:
        parts += ["## Notes", _bullets(notes)]
    if scores.failures:
        told = [f"{failure.id}: {failure.message}" for failure in scores.failures]
        parts += ["## Cases that could not be scored", _bullets(told)]
    parts += ["## Cases", _case_table(scores.cases)]
    return "\n\n".join(parts) + "\n"


def _summary_table(
    scores: Scores, metrics: Iterable[str], cell: Callable[[Summary], str], *, counted: bool = False
) -> str:
    """A row a class, and one of the mean over the classes where there are several; a column a metric."""
    metrics = list(metrics)
    names = [*scores.classes, "mean"] if len(scores.classes) > 1 else list(scores.classes)
    rows = []
    for name in names:
        row = [name, *(cell(scores.of(metric, name)) for metric in metrics)]
        if counted:
            dice = scores.of("dice", name)
            row.append(f"{dice.count}" + (f" ({dice.excluded} excluded)" if dice.excluded else ""))
        rows.append(row)
    header = ["Class", *(_heading(metric) for metric in metrics), *(["Cases"] if counted else [])]
    return markdown_table(header, rows)


def _lesion_table(scores: Scores) -> str:
    """Counts over all cases, then means over the cases."""
    rows = []
    for name in scores.lesions:
        of = [row for row in scores.cases if row.class_name == name]
        true, found = (sum(getattr(row, key) or 0 for row in of) for key in ("lesions", "lesions_found"))
        means = [_mean(scores.of(metric, name)) for metric in LESION_METRICS]
        rows.append([name, f"{true}", f"{found}", *means])
    return markdown_table(["Class", "Lesions", "Found", *map(_heading, LESION_METRICS)], rows)


def _agreement_table(scores: Scores) -> str:
    cell = partial(with_interval, decimals=ALL_METRICS["volume_error_ml"].decimals)
    rows = [
        [
            row.class_name,
            cell(row.bias_ml, row.bias_low_ml, row.bias_high_ml),
            shown_number(row.spread_ml, "volume_error_ml"),
            cell(row.lower_ml, row.lower_low_ml, row.lower_high_ml),
            cell(row.upper_ml, row.upper_low_ml, row.upper_high_ml),
            f"{row.count}",
        ]
        for row in scores.agreement
    ]
    return markdown_table(
        ["Class", "Bias (ml)", "SD (ml)", "Lower limit (ml)", "Upper limit (ml)", "Cases"], rows
    )


def _case_table(rows: Iterable[ClassScore]) -> str:
    metrics = (*_HEADLINE, "volume_error_ml")
    header = ["Case", "Class", *(_heading(metric) for metric in metrics), "Volume (ml)", "Truth (ml)", "Note"]
    lines = [
        [
            row.case,
            row.class_name,
            *(shown_number(getattr(row, metric), metric) for metric in metrics),
            f"{row.volume_ml:.2f}",
            f"{row.truth_volume_ml:.2f}",
            _NOTES.get(row.empty or "", ""),
        ]
        for row in rows
    ]
    return markdown_table(header, lines, words=("Case", "Class", "Note"))


def _exclusions(rows: Iterable[ClassScore]) -> list[str]:
    """What the policy for empty masks did, a sentence a class and kind."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.empty is not None:
            found.setdefault((row.class_name, row.empty), []).append(row.case)
    effects = {
        "both": "excluded from the means",
        "prediction": "Dice and NSD 0, distances the image's diagonal",
        "truth": "Dice and NSD 0, distances the image's diagonal",
    }
    return [
        f"{name}: {_NOTES[kind]} in {len(cases)} ({effects[kind]}): {', '.join(cases)}."
        for (name, kind), cases in found.items()
    ]


def interval_name(scores: Scores) -> str:
    """What the intervals of means are, in words."""
    return "studentised bootstrap" if scores.interval == "studentised" else "bootstrap"


def _mean(row: Summary) -> str:
    return _with_interval(row, row.mean, row.low, row.high)


def _median(row: Summary) -> str:
    return _with_interval(row, row.median, row.median_low, row.median_high)


def _with_interval(row: Summary, value: float | None, low: float | None, high: float | None) -> str:
    """One case has no interval, and an older version's medians have none."""
    shown = shown_number(value, row.metric)
    if row.count < 2 or low is None or high is None:
        return shown
    return f"{shown} [{shown_number(low, row.metric)}, {shown_number(high, row.metric)}]"


def _heading(metric: str) -> str:
    shown = ALL_METRICS[metric]
    return f"{shown.title} ({shown.unit})" if shown.unit else shown.title


def shown_number(value: float | None, metric: str) -> str:
    """With the metric's own decimals."""
    return number(value, ALL_METRICS[metric].decimals)


def _bullets(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[str] = ("Class",)
) -> str:
    """A Markdown table whose columns also line up as plain text; numbers to the right."""
    cells = [[text.replace("|", "\\|") for text in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]
    left = [title in words for title in header]
    rule = [
        ":" + "-" * (width - 1) if word else "-" * (width - 1) + ":"
        for width, word in zip(widths, left, strict=True)
    ]
    lines = [
        " | ".join(
            text.ljust(width) if word else text.rjust(width)
            for text, width, word in zip(row, widths, left, strict=True)
        )
        for row in cells
    ]
    return "\n".join(f"| {line} |" for line in (lines[0], " | ".join(rule), *lines[1:]))
