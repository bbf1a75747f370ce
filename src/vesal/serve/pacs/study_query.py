"""Which studies are meant: a part of a description, or conditions on elements of studies and series."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field

from vesal.errors import UsageError, nearest_name
from vesal.serve.pacs.libraries import library
from vesal.serve.pacs.pacs_objects import checked_uid

#: Elements of a series that archives can be asked for (PS3.18 10.6.1.2.3, PS3.4 C.6.1.1.4); all others are a study's.
_OF_SERIES = {
    "Modality",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "BodyPartExamined",
    "ProtocolName",
    "SeriesDate",
    "SeriesTime",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "Manufacturer",
    "ManufacturerModelName",
    "StationName",
    "InstitutionName",
    "Laterality",
}


@dataclass(frozen=True)
class StudyQuery:
    """Conditions, all of which hold.

    Attributes:
        study: keyword of an element of the study -> value, with * and ? as in DICOM.
        series: the same of a series: only those that fulfil it are fetched.
        description: is in the study's description or in that of a series.
    """

    study: dict[str, str] = field(default_factory=dict)
    series: dict[str, str] = field(default_factory=dict)
    description: str = ""


def parse_query(text: str) -> StudyQuery:
    """Conditions as people write them.

    Args:
        text: a part of a description, or `Key=value` with keywords of DICOM or tags, with quotes around blanks.

    Raises:
        UsageError: a key is none of DICOM's, or the text is empty.

    >>> parse_query("Modality=CT StudyDescription='*thorax low dose*' StudyDate=20260101-").series
    {'Modality': 'CT'}
    >>> parse_query("thorax low dose").description
    'thorax low dose'
    """
    if not re.search(r"(?:^|\s)\w+=", text):
        if not text.strip():
            raise UsageError("The query for studies is empty; give a part of the description, or Key=value.")
        return StudyQuery(description=text.strip())
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError("The query for studies has a quote that is not closed; close it.") from error
    found = StudyQuery()
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise UsageError(
                f"'{word}' in the query for studies is no Key=value; put quotes around values with blanks."
            )
        keyword = _keyword(key)
        if keyword.endswith("UID"):
            for one in re.split(r"[,\\]", value):
                checked_uid(one, f"'{keyword}' in the query")
        (found.series if keyword in _OF_SERIES else found.study)[keyword] = value
    return found


def widened(value: str) -> str:
    """A value without what stands escaped in an address, which some archives compare as it is: a wildcard in its place.

    >>> widened("*thorax low*"), widened("Müller^Ann"), widened("20260101-")
    ('*thorax?low*', 'M*ller?Ann', '20260101-')
    """
    return "".join(
        one if (one.isalnum() and one.isascii()) or one in "-._~*?,:/@" else "?" if one.isascii() else "*"
        for one in value
    )


def matches(found: object, value: str) -> bool:
    """Whether an element of an answer is what was asked for, capitals apart.

    Args:
        found: its first value in DICOM's JSON.
        value: with * and ?.

    >>> matches("THORAX low", "*x l*"), matches({"Alphabetic": "Doe^J"}, "doe*"), matches(None, "a")
    (True, True, False)
    """
    text = str(found.get("Alphabetic", "") if isinstance(found, dict) else "" if found is None else found)
    pattern = "".join({"*": ".*", "?": "."}.get(one, re.escape(one)) for one in value)
    return re.fullmatch(pattern, text.strip(), re.IGNORECASE | re.DOTALL) is not None


def _keyword(key: str) -> str:
    """A keyword of DICOM, as it stands or from a tag such as 00081030."""
    names = library("pydicom.datadict")
    if re.fullmatch("[0-9A-Fa-f]{8}", key):
        key = names.keyword_for_tag(int(key, 16)) or key
    if names.tag_for_keyword(key) is None:
        near = nearest_name(key, sorted({*_OF_SERIES, "StudyDescription", "StudyDate", "PatientID"}))
        perhaps = f" (perhaps {near}?)" if near else ""
        raise UsageError(f"'{key}' is no keyword of DICOM{perhaps}; give one such as StudyDescription.")
    return str(key)
