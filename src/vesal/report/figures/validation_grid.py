"""Pictures of a training as files in the run: its curves, and held-out cases beside their predictions."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vesal.data.dataset import Case
from vesal.data.labels import LabelSet
from vesal.errors import VesalError
from vesal.files import write_bytes
from vesal.report.figures.colours import SCAN, class_colours
from vesal.report.figures.curves import History, Rows, training_curves
from vesal.report.figures.panels import GAP, TITLE
from vesal.report.figures.planes import Plane, context_margin_mm, cut_planes
from vesal.report.figures.scan_figures import (
    FAINT,
    FILLED,
    LEGEND,
    draw_legend,
    draw_plane,
    new_figure,
    to_png,
)
from vesal.run.contents import RunContents, load_case
from vesal.run_files import CURVES, VALIDATION_GRID, fold_folder
from vesal.text import shortened, shortened_apart

if TYPE_CHECKING:
    from vesal.train.validation import Example

#: Held-out cases in the picture of a fold, spread from the best to the worst.
_CASES = 4
#: Inches of val_predictions.png.
_WIDTH = 10.0
_COLUMNS = ("", "truth", "prediction", "both")
#: As many letters of a name fit above a panel, with its Dice.
_TITLE_LETTERS = 28


def write_training_pictures(pieces: RunContents) -> None:
    """Write fold_K/training_curves.png and fold_K/val_predictions.png for every fold of a run.

    The curves are those of loss, validation Dice and learning rate. The predictions are of up to four held-out
    cases, spread from the best to the worst, in the axial slice richest in foreground: scan, truth, prediction, both.
    Whatever a run does not have, such as predictions of a training on all cases, gives no file.

    Raises:
        VesalError: a file cannot be written.
    """
    for name, rows in pieces.curves.items():
        folder = fold_folder(pieces.folder, name)
        if rows:
            data = pieces.dataset.name if pieces.dataset is not None else pieces.folder.resolve().name
            title = f"{shortened(data, 60)}, {'all cases' if name == 'all' else f'fold {name}'}"
            write_bytes(folder / CURVES, training_curves(run_history(pieces, {name: rows}), title))
        if (grid := _predictions(pieces, name)) is not None:
            write_bytes(folder / VALIDATION_GRID, grid)


def draw_example(example: Example, labels: LabelSet) -> NDArray[np.uint8]:
    """The picture of a held-out case while a network trains, (height, width, 3) uint8: a row of val_predictions.png."""
    import matplotlib.image

    scan, *maps = example.in_space()
    plane = cut_planes(scan, maps, margin_mm=context_margin_mm(maps, scan.geometry))[0]
    picture = _grid([(shortened(example.case.id, _TITLE_LETTERS), plane)], labels, "")
    return np.round(255 * matplotlib.image.imread(io.BytesIO(picture))[..., :3]).astype(np.uint8)


def run_history(pieces: RunContents, folds: Mapping[str, Rows]) -> History:
    """Rows of some folds with the classes and colours of the run."""
    if pieces.labels is None:
        return History(folds)
    return History(folds, pieces.labels.classes, class_colours(pieces.labels))


# --- held-out cases ------------------------------------------------------------------------------------


def _predictions(pieces: RunContents, fold: str) -> bytes | None:
    """The picture of a fold's held-out cases; None where none can be shown."""
    labels = pieces.labels
    if labels is None or pieces.dataset is None:
        return None
    dice = {} if pieces.scores is None else pieces.scores.shown_dice()
    cases = {case.id: case for case in pieces.dataset.cases}
    held_out = [name for name, of in pieces.fold_of.items() if of == fold and name in cases]
    held_out = [name for name in held_out if name in dice] or held_out
    rows = []
    shown = _spread(held_out, dice)
    for name, title in zip(shown, shortened_apart(shown, _TITLE_LETTERS), strict=True):
        if (plane := _plane(cases[name], labels, pieces.predictions[name])) is not None:
            score = dice.get(name)
            rows.append((title if score is None else f"{title}   Dice {score:.3f}", plane))
    return _grid(rows, labels, "held-out cases, from the best to the worst") if rows else None


def _spread(names: Sequence[str], dice: Mapping[str, float | None]) -> list[str]:
    """A few cases, from the best to the worst; those without a Dice are the last."""
    ordered = sorted(names, key=lambda name: (dice.get(name) is None, -(dice.get(name) or 0.0), name))
    places = np.linspace(0, len(ordered) - 1, min(_CASES, len(ordered)))
    return [ordered[round(float(place))] for place in places]


def _plane(case: Case, labels: LabelSet, prediction: Path) -> Plane | None:
    """The axial slice, or the image, with truth and prediction; of an absent truth nothing is drawn."""
    try:
        shown = load_case(case, labels, prediction)
    except (VesalError, OSError, ValueError, MemoryError):
        # A scan that was moved or damaged; the page says so.
        return None
    assert shown.prediction is not None
    truth = np.zeros_like(shown.prediction) if shown.truth is None else shown.truth
    maps = [truth, shown.prediction]
    margin = context_margin_mm(maps, shown.volume.geometry)
    return cut_planes(shown.volume, maps, margin_mm=margin)[0]


def _grid(rows: Sequence[tuple[str, Plane]], labels: LabelSet, note: str) -> bytes:
    """A row a case: scan, truth, prediction, both; the note is at the lower right."""
    cell = (_WIDTH - GAP * (len(_COLUMNS) + 1)) / len(_COLUMNS)
    scales = [min(cell / plane.size_mm[0], 1.1 * cell / plane.size_mm[1]) for _, plane in rows]
    heights = [plane.size_mm[1] * scale for (_, plane), scale in zip(rows, scales, strict=True)]
    figure = new_figure(_WIDTH, sum(heights) + len(rows) * (TITLE + GAP) + LEGEND, SCAN.paper)
    y = sum(heights) + len(rows) * (TITLE + GAP)
    for (title, plane), scale, height in zip(rows, scales, heights, strict=True):
        y -= height + TITLE
        truth, prediction = plane.maps
        shown = [
            (replace(plane, maps=()), title, FAINT),
            (replace(plane, maps=(truth,)), "truth", FILLED),
            (replace(plane, maps=(prediction,)), "prediction", FILLED),
            (plane, "both", FAINT),
        ]
        for column, (panel, name, fill) in enumerate(shown):
            width = plane.size_mm[0] * scale
            x = GAP + column * (cell + GAP) + (cell - width) / 2
            draw_plane(figure, (x, y, width, height), panel, labels, name, fill)
        y -= GAP
    draw_legend(figure, labels, True, True, note)
    return to_png(figure)
