"""What the boxes of a fold's coarse stage are worth, as it was measured on the cases that the fold held out."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from vesal.record import Record
from vesal.run_files import LOCATED, LOCATOR
from vesal.text import plural


class LocatedCase(Record):
    """A held-out case in the eyes of the locator.

    Attributes:
        missed: share of its labelled voxels outside the box; None where nothing was found.
        short_mm: by how much the box, without any margin, ends before the labelled voxels do, on its worst side;
            below 0 where it holds them. None where nothing was found.
    """

    missed: float | None
    short_mm: float | None


class Located(Record):
    """What a locator's boxes are worth, on cases that it did not see.

    Attributes:
        margin_mm: that is added to what it finds.
        cases: held-out cases that have labelled voxels.
        steps: of the locator when it was measured; one that is trained on is measured again.
    """

    described: ClassVar[tuple[str, str]] = (
        "what was measured of a locator's boxes",
        "remove it, and resume the run",
    )

    margin_mm: float
    cases: dict[str, LocatedCase]
    steps: int = 0

    def sentence(self) -> str:
        """What the boxes miss, for a person."""
        shares = [case.missed for case in self.cases.values() if case.missed is not None]
        lost = len(self.cases) - len(shares)
        nothing = f"The locator found nothing in {lost} of {plural(len(self.cases), 'held-out case')}."
        if not shares:
            return f"{nothing} With more time (--budget) it learns more."
        boxes = (
            f"boxes, with {self.margin_mm:.3g} mm around what it finds, miss {np.mean(shares):.2%} of the truth of "
            f"{plural(len(shares), 'held-out case')} (of one at most {max(shares):.2%}), before they grow."
        )
        return f"{nothing} Its {boxes}" if lost else f"The locator's {boxes}"


def read_located(fold: Path) -> Located | None:
    """Of the folder of a fold; None where nothing was measured.

    Raises:
        VesalError: the file is damaged.
    """
    file = fold / LOCATOR / LOCATED
    return Located.load(file) if file.exists() else None
