"""The chart of Bland and Altman: differences of two volumes over their mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vesal.evaluate.scores import VolumeAgreement
from vesal.report.figures.charts import new_chart
from vesal.report.figures.colours import THEMES, Theme
from vesal.report.figures.scan_figures import to_png


def bland_altman_chart(
    name: str,
    true_ml: Sequence[float],
    predicted_ml: Sequence[float],
    agreement: VolumeAgreement,
    colour: str,
    theme: Theme = THEMES["light"],
) -> bytes:
    """Predicted minus true volume of every case over the mean of the two, with bias, limits and their intervals.

    Args:
        name: of the class.
        true_ml, predicted_ml: of the cases (ml).
        agreement: of these; its bands are drawn where it has them.
        colour: of the dots.
        theme: ink and paper.
    """
    figure, axes = new_chart(f"{name}: predicted minus true volume (ml)", theme, height=2.7)
    true, predicted = np.asarray(true_ml, dtype=float), np.asarray(predicted_ml, dtype=float)
    axes.axhline(0.0, color=theme.faint, linewidth=0.8, linestyle=(0, (1, 2)))
    for value, low, high, dashes in (
        (agreement.bias_ml, agreement.bias_low_ml, agreement.bias_high_ml, (0, ())),
        (agreement.lower_ml, agreement.lower_low_ml, agreement.lower_high_ml, (0, (4, 3))),
        (agreement.upper_ml, agreement.upper_low_ml, agreement.upper_high_ml, (0, (4, 3))),
    ):
        if low is not None and high is not None:
            axes.axhspan(low, high, color=theme.faint, alpha=0.14, linewidth=0)
        if value is not None:
            axes.axhline(value, color=theme.ink, linewidth=1.1, linestyle=dashes)
    axes.plot(
        (true + predicted) / 2,
        predicted - true,
        linestyle="none",
        marker="o",
        markersize=3.8,
        color=colour,
        alpha=0.8,
        markeredgewidth=0,
    )
    axes.set_xlabel("mean of predicted and true volume (ml)", color=theme.faint, fontsize=8)
    return to_png(figure)
