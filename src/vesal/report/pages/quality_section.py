"""The quality model on the page: predicted over true Dice, the risk-coverage curve, the errors of the flag."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from vesal.infer.quality.quality_model import CalibrationRecord, FlagModel, RiskCoverage
from vesal.infer.quality.volumes.volume_interval import VolumeCoverage
from vesal.report.figures.charts import MANY_CLASSES, draw_dots, draw_equality, draw_key, new_chart
from vesal.report.figures.colours import Theme
from vesal.report.figures.scan_figures import to_png
from vesal.report.pages.html import Picture, chart
from vesal.table import Cell, Table

#: Classes whose volumes are drawn.
_MOST_CHARTS = 4

_VOLUME_NOTE = (
    "Beside each volume vesal predict gives an interval. Held: the share of clean held-out scans whose true volume "
    "it held, over repeated splits of the patients into those that set its width and those that are counted. Width: "
    "median of the interval over the volume. With an artefact: copies of severity 5, which set no width. Of one "
    "width: the same without widening for difficult and for unusual scans."
)


def quality_section(record: CalibrationRecord, colours: Sequence[str]) -> dict[str, Any]:
    """What the page's template takes; `colours` are one a class of `record.dice`."""
    drawn: list[Picture] = []
    note = (
        "For each new scan vesal predict estimates the Dice and says review or ok. All numbers here are cross-fitted: "
        "each held-out scan was scored by models that were fitted to the others. "
    )
    if record.dice:
        title = "Predicted over true Dice of each held-out scan"
        drawn.append(chart(partial(dice_scatter, record, colours), title))
    if (curve := record.risk_coverage) is not None:
        title = "Mean error of the scans that are kept, over the share that is kept"
        drawn.append(chart(partial(coverage_curve, curve), title))
        note += (
            f"If the scans of the lowest predicted Dice are left out first, the mean error averages {curve.area:.4f} "
            f"over all shares that are kept; in the best order it would be {curve.area_of_best_order:.4f}, in random "
            f"order {curve.area_of_no_order:.4f}. "
        )
    drawn += [
        chart(partial(volume_intervals, record, name, colour), f"{name}: volume with its interval")
        for name, colour in zip(record.dice, colours, strict=True)
        if any(name in one.interval_ml for one in record.cases)
    ][:_MOST_CHARTS]
    return {
        "note": note + f"Logits are divided by a temperature of {record.temperature:.2f}.",
        "charts": drawn,
        "dice": Table.of(
            ["class", "scans", "mean error of the predicted Dice", "of the median Dice", "Spearman"],
            [
                (name, of.cases, of.mae, of.mae_of_mean, Cell(of.spearman, decimals=2))
                for name, of in record.dice.items()
            ],
        ),
        "flag": Table.of(["held-out scans", "number", "review"], _flag_rows(record.flag)),
        "volumes": _volume_table(record) if record.volumes else None,
        "volume_note": _VOLUME_NOTE,
    }


def _volume_table(record: CalibrationRecord) -> Table:
    names = ["class", "scans", "level", "held, mean over splits", "nine of ten splits", "width", "of one width",
             "with an artefact", "held", "by one width"]  # fmt: skip
    return Table.of(names, [(name, *_volume_row(of)) for name, of in record.volumes.items()])


def _volume_row(of: VolumeCoverage) -> tuple[str, ...]:
    def percent(value: float | None) -> str:
        return "–" if value is None else f"{value:.0%}"

    spread = "–" if of.coverage_low is None else f"{percent(of.coverage_low)} to {percent(of.coverage_high)}"
    counted = of.corrupted > 0 and of.width is not None
    held = (of.corrupted_held, of.corrupted_held_unscaled)
    return (
        str(of.scans),
        percent(of.level),
        percent(of.coverage),
        spread,
        percent(of.width),
        percent(of.width_unscaled),
        str(of.corrupted),
        *(percent(count / of.corrupted if counted else None) for count in held),
    )


def _flag_rows(flag: FlagModel) -> list[tuple[str, str, str]]:
    rows = [
        ("clean", flag.clean, flag.flagged),
        ("of these the tenth with the lowest Dice", flag.worst, flag.worst_found),
    ]
    if flag.corrupted:
        rows.append(("with an artefact of severity 5", flag.corrupted, flag.corrupted_found))
        rows += [(name.replace("_", " "), *counts) for name, counts in flag.by_artifact.items()]
    return [(name, str(all_of), f"{found} ({found / max(all_of, 1):.0%})") for name, all_of, found in rows]


def dice_scatter(record: CalibrationRecord, colours: Sequence[str], theme: Theme) -> bytes:
    """Predicted over true Dice of every clean held-out scan, with the line of equality."""
    figure, axes = new_chart("predicted Dice over true Dice", theme, height=2.7)
    handles: list[Any] = []
    lowest = 1.0
    for name, colour in zip(record.dice, colours, strict=True):
        pairs = [
            (one.dice[name], one.predicted[name])
            for one in record.cases
            if one.artifact is None and name in one.dice and name in one.predicted
        ]
        if not pairs:
            continue
        true, predicted = np.array(pairs).T
        lowest = min(lowest, float(true.min()), float(predicted.min()))
        handles += draw_dots(axes, true, predicted, colour, label=name)
    limits = (max(0.0, np.floor(lowest * 20 - 0.6) / 20), 1.005)
    draw_equality(axes, limits, theme)
    axes.set_xlabel("true Dice", color=theme.faint, fontsize=8)
    draw_key(axes, handles if 1 < len(handles) <= MANY_CLASSES else [], theme, place="upper left")
    return to_png(figure)


def volume_intervals(record: CalibrationRecord, name: str, colour: str, theme: Theme) -> bytes:
    """Predicted volume of every clean held-out scan with its interval, over the true one; the line of equality."""
    rows = [one for one in record.cases if one.artifact is None and name in one.interval_ml]
    predicted, true = np.array([one.volumes_ml[name] for one in rows]).T
    low, high = np.array([one.interval_ml[name] for one in rows]).T
    figure, axes = new_chart(f"{name}: predicted volume and interval", theme, height=2.7)
    axes.vlines(true, low, high, color=colour, alpha=0.4, linewidth=1.4)
    draw_dots(axes, true, predicted, colour, label=name)
    draw_equality(axes, (0.0, 1.05 * float(max(true.max(), predicted.max()))), theme)
    axes.set_xlabel("true volume (ml)", color=theme.faint, fontsize=8)
    return to_png(figure)


def coverage_curve(curve: RiskCoverage, theme: Theme) -> bytes:
    """Mean 1 - Dice of the scans that are kept, over their share; the mean of all as a line."""
    figure, axes = new_chart("1 - Dice of the scans that are kept", theme, height=2.7)
    share, risk = np.array(curve.points).T
    axes.plot(share, risk, color=theme.ink, linewidth=1.6)
    axes.axhline(curve.area_of_no_order, color=theme.faint, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xlim(0, 1.005)
    axes.set_ylim(0, 1.1 * float(max(risk.max(), curve.area_of_no_order)))
    axes.set_xlabel(
        "share of the scans that are kept, the highest predicted Dice first", color=theme.faint, fontsize=8
    )
    return to_png(figure)
