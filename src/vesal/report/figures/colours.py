"""Colours of classes and of paper, the same in every picture and on every page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesal.data.labels import LabelSet

#: For classes that bring no colour of their own: apart from each other on grey scans and on white paper, and
#: for most kinds of colour blindness (after Okabe and Ito, 2008).
_PALETTE = (
    "#f2711c", "#2f9be0", "#2fb47c", "#c97fd7", "#e8b923", "#e0567a", "#35c3c9", "#a98256", "#8f8ff0", "#86b832",
)  # fmt: skip


#: Of the mean over the classes.
MEAN_COLOUR = "#8a94a3"


@dataclass(frozen=True)
class Theme:
    """Ink and paper of a chart."""

    paper: str
    ink: str
    faint: str
    grid: str
    accent: str


#: Charts come in both, and the page shows the one that the reader's system asks for.
THEMES = {
    "light": Theme("#ffffff", "#1d2530", "#5d6875", "#e3e7ec", "#2563a8"),
    "dark": Theme("#161b22", "#e2e8ef", "#98a4b3", "#2b333d", "#6cb0f5"),
}

#: Scans are always shown on black, as they are read.
SCAN = Theme("#0c0f13", "#eef2f6", "#9aa6b4", "#2b333d", "#6cb0f5")


def class_colours(labels: LabelSet) -> tuple[str, ...]:
    """One #rrggbb a class of `labels.classes`: the label's own where it has one, else from the palette."""
    own = [label.colour for label in labels.labels] if not labels.regions else [""] * len(labels.classes)
    return tuple(
        colour if re.fullmatch(r"#[0-9a-fA-F]{6}", colour) else _PALETTE[number % len(_PALETTE)]
        for number, colour in enumerate(own)
    )


def colours_by_class(classes: Sequence[str], labels: LabelSet | None = None) -> dict[str, str]:
    """Class -> #rrggbb: that of `labels` where these have the class, else from the palette."""
    known = {} if labels is None else dict(zip(labels.classes, class_colours(labels), strict=True))
    return {name: known.get(name, _PALETTE[number % len(_PALETTE)]) for number, name in enumerate(classes)}


def rgb(colour: str) -> NDArray[np.float32]:
    """#rrggbb as three numbers 0..1.

    >>> rgb("#ff0000").tolist()
    [1.0, 0.0, 0.0]
    """
    return np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)], dtype=np.float32)


def mixed(colour: str, other: str, share: float) -> str:
    """`colour` with a share 0..1 of `other` in it.

    >>> mixed("#000000", "#ffffff", 1.0)
    '#ffffff'
    """
    red, green, blue = np.round(255 * (rgb(colour) * (1 - share) + rgb(other) * share)).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"
