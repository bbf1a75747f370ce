"""What a coarse stage's boxes are worth, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesal.errors import VesalError
from vesal.files import write_json
from vesal.run.located import Located, LocatedCase, read_located


def test_what_the_boxes_miss_is_told() -> None:
    def told(**missed: float | None) -> str:
        cases = {name: LocatedCase(missed=share, short_mm=None) for name, share in missed.items()}
        return Located(margin_mm=12.5, cases=cases).sentence()

    assert told(a=0.0, b=0.01) == (
        "The locator's boxes, with 12.5 mm around what it finds, miss 0.50% of the truth of 2 held-out cases (of one "
        "at most 1.00%), before they grow."
    )
    assert told(a=None, b=0.01).startswith(
        "The locator found nothing in 1 of 2 held-out cases. Its boxes, with"
    )
    assert told(a=None) == (
        "The locator found nothing in 1 of 1 held-out case. With more time (--budget) it learns more."
    )


def test_it_is_read_from_the_folder_of_the_fold(tmp_path: Path) -> None:
    assert read_located(tmp_path) is None
    located = Located(margin_mm=10.0, cases={"a": LocatedCase(missed=0.25, short_mm=3.5)})
    write_json(tmp_path / "locator/located.json", located.model_dump())
    assert read_located(tmp_path) == located
    (tmp_path / "locator/located.json").write_text("{")
    with pytest.raises(VesalError, match=r"located\.json"):
        read_located(tmp_path)
