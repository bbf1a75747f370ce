"""Identifiers that an archive sends are used where they are harmless, and refused where not."""

from __future__ import annotations

from pathlib import Path

import pytest
from dicom_examples import random_series, write_series

from vesal.errors import DataError
from vesal.serve.pacs.pacs_objects import checked_uid, file_name, result_object

pytest.importorskip("pydicom", reason="the extra dicom is not installed")

HOSTILE = [
    "",
    "..",
    "../../etc",
    "1.2/3",
    "1.2?x=y",
    "1.2%2f3",
    "1.2\n3",
    "a.b",
    "1..2",
    ".1",
    "1" * 65,
    None,
    12.5e9,
]


@pytest.mark.parametrize("uid", HOSTILE[:-1])
def test_what_is_no_identifier_is_refused(uid: object) -> None:
    with pytest.raises(DataError):
        checked_uid(uid, "a study")


def test_leading_zeros_and_padding_of_scanners_are_taken() -> None:
    assert checked_uid("1.02.3\0", "a study") == "1.02.3"


@pytest.mark.parametrize("uid", ["/etc/passwd", "../..", "CON", "\udc80", "x" * 4000])
def test_the_name_of_a_file_is_harmless_whatever_the_identifier(uid: str) -> None:
    name = file_name(uid, "instance")
    assert len(name) < 40
    assert name.replace("-", "").isalnum()


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    path = write_series(tmp_path, random_series())[0]
    found = result_object(path)
    assert (found.study, found.series, found.instance) == ("1.2.3", "1.2.3.4", "1.2.3.4.1")
    assert (found.kind, found.syntax) == ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")


def test_a_file_that_is_no_object_is_not_stored(tmp_path: Path) -> None:
    (tmp_path / "mask.nii").write_bytes(bytes(400))
    with pytest.raises(DataError, match="no DICOM object"):
        result_object(tmp_path / "mask.nii")
