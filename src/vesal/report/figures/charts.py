"""Charts of numbers: distributions of Dice, volumes and intensities.

Each is drawn in a light and a dark theme (see colours.THEMES) and returned as PNG bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vesal.metrics.agreement import Agreement
from vesal.report.figures.colours import THEMES, Theme
from vesal.report.figures.fonts import lettering, set_name
from vesal.report.figures.scan_figures import new_figure, to_png
from vesal.text import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: More classes than this are drawn as their mean alone in a chart of curves.
MANY_CLASSES = 8


def dice_distribution(values: Mapping[str, Sequence[float]], colours: Sequence[str], theme: Theme) -> bytes:
    """Dice of every case as a dot, with the box of the quartiles and the median, one row a class.

    Args:
        values: class -> Dice of the cases that define it.
        colours: one a class.
    """
    figure, axes = new_chart("Dice of each case", theme, height=max(1.7, 0.9 + 0.42 * len(values)), left=1.35)
    rng = np.random.default_rng(0)
    lowest = 1.0
    for row, ((_, dice), colour) in enumerate(zip(values.items(), colours, strict=True)):
        data = np.asarray(dice, dtype=float)
        if not data.size:
            continue
        lowest = min(lowest, float(data.min()))
        low, middle, high = np.percentile(data, (25, 50, 75))
        axes.barh(row, high - low, left=low, height=0.56, color=colour, alpha=0.22, edgecolor="none")
        axes.plot(
            [middle, middle], [row - 0.28, row + 0.28], color=colour, linewidth=2.4, solid_capstyle="butt"
        )
        spread = rng.uniform(-0.18, 0.18, data.size) if data.size > 1 else np.zeros(1)
        draw_dots(axes, data, row + spread, colour)
    name_rows(axes, list(values), theme)
    axes.set_xlim(max(0.0, np.floor(lowest * 20 - 0.6) / 20), 1.005)
    return to_png(figure)


def _size(unit: str) -> str:
    """What is measured in it."""
    return "volume" if unit == "ml" else "area"


def volume_agreement(
    pairs: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    colours: Sequence[str],
    unit: str,
    theme: Theme,
) -> bytes:
    """Predicted over true volume, or area, of every case, with the line of equality.

    Args:
        pairs: class -> (true volumes, predicted volumes).
        colours: one a class.
        unit: ml or mm².
    """
    size = _size(unit)
    figure, axes = new_chart(
        f"predicted {size} ({unit}) over true {size}", theme, f"true {size} ({unit})", height=2.7
    )
    handles: list[Any] = []
    everything = np.concatenate([np.asarray(side, dtype=float) for pair in pairs.values() for side in pair])
    positive = everything[everything > 0]
    if positive.size and positive.max() > 40 * positive.min() and (everything > 0).all():
        axes.set_xscale("log")
        axes.set_yscale("log")
        limits = (positive.min() / 1.3, positive.max() * 1.3)
    else:
        limits = (0.0, 1.06 * float(everything.max(initial=1e-3)))
    draw_equality(axes, limits, theme)
    for (name, (true, predicted)), colour in zip(pairs.items(), colours, strict=True):
        handles += draw_dots(axes, true, predicted, colour, size=4, alpha=0.8, label=name)
    draw_key(axes, handles if len(handles) <= MANY_CLASSES else [], theme, place="upper left")
    return to_png(figure)


def bland_altman_chart(
    name: str,
    sizes: tuple[Sequence[float], Sequence[float]],
    agreement: Agreement,
    colour: str,
    unit: str,
    theme: Theme,
) -> bytes:
    """Predicted minus true volume, or area, of every case over the mean of both, with bias, limits and intervals.

    Args:
        name: of the class.
        sizes: true and predicted, of the cases.
        agreement: of these; its bands are drawn where it has them.
        colour: of the dots.
        unit: ml or mm².
    """
    size = _size(unit)
    below = f"mean of predicted and true {size} ({unit})"
    figure, axes = new_chart(f"{name}: predicted minus true {size} ({unit})", theme, below, height=2.7)
    true, predicted = (np.asarray(side, dtype=float) for side in sizes)
    axes.axhline(0.0, color=theme.faint, linewidth=0.8, linestyle=(0, (1, 2)))
    for value, low, high, dashes in (
        (agreement.bias, agreement.bias_low, agreement.bias_high, (0, ())),
        (agreement.lower, agreement.lower_low, agreement.lower_high, (0, (4, 3))),
        (agreement.upper, agreement.upper_low, agreement.upper_high, (0, (4, 3))),
    ):
        if low is not None and high is not None:
            axes.axhspan(low, high, color=theme.faint, alpha=0.14, linewidth=0)
        if value is not None:
            axes.axhline(value, color=theme.ink, linewidth=1.1, linestyle=dashes)
    draw_dots(axes, (true + predicted) / 2, predicted - true, colour, size=3.8, alpha=0.8)
    return to_png(figure)


def volume_histogram(
    volumes: Sequence[float], colour: str, unit: str, theme: Theme = THEMES["light"], title: str = ""
) -> bytes:
    """How many cases have which volume of a class, with the mean as a line."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = new_chart(title, theme, unit, width=3.0, height=1.9)
    data = np.asarray(volumes, dtype=float)
    bins = int(np.clip(np.ceil(2 * len(data) ** (1 / 3)) + 2, 5, 30))
    axes.hist(data, bins=bins, color=colour, alpha=0.8, edgecolor=theme.paper, linewidth=0.6)
    axes.axvline(float(data.mean()), color=theme.ink, linewidth=1.2, linestyle=(0, (3, 2)))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    return to_png(figure)


def intensity_histogram(samples: Sequence[float], channel: str, colour: str, theme: Theme) -> bytes:
    """Intensities of labelled voxels of all cases in one channel, in file units; tails of 0.2 % are cut."""
    figure, axes = new_chart(f"{channel}: intensities of labelled voxels", theme, height=1.9)
    data = np.asarray(samples, dtype=float)
    low, high = np.percentile(data, (0.2, 99.8))
    if high <= low:
        low, high = low - 0.5, low + 0.5
    axes.hist(data, bins=60, range=(low, high), color=colour, alpha=0.8, histtype="stepfilled")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    return to_png(figure)


def intensity_ranges(
    percentiles: Sequence[tuple[float, float, float]],
    channel: str,
    colour: str,
    theme: Theme = THEMES["light"],
) -> bytes:
    """For each case, in order of the median, the range from the 0.5th to the 99.5th percentile and the median."""
    figure, axes = new_chart(f"{channel}: range of each scan", theme, "scans, by their median", height=1.9)
    low, middle, high = np.array(sorted(percentiles, key=lambda item: item[1]), dtype=float).T
    order = np.arange(len(middle))
    axes.vlines(
        order, low, high, color=colour, alpha=0.45, linewidth=float(np.clip(170 / len(order), 0.4, 5))
    )
    draw_dots(axes, order, middle, theme.ink, size=2.6, alpha=1.0)
    axes.set_xticks([])
    return to_png(figure)


# --- the parts -----------------------------------------------------------------------------------------


def new_chart(
    title: str, theme: Theme, below: str = "", *, width: float = 3.6, height: float = 2.4, left: float = 0.55
) -> tuple[Figure, Axes]:
    """A figure with one frameless axes, its title, and the name `below` its horizontal axis; sizes in inches."""
    figure = new_figure(width, height, theme.paper)
    axes = figure.add_axes((left / width, 0.45 / height, 1 - (left + 0.18) / width, 1 - 0.83 / height))
    draw_title(figure, (0.14, 0.12), shortened(title, 60), theme)
    style_axes(axes, theme, below)
    return figure, axes


def draw_title(figure: Figure, place: tuple[float, float], title: str, theme: Theme, size: float = 9) -> None:
    """A heading whose upper left corner is so many inches from that of the figure."""
    width, height = figure.get_size_inches()
    text = figure.text(
        place[0] / width, 1 - place[1] / height, "", color=theme.ink, fontsize=size, fontweight="bold", va="top",
        parse_math=False,
    )  # fmt: skip
    set_name(text, title)


def style_axes(axes: Axes, theme: Theme, below: str) -> None:
    """Ink, paper and grid of a chart's axes, and the name of the horizontal one."""
    axes.set_xlabel(below, color=theme.faint, fontsize=8, parse_math=False)
    axes.set_facecolor(theme.paper)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.grid)
    axes.tick_params(colors=theme.faint, labelsize=8, length=0)
    axes.grid(color=theme.grid, linewidth=0.7)
    axes.set_axisbelow(True)


def draw_dots(
    axes: Axes,
    x: Any,
    y: Any,
    colour: str,
    *,
    size: float = 3.6,
    alpha: float = 0.75,
    label: str | None = None,
) -> list[Any]:
    """A dot a case; matplotlib's handles of them."""
    return list(
        axes.plot(
            x, y, linestyle="none", marker="o", markersize=size, color=colour, alpha=alpha, markeredgewidth=0,
            label=label,
        )
    )  # fmt: skip


def draw_equality(axes: Axes, limits: tuple[float, float], theme: Theme) -> None:
    """The line on which both axes are equal, and these limits for both."""
    axes.plot(limits, limits, color=theme.faint, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xlim(limits)
    axes.set_ylim(limits)


def draw_key(
    axes: Axes, handles: Sequence[Any], theme: Theme, place: str = "best", *, columns: int = 1
) -> None:
    """A legend that reads names as they are; matplotlib would drop those that start with an underscore."""
    if not handles:
        return
    names = [str(handle.get_label()) for handle in handles]
    legend = axes.legend(
        handles, ["-"] * len(names), loc=place, ncols=columns, fontsize=7.5, frameon=True, facecolor=theme.paper,
        edgecolor="none", framealpha=0.75, labelcolor=theme.ink, handlelength=1.4, borderpad=0.2, labelspacing=0.3,
    )  # fmt: skip
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        set_name(text, shortened(name, 20))


def name_rows(axes: Axes, names: Sequence[str], theme: Theme) -> None:
    """Names at the left of horizontal rows, the first on top."""
    axes.set_yticks(range(len(names)), ["-"] * len(names))
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
        text.set_color(theme.ink)
    # Fixed here and not above: the formatter would read the names as mathematics.
    shown = [lettering(shortened(name, 20))[0] for name in names]
    for text, name in zip(axes.set_yticklabels(shown, parse_math=False), names, strict=True):
        set_name(text, shortened(name, 20))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
