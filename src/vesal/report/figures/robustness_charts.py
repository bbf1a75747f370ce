"""Pictures of a robustness benchmark: Dice over severity, and a case clean beside the same case corrupted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesal.data.labels import MEAN, LabelSet
from vesal.evaluate.robustness.degradation import Estimate, WorstCase
from vesal.report.figures.charts import draw_key, new_chart
from vesal.report.figures.colours import SCAN, Theme
from vesal.report.figures.panels import row
from vesal.report.figures.planes import context_margin_mm, cut_planes
from vesal.report.figures.scan_figures import LEGEND, draw_legend, draw_plane, new_figure, to_png
from vesal.volume.volume import Volume

_MEAN_WIDTH, _CLASS_WIDTH = 1.9, 0.9
#: Inches of the picture of a scan.
_SCAN_WIDTH = 9.0


@dataclass(frozen=True, eq=False)
class CorruptedScan:
    """A case clean and in one condition, for `corrupted_png`.

    Attributes:
        worst: which case and condition, and what it cost.
        scans: (C, *spatial) clean and corrupted.
        truths, predictions: (*spatial) contiguous label maps on each of the two.
    """

    worst: WorstCase
    scans: tuple[Volume, Volume]
    truths: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    predictions: tuple[NDArray[np.uint8], NDArray[np.uint8]]


def degradation_chart(
    artifact: str,
    classes: Mapping[str, Mapping[int, Estimate]],
    baseline: Mapping[int, Estimate],
    colours: Sequence[str],
    lowest: float,
    theme: Theme,
) -> bytes:
    """Dice over severity of one artefact: the mean with its interval as a band, each class as a thin line.

    Args:
        artifact: its name.
        classes: class -> severity, 0 for the clean scan -> its Dice; with MEAN over the classes.
        baseline: severity -> another model's mean over the classes, drawn dashed; empty for none.
        colours: one a class.
        lowest: where the axis of Dice begins, alike for all artefacts so that they can be compared by eye.
    """
    figure, axes = new_chart(artifact, theme, width=2.7, height=1.9, left=0.42)
    over_classes = classes[MEAN]
    lines = [values for name, values in classes.items() if name != MEAN]
    severities = list(over_classes)
    mean, low, high = np.array(
        [(one.mean, one.low, one.high) for one in over_classes.values()], dtype=float
    ).T
    axes.fill_between(severities, low, high, color=theme.accent, alpha=0.16, linewidth=0)
    if len(lines) > 1:
        for values, colour in zip(lines, colours, strict=True):
            axes.plot(list(values), _means(values), color=colour, linewidth=_CLASS_WIDTH)
    handles = axes.plot(
        severities, mean, color=theme.accent, linewidth=_MEAN_WIDTH, marker="o", markersize=3, label="mean"
    )
    if baseline:
        handles += axes.plot(
            list(baseline), _means(baseline), color=theme.faint,
            linewidth=1.4, linestyle=(0, (3, 2)), label="baseline",
        )  # fmt: skip
        draw_key(axes, handles, theme, place="lower left")
    axes.set_ylim(lowest, 1.0)
    axes.set_xlim(-0.2, max(severities) + 0.2)
    axes.set_xticks(severities, ["clean" if one == 0 else str(one) for one in severities])
    return to_png(figure)


def _means(by_severity: Mapping[int, Estimate]) -> NDArray[np.float64]:
    return np.array([one.mean for one in by_severity.values()], dtype=float)


def corrupted_png(shown: CorruptedScan, labels: LabelSet) -> bytes:
    """The slice richest in truth, clean and corrupted side by side; truth solid, prediction dashed."""
    cut = []
    for scan, truth, prediction in zip(shown.scans, shown.truths, shown.predictions, strict=True):
        # Around the truth alone: what is predicted at the scan's border would make all else small.
        margin = context_margin_mm([truth], scan.geometry) if truth.any() else None
        cut.append(cut_planes(scan, [truth, prediction], margin_mm=margin)[0])
    rectangles, height = row([plane.size_mm for plane in cut], _SCAN_WIDTH, 0.5 * _SCAN_WIDTH)
    figure = new_figure(_SCAN_WIDTH, height + LEGEND, SCAN.paper)
    titles = (
        f"clean: Dice {shown.worst.clean_dice:.3f}",
        f"{shown.worst.condition}: Dice {shown.worst.dice:.3f}",
    )
    for plane, rectangle, title in zip(cut, rectangles, titles, strict=True):
        draw_plane(figure, rectangle, plane, labels, title)
    draw_legend(figure, labels, True, True, "each scan in its own window of intensities")
    return to_png(figure)
