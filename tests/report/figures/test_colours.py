"""Colours of classes."""

from __future__ import annotations

import pytest

from vesal.data.labels import Label, LabelSet
from vesal.report.figures.colours import THEMES, class_colours, colours_by_class, mixed, rgb


def labels(*colours: str) -> LabelSet:
    found = [Label(name=f"c{n}", value=n, colour=colour) for n, colour in enumerate(colours, start=1)]
    return LabelSet(labels=tuple(found))


def test_a_class_keeps_its_own_colour_and_others_take_one_of_the_palette() -> None:
    own, other, wrong = class_colours(labels("#123456", "", "red; } body {"))
    assert own == "#123456"
    assert other != wrong
    assert all(len(rgb(colour)) == 3 for colour in (own, other, wrong))


def test_ten_classes_have_ten_colours() -> None:
    assert len(set(class_colours(labels(*[""] * 10)))) == 10


def test_classes_by_name_have_the_colours_of_their_labels() -> None:
    found = colours_by_class(["c1", "unknown"], labels("#123456"))
    assert found["c1"] == "#123456"
    assert found["unknown"] in class_colours(labels("", ""))


@pytest.mark.parametrize(("share", "colour"), [(0.0, "#000000"), (0.5, "#808080"), (1.0, "#ffffff")])
def test_colours_are_mixed_by_their_share(share: float, colour: str) -> None:
    assert mixed("#000000", "#ffffff", share) == colour


def test_ink_can_be_read_on_its_paper() -> None:
    for theme in THEMES.values():
        assert abs(rgb(theme.ink).mean() - rgb(theme.paper).mean()) > 0.5
