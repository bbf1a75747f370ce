"""The page of a comparison: the sentence, the table, and what differs in which case."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from vesal.evaluate.case_scores import ALL_METRICS
from vesal.evaluate.compare_text import case_table, class_table, compared_rows, notes, sentence, title
from vesal.evaluate.paired_comparison import ComparedClass, Comparison
from vesal.files import write_text
from vesal.report.figures.charts import draw_dots, draw_equality, draw_key, name_rows, new_chart
from vesal.report.figures.colours import MEAN_COLOUR, Theme, colours_by_class
from vesal.report.figures.scan_figures import to_png
from vesal.report.pages.html import chart, render_page
from vesal.text import plural
from vesal.version import __version__


def write_comparison_page(path: Path, comparison: Comparison) -> None:
    """Write one page that holds everything, pictures too.

    Raises:
        VesalError: the page cannot be written.
    """
    rows = [row for row in compared_rows(comparison) if row.cases]
    pictures = []
    if rows:
        pictures = [
            chart(partial(difference_chart, comparison, rows), "Difference of every case, with the mean's interval"),
            chart(partial(scatter_chart, comparison), f"{comparison.b} over {comparison.a}, case by case"),
        ]  # fmt: skip
    several = comparison.runs_a + comparison.runs_b > 2
    context = {
        "title": f"{comparison.b} against {comparison.a}",
        "sentence": sentence(comparison),
        "facts": [
            title(comparison),
            plural(comparison.overall.cases, "case"),
            *([plural(comparison.groups, "fold")] if comparison.groups else []),
            *([f"{comparison.runs_a} and {comparison.runs_b} trainings"] if several else []),
        ],
        "class_table": class_table(comparison),
        "sentences": [sentence(comparison, row) for row in comparison.rows] if len(comparison.classes) > 1 else [],
        "charts": pictures,
        "notes": notes(comparison),
        "case_table": case_table(comparison),
        "version": __version__,
    }  # fmt: skip
    write_text(path, render_page("compare.html.j2", context))


def difference_chart(comparison: Comparison, rows: Sequence[ComparedClass], theme: Theme) -> bytes:
    """B - A of every case as a dot, one row a class; a bar for the mean's interval, a line at 0."""
    from matplotlib.ticker import MaxNLocator

    unit = ALL_METRICS[comparison.metric].unit
    heading = f"{title(comparison)}: {comparison.b} minus {comparison.a}"
    below = f"difference ({unit})" if unit else "difference"
    figure, axes = new_chart(heading, theme, below, height=max(1.9, 1.0 + 0.48 * len(rows)), left=1.35)
    generator = np.random.default_rng(0)
    axes.axvline(0.0, color=theme.ink, linewidth=1.0, linestyle=(0, (4, 3)))
    colours = colours_by_class(comparison.classes)
    for place, row in enumerate(rows):
        colour = colours.get(row.class_name, MEAN_COLOUR)
        gaps = np.array([pair.b - pair.a for pair in comparison.cases if pair.class_name == row.class_name])
        spread = generator.uniform(-0.16, 0.16, gaps.size) if gaps.size > 1 else np.zeros(gaps.size)
        draw_dots(axes, gaps, place + spread, colour, size=3.4, alpha=0.55)
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [place, place], color=theme.ink, linewidth=2.2)
        if row.difference is not None:
            axes.plot([row.difference], [place], color=theme.ink, marker="D", markersize=5, linestyle="none")
    name_rows(axes, [row.class_name for row in rows], theme)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    return to_png(figure)


def scatter_chart(comparison: Comparison, theme: Theme) -> bytes:
    """B over A of every case and class, with the line of equality."""
    heading = f"{title(comparison)} of {comparison.b} over {comparison.a}"
    figure, axes = new_chart(heading, theme, comparison.a, height=2.9)
    handles = []
    values = np.array([[pair.a, pair.b] for pair in comparison.cases])
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low) or 0.01
    draw_equality(axes, (low - margin, high + margin), theme)
    for name, colour in colours_by_class(comparison.classes).items():
        of_a, of_b = (
            [getattr(pair, side) for pair in comparison.cases if pair.class_name == name] for side in "ab"
        )
        handles += draw_dots(axes, of_a, of_b, colour, size=3.8, label=name)
    draw_key(axes, handles if 1 < len(handles) <= 8 else [], theme, place="upper left")
    return to_png(figure)
