"""A query is a part of a description, or conditions; what DICOM does not know is refused with what was meant."""

from __future__ import annotations

import pytest

from vesal.errors import DataError, UsageError
from vesal.serve.pacs.study_query import parse_query

pytest.importorskip("pydicom", reason="the extra dicom is not installed")


def test_words_without_a_condition_are_a_description() -> None:
    assert parse_query(" low dose thorax ").description == "low dose thorax"
    assert parse_query("T2* > 3").description == "T2* > 3"


def test_conditions_go_to_the_level_that_has_them() -> None:
    found = parse_query("StudyDate=20260101- Modality=CT 0008103E='*lung b*' PatientID=7")
    assert found.study == {"StudyDate": "20260101-", "PatientID": "7"}
    assert found.series == {"Modality": "CT", "SeriesDescription": "*lung b*"}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "empty"),
        ("StudyDescripton=x", "perhaps StudyDescription"),
        ("StudyDate=", "Key=value"),
        ("StudyDescription=low dose", "quotes"),
        ("StudyDescription='low", "not closed"),
    ],
)
def test_what_cannot_be_asked_is_refused(query: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_query(query)


def test_an_identifier_that_is_none_is_refused() -> None:
    assert parse_query("StudyInstanceUID=1.2,1.3").study == {"StudyInstanceUID": "1.2,1.3"}
    with pytest.raises(DataError):
        parse_query("StudyInstanceUID=../1")
