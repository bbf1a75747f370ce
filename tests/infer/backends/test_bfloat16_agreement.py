"""Bfloat16 is taken where masks stay the same and nothing is lost against the truth, and not without evidence."""

from __future__ import annotations

import re

import pytest

from vesal.errors import VesalError
from vesal.infer.backends.bfloat16_agreement import Bfloat16Agreement, read_agreement


def agreement(dice: dict[str, float], lost: dict[str, float]) -> Bfloat16Agreement:
    return Bfloat16Agreement(cases=3, backends=("torch in bfloat16",), dice=dice, lost=lost)


@pytest.mark.parametrize(
    ("dice", "lost", "agrees", "told"),
    [
        ({"a": 0.9995, "b": 0.998}, {"a": -0.01, "b": 0.001}, True, "is in bfloat16 .* 0.9980 at least"),
        ({"a": 0.9995, "b": 0.9979}, {"a": 0.0, "b": 0.0}, False, "stays in float32; .* 0.9979 for b"),
        ({"a": 0.9995, "b": 0.9995}, {"a": 0.0, "b": 0.0011}, False, "loses 0.0011 of the Dice for b"),
        ({"a": 0.9995}, {}, True, "is in bfloat16"),
        ({}, {}, False, "are empty"),
    ],
)
def test_every_class_has_to_agree_and_none_may_lose(
    dice: dict[str, float], lost: dict[str, float], agrees: bool, told: str
) -> None:
    found = agreement(dice, lost)
    assert found.agrees == agrees
    assert re.search(told, found.sentence)


def test_a_model_file_without_it_says_nothing_and_one_that_is_not_valid_is_refused() -> None:
    assert read_agreement(None, "m.vesal") is None
    known = agreement({"a": 1.0}, {"a": 0.0})
    assert read_agreement(known.model_dump(mode="json"), "m.vesal") == known
    for change in ({"dice": {"a": 1.5}}, {"dice": {"a": float("nan")}}, {"more": 1}, {"version": 2}):
        with pytest.raises(
            VesalError, match=r"m\.vesal is not a usable Vesal model: its agreement of bfloat16"
        ):
            read_agreement(known.model_dump(mode="json") | change, "m.vesal")
