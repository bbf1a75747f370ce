"""Training curves: loss and Dice of training and validation, and learning rate, over the steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vesal.report.figures.charts import MANY_CLASSES, draw_key, draw_title, new_chart, style_axes
from vesal.report.figures.colours import THEMES, Theme
from vesal.report.figures.scan_figures import new_figure, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Rows of metrics.jsonl.
Rows = Sequence[Mapping[str, Any]]

#: For the runs of several folds.
_FOLD_COLOURS = ("#2f9be0", "#f2711c", "#2fb47c", "#c97fd7", "#e8b923")
_VALIDATION = "#f2711c"
#: Of validation, where it has the colour of its fold's training.
_DASHES = (0, (3, 2))


@dataclass(frozen=True)
class History:
    """What a training logged.

    Attributes:
        folds: name of each fold -> its rows of metrics.jsonl; keys that a run does not have are left out.
        classes: what was measured.
        colours: one #rrggbb a class.
    """

    folds: Mapping[str, Rows]
    classes: Sequence[str] = ()
    colours: Sequence[str] = ()


def training_curve(name: str, history: History, theme: Theme) -> bytes:
    """One of CURVES over the steps, as a chart of its own."""
    figure, axes = new_chart(name, theme, "step")
    CURVES[name](axes, history, theme)
    return to_png(figure)


def training_curves(history: History, title: str = "", theme: Theme = THEMES["light"]) -> bytes:
    """Four panels: loss and mean Dice in training and validation, validation Dice of each class, learning rate.

    A panel without anything to show says so.

    Args:
        history: usually of one fold.
        title: above them all.
    """
    width, height, head = 10.0, 6.4, 0.42
    figure = new_figure(width, height, theme.paper)
    draw_title(figure, (0.17, 0.16), title, theme, size=11)
    panels = {
        "loss": _draw_loss,
        "Dice, mean of the classes": _draw_mean,
        "validation Dice of each class": _draw_each,
        "learning rate": _draw_rate,
    }
    steps = [
        float(row["step"]) for rows in history.folds.values() for row in rows if is_number(row.get("step"))
    ]
    last = 1.02 * max(steps, default=1.0)
    cell_width, cell_height = width / 2, (height - head) / 2
    for number, (name, draw) in enumerate(panels.items()):
        down, across = divmod(number, 2)
        x, y = across * cell_width, (1 - down) * cell_height
        inner = (x + 0.62, y + 0.50, cell_width - 0.85, cell_height - 0.92)
        axes = figure.add_axes((inner[0] / width, inner[1] / height, inner[2] / width, inner[3] / height))
        style_axes(axes, theme, "step")
        draw_title(figure, (x + 0.17, height - (y + cell_height - 0.12)), name, theme)
        draw(axes, history, theme)
        axes.set_xlim(0, last or 1)
        if not axes.has_data():
            axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, color=theme.faint, fontsize=9,
                      ha="center", va="center")  # fmt: skip
    return to_png(figure)


# --- the parts -----------------------------------------------------------------------------------------


def _draw_loss(axes: Axes, history: History, theme: Theme) -> None:
    handles: list[Any] = []
    for name, rows, colour in _folds(history, theme):
        handles += _draw_training(axes, rows, "train_loss", colour, _named(name, "training", history))
        handles += _draw_validation(axes, history, name, "val_loss", colour)
    _draw_key(axes, handles, history, theme)


def _draw_training(axes: Axes, rows: Rows, key: str, colour: str, label: str) -> list[Any]:
    """A smoothed line over the faint values of single steps; one value alone is a dot."""
    steps, values = series(rows, key)
    if not len(values):
        return []
    axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.25)
    return list(
        axes.plot(
            steps,
            _smooth(values),
            color=colour,
            linewidth=1.7,
            marker=_dot(values),
            markersize=4,
            label=label,
        )
    )


def _draw_validation(axes: Axes, history: History, fold: str, key: str, colour: str) -> list[Any]:
    """A line with a mark at each validation; of several folds in the fold's colour, dashed beside its training's."""
    steps, values = series(history.folds[fold], key)
    if not len(values):
        return []
    alone = len(history.folds) == 1
    return list(
        axes.plot(
            steps,
            values,
            color=_VALIDATION if alone else colour,
            linewidth=1.5,
            linestyle="-" if alone else _DASHES,
            marker="o",
            markersize=2.6,
            label=_named(fold, "validation", history),
        )
    )


def _draw_key(axes: Axes, handles: Sequence[Any], history: History, theme: Theme) -> None:
    """A name a line; of several folds their colours and the two kinds of lines, or it would hide the chart."""
    if len(history.folds) == 1 or not handles:
        draw_key(axes, handles, theme)
        return
    from matplotlib.lines import Line2D

    folds = [
        Line2D([], [], color=colour, linewidth=1.7, label=_named(name, "", history))
        for name, _, colour in _folds(history, theme)
    ]
    labels = [str(handle.get_label()) for handle in handles]
    kinds = [
        Line2D([], [], color=theme.faint, linewidth=1.5, linestyle=dashes, label=kind)
        for kind, dashes in {"training": "-", "validation": _DASHES}.items()
        if any(label.endswith(kind) for label in labels)
    ]
    draw_key(axes, [*folds, *kinds], theme, columns=2)


def _dot(values: np.ndarray) -> str:
    """The marker of a line that would not be seen without one."""
    return "o" if len(values) == 1 else ""


def _draw_dice(axes: Axes, history: History, theme: Theme) -> None:
    """Means, and each class where there is one fold of a few."""
    shown = len(history.folds) == 1 and 1 < len(history.classes) <= MANY_CLASSES
    _draw_mean(axes, history, theme, _draw_classes(axes, history) if shown else ())


def _draw_mean(axes: Axes, history: History, theme: Theme, before: Sequence[Any] = ()) -> None:
    """Training, and validation with its best."""
    handles = [*before]
    alone = len(history.folds) == 1
    for name, rows, colour in _folds(history, theme):
        handles += _draw_training(axes, rows, "train_dice", colour, _named(name, "training", history))
        handles += _draw_validation(axes, history, name, "val_dice", colour)
        steps, values = series(rows, "val_dice")
        if not len(values):
            continue
        shade = _VALIDATION if alone else colour
        best = int(np.argmax(values))
        axes.plot(
            steps[best], values[best], marker="o", markersize=8, markerfacecolor="none", markeredgecolor=shade
        )  # fmt: skip
        if alone:
            axes.annotate(
                f"{values[best]:.3f}", (steps[best], values[best]), xytext=(0, 7), textcoords="offset points",
                ha="center", fontsize=8, color=theme.ink, fontweight="bold", annotation_clip=False,
            )  # fmt: skip
    axes.set_ylim(0, 1.0)
    _draw_key(axes, handles if len(handles) > 1 else [], history, theme)


def _draw_classes(axes: Axes, history: History) -> list[Any]:
    """A line a class and fold."""
    handles: list[Any] = []
    for fold, rows in enumerate(history.folds.values()):
        for name, shade in zip(history.classes, history.colours, strict=True):
            steps, values = series(rows, "val_dice_per_class", name)
            if len(values):
                line = axes.plot(
                    steps, values, label=name, color=shade, linewidth=1.2, marker="o", markersize=2.2
                )
                handles += line if fold == 0 else []
    return handles


def _draw_each(axes: Axes, history: History, theme: Theme) -> None:
    handles = _draw_classes(axes, history)
    axes.set_ylim(0, 1.0)
    draw_key(axes, handles if len(handles) <= 2 * MANY_CLASSES else [], theme)


def _draw_rate(axes: Axes, history: History, theme: Theme) -> None:
    handles: list[Any] = []
    for name, rows, colour in _folds(history, theme):
        steps, values = series(rows, "lr")
        if len(values):
            handles += axes.plot(
                steps, values, color=colour, linewidth=1.7, marker=_dot(values), markersize=4,
                label=_named(name, "", history),
            )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="plain")
    draw_key(axes, handles if len(history.folds) > 1 else [], theme)


#: Losses and Dice of training (smoothed, the raw values faint behind it) and validation, learning rate.
CURVES: dict[str, Callable[[Axes, History, Theme], None]] = {
    "loss": _draw_loss,
    "Dice": _draw_dice,
    "learning rate": _draw_rate,
}


def series(rows: Rows, key: str, part: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of the rows that have the key and a finite number, of one class where it holds several.

    >>> series([{"step": 1, "lr": 0.1}, {"step": 2}], "lr")
    (array([1.]), array([0.1]))
    """
    found = []
    for row in rows:
        value = row.get(key)
        if part is not None:
            value = value.get(part) if isinstance(value, Mapping) else None
        if is_number(value) and is_number(row.get("step")):
            found.append((row["step"], value))
    steps, values = np.array(found, dtype=float).reshape(-1, 2).T
    return steps, values


def largest(rows: Rows, key: str) -> Any:
    """The largest finite number under a key; None where there is none.

    >>> largest([{"time_s": 1.5}, {"time_s": None}, {"step": 2}], "time_s")
    1.5
    """
    return max((row[key] for row in rows if is_number(row.get(key))), default=None)


def is_number(value: Any) -> bool:
    """Whether it is a finite number; a row of a damaged or older file may hold anything."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))


def _smooth(values: np.ndarray) -> np.ndarray:
    """Running mean over a twentieth of the series, shorter at its ends."""
    width = max(1, len(values) // 20)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(index - width, 0), np.minimum(index + width + 1, len(values))
    return np.asarray((sums[high] - sums[low]) / (high - low))


def _folds(history: History, theme: Theme) -> list[tuple[str, Rows, str]]:
    """Name, rows and colour of each."""
    alone = len(history.folds) == 1
    return [
        (name, rows, theme.ink if alone else _FOLD_COLOURS[number % len(_FOLD_COLOURS)])
        for number, (name, rows) in enumerate(history.folds.items())
    ]


def _named(fold: str, what: str, history: History) -> str:
    return what if len(history.folds) == 1 else f"fold {fold} {what}".strip()
