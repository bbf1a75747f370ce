"""Names of labels mean concepts that other systems know, else codes of our own."""

from __future__ import annotations

import pytest

from vesal.volume.dicom.annotations.codes import (
    ABNORMAL,
    ANATOMICAL,
    LEFT,
    PRIVATE,
    RIGHT,
    meaning_of,
    short_names,
)

pytest.importorskip("pydicom", reason="the extra dicom is not installed")


@pytest.mark.parametrize(
    ("name", "value", "side"),
    [
        ("left atrium", "82471001", None),
        ("LV", "87878005", None),
        ("Kidney_R", "64033007", RIGHT),
        ("right kidney", "64033007", RIGHT),
        ("LUNG L", "39607008", LEFT),
        ("SpinalCord", "2748008", None),
        ("Oesophagus", "32849002", None),
        ("liver", "10200004", None),
    ],
)
def test_names_of_the_field_and_of_tg_263_have_their_concept(name: str, value: str, side: object) -> None:
    found = meaning_of(name)
    assert (found.kind[:2], found.side, found.category) == ((value, "SCT"), side, ANATOMICAL)


@pytest.mark.parametrize("name", ["tumour", "GTV-1", "whole tumor", "lesion"])
def test_what_is_diseased_is_of_that_category(name: str) -> None:
    assert meaning_of(name).category == ABNORMAL


@pytest.mark.parametrize(
    ("name", "value"), [("ring 3 cm", "RING3CM"), ("左心房", "LABEL4C5ADE"), ("x" * 90, "X" * 10)]
)
def test_other_names_get_a_private_code_that_dicom_can_hold(name: str, value: str) -> None:
    kind = meaning_of(name).kind
    assert kind[0].startswith(value)
    assert len(kind[0]) <= 16
    assert kind[1:] == (PRIVATE, name[:64])


@pytest.mark.parametrize(
    "names", [("肺", "肝"), ("left lung upper lobe one", "left lung upper lobe two"), ("x" * 80, "x" * 81)]
)
def test_no_two_names_have_one_private_code(names: tuple[str, str]) -> None:
    first, second = (meaning_of(name).kind[0] for name in names)
    assert first != second


def test_names_are_short_one_value_and_told_apart() -> None:
    names = ["Lung\\Left", "a\nb", " ", "x" * 80, "x" * 81]
    found = short_names(names)
    assert found[:3] == ["Lung/Left", "a b", "label 3"]
    assert len(set(found)) == len(names)
    assert max(map(len, found)) <= 64
