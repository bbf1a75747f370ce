"""Records come back from their files as they were written, and nothing else is taken for one."""

from __future__ import annotations

from typing import ClassVar

import pytest
from pydantic import Field, ValidationError

from vesal.errors import VesalError
from vesal.record import Record


class Bed(Record):
    described: ClassVar[tuple[str, str]] = ("a bed", "make it anew")

    number: int
    class_name: str = Field(default="", validation_alias="class", serialization_alias="class")


def test_a_record_comes_back_from_its_file(tmp_path):
    bed = Bed(number=3, class_name="narrow")
    assert bed.to_dict() == {"number": 3, "class": "narrow"}
    bed.save(tmp_path / "bed.json")
    assert Bed.load(tmp_path / "bed.json") == bed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"number": "x"}', r"bed\.json does not hold a bed \(number: .*\); make it anew"),
        ('{"number": 1, "legs": 4}', r"bed\.json does not hold a bed \(legs: "),
        ("[", r"bed\.json is not valid JSON"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_with_the_field_and_the_cure(tmp_path, text, message):
    (tmp_path / "bed.json").write_text(text)
    with pytest.raises(VesalError, match=message):
        Bed.load(tmp_path / "bed.json")


def test_a_record_does_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        Bed(number=1).number = 2
