"""Spellings of one name are found and joined by a table, which says what is wrong with it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from vesal.errors import DataError
from vesal.layouts.dicom.roi_names import alike, common, left_out, read_table, suggestion


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Lung_L", "LUNG LEFT"),
        ("Esophagus", "oesophagus"),
        ("SpinalCord", "Spinal cord"),
        ("Kidney_R", "right kidney"),
        ("GTV-1", "GTV 1"),
        ("Parotid_L", "parotids lt"),
    ],
)
def test_spellings_of_one_structure_are_found(one: str, other: str) -> None:
    assert alike({one: 2, other: 1}) == [[one, other]]


@pytest.mark.parametrize(
    ("one", "other"), [("Lung_L", "Lung_R"), ("GTV-1", "GTV-2"), ("Heart", "Heart wall"), ("Liver", "River")]
)
def test_other_structures_stay_apart(one: str, other: str) -> None:
    assert alike({one: 2, other: 1}) == []


def test_the_suggestion_names_groups_and_the_table() -> None:
    assert suggestion({"Heart": 3}) == ""
    told = suggestion({"Heart": 3, "HEART": 1})
    assert told == (
        "Names that seem to mean one structure: 'Heart' (3) and 'HEART' (1); roi-names.csv with the columns roi and "
        "label joins them."
    )
    many = {f"{word} {side}": 1 for word in ("lung", "kidney", "eye", "lens") for side in ("l", "left")}
    assert "and 1 group more" in suggestion(many)


def test_common_names_are_those_of_half_the_cases() -> None:
    names = Counter({"a": 4, "b": 2, "c": 1})
    assert common(names, 4) == ["a", "b"]
    assert left_out([]) == ""
    assert "c; --set labels" in left_out(["c"])


def test_a_table_is_read_or_says_what_it_lacks(tmp_path: Path) -> None:
    assert read_table(tmp_path) == {}
    path = tmp_path / "roi-names.csv"
    path.write_text("\ufeffroi,label\nLUNG L , lung\nring,\n", encoding="utf-8")
    assert read_table(tmp_path) == {"LUNG L": "lung", "ring": ""}
    path.write_text("name,label\na,b\n")
    with pytest.raises(DataError, match="lacks the columns roi and label"):
        read_table(tmp_path)
    path.write_text("roi,label\na,b\na,c\n")
    with pytest.raises(DataError, match=r"gives 'a' two labels \(b and c\)"):
        read_table(tmp_path)
