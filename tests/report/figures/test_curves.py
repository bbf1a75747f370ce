"""Training curves: they show what there is, also when that is little or odd."""

from __future__ import annotations

import io
from functools import partial

import numpy as np
import pytest
from PIL import Image

from vesal.report.figures import curves
from vesal.report.figures.colours import THEMES
from vesal.report.figures.curves import History

ROWS = [
    *({"step": step, "train_loss": 1 / step, "train_dice": 0.3, "lr": 1e-3} for step in range(1, 60)),
    {"step": 30, "val_dice": 0.6, "val_dice_per_class": {"a": 0.5, "b": 0.7}, "val_loss": 0.5},
    {"step": 60, "val_dice": 0.8, "val_dice_per_class": {"a": 0.7, "b": None}, "val_loss": 0.4},
]
COLOURS = ("#e6550d", "#3182bd")
ONE = History({"0": ROWS}, ("a", "b"), COLOURS)
SEVEN = History({str(fold): ROWS for fold in range(7)}, ("a", "b"), COLOURS)
OLD = History({"0": [{"step": 5, "train_loss": 0.3}, {"step": 10, "val_dice": "?"}, {"train_loss": 1.0}]})

DRAWN = {name: partial(curves.training_curve, name) for name in curves.CURVES}
EVERY = {
    f"{chart} of {name}": partial(draw, history)
    for chart, draw in {**DRAWN, "all curves": curves.training_curves}.items()
    for name, history in {
        "one fold": ONE,
        "seven folds": SEVEN,
        "a fold without rows": History({"0": ROWS, "1": []}, ("a", "b"), COLOURS),
        "an old run": OLD,
        "nothing": History({"0": []}),
    }.items()
}


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", EVERY)
def test_every_curve_is_a_picture_on_light_and_on_dark_paper(name):
    for theme in THEMES.values():
        picture = pixels(EVERY[name](theme=theme))
        assert picture[0, 0].tolist() == [int(theme.paper[start : start + 2], 16) for start in (1, 3, 5)]
        assert picture.std() > 1


@pytest.mark.filterwarnings("error")
def test_the_same_training_gives_the_same_four_panels_whatever_it_is_called():
    assert curves.training_curves(ONE, "$x_ <b>") == curves.training_curves(ONE, "$x_ <b>")


def test_each_of_the_four_panels_shows_its_own_numbers():
    full = pixels(curves.training_curves(ONE))
    half_y, half_x = full.shape[0] // 2, full.shape[1] // 2
    quarters = {
        "loss": (slice(half_y), slice(half_x), {"train_loss", "val_loss"}),
        "mean": (slice(half_y), slice(half_x, None), {"train_dice", "val_dice"}),
        "each": (slice(half_y, None), slice(half_x), {"val_dice_per_class"}),
        "rate": (slice(half_y, None), slice(half_x, None), {"lr"}),
    }
    for name, (_, _, keys) in quarters.items():
        rows = [{key: value for key, value in row.items() if key not in keys} for row in ROWS]
        without = pixels(curves.training_curves(History({"0": rows}, ("a", "b"), COLOURS)))
        changed = {
            other: bool((full[rows_, columns] != without[rows_, columns]).any())
            for other, (rows_, columns, _) in quarters.items()
        }
        assert changed == {other: other == name for other in quarters}


def test_a_smoothed_line_keeps_a_constant_and_its_length():
    assert curves._smooth(np.full(50, 3.0)) == pytest.approx(np.full(50, 3.0))
    assert len(curves._smooth(np.arange(3.0))) == 3
    assert curves._smooth(np.array([])).size == 0


@pytest.mark.parametrize("key", ["train_loss", "train_dice", "lr"])
def test_a_single_logged_point_is_seen(key, monkeypatch):
    history = History({"0": [{"step": 10, key: 0.4}]})
    one = pixels(curves.training_curves(history))
    monkeypatch.setattr(curves, "_dot", lambda _values: "")
    bare = pixels(curves.training_curves(history))
    dot = (one != bare).any(axis=2)
    assert dot.sum() > 20


@pytest.mark.parametrize("folds", [1, 3])
@pytest.mark.parametrize(
    ("chart", "keys"), [("loss", ("train_loss", "val_loss")), ("Dice", ("train_dice", "val_dice"))]
)
def test_training_and_validation_are_drawn_of_one_fold_and_of_several(folds, chart, keys, monkeypatch):
    drawn = []
    monkeypatch.setattr(curves, "_draw_key", lambda _axes, handles, *_rest, **_more: drawn.extend(handles))
    names = [str(number) for number in range(folds)]
    curves.training_curve(chart, History(dict.fromkeys(names, ROWS)), THEMES["light"])
    labels = [handle.get_label() for handle in drawn]
    kinds = ("training", "validation")
    assert labels == (
        list(kinds) if folds == 1 else [f"fold {name} {kind}" for name in names for kind in kinds]
    )
    for number, handle in enumerate(drawn):
        steps, values = curves.series(ROWS, keys[number % 2])
        assert handle.get_xdata() == pytest.approx(steps)
        # Training is smoothed.
        assert handle.get_ydata() == pytest.approx(values if number % 2 else curves._smooth(values))
    # The two of a fold have its colour and differ in their dashes.
    pairs = list(zip(drawn[::2], drawn[1::2], strict=True))
    assert all((one.get_color() == other.get_color()) == (folds > 1) for one, other in pairs)
    assert all(other.is_dashed() == (folds > 1) for _, other in pairs)
    assert len({one.get_color() for one, _ in pairs}) == folds


@pytest.mark.parametrize("chart", ["loss", "Dice"])
def test_the_key_of_several_folds_names_their_colours_and_the_kinds_of_lines(chart, monkeypatch):
    key = []
    monkeypatch.setattr(curves, "draw_key", lambda _axes, handles, *_rest, **_more: key.extend(handles))
    curves.training_curve(chart, History({"0": ROWS, "1": ROWS}), THEMES["light"])
    assert [handle.get_label() for handle in key] == ["fold 0", "fold 1", "training", "validation"]
    assert [handle.is_dashed() for handle in key] == [False, False, False, True]
    key.clear()
    rows = [row for row in ROWS if "lr" in row]
    curves.training_curve(chart, History({"0": rows, "1": rows}), THEMES["light"])
    assert [handle.get_label() for handle in key] == ["fold 0", "fold 1", "training"]
