"""What a person writes for a setting comes to the typed setting in the right form."""

from __future__ import annotations

from typing import Any

import pytest

from vesal.planning.given_values import as_given, known_part, setting_names
from vesal.planning.settings import PlanSettings
from vesal.train.recipe import TrainConfig


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("precision", 32, "32"),
        ("precision", 16, "16"),
        ("optimizer", "AdamW", "adamw"),
        ("ema", "None", None),
        ("clip", "none", None),
        ("fold", "None", None),
        ("fold", "ALL", "all"),
        ("compile", "graphs", "graphs"),
        ("compile", True, True),
        ("foreground_share", "1/3", 1 / 3),
        ("steps", True, "true"),
        ("lr", "fast", "fast"),
        ("lr", "1/0", "1/0"),
        ("unknown", "None", "None"),
    ],
)
def test_a_value_of_a_recipe(name: str, given: Any, wanted: Any) -> None:
    assert as_given(TrainConfig, {name: given}) == {name: wanted}


@pytest.mark.parametrize("given", ["64x96", "64, 96", "64 96", "[64,96]", "(64, 96)", "64×96"])
def test_sizes_are_taken_in_every_way_of_writing_them(given: str) -> None:
    assert PlanSettings.model_validate(as_given(PlanSettings, {"patch": given})).patch == (64, 96)


def test_a_part_is_taken_in_its_own_forms() -> None:
    found = as_given(TrainConfig, {"plan": {"norm": "none", "spacing_mm": "1.5x1.5x1", "heads": "None"}})
    assert found == {"plan": {"norm": "none", "spacing_mm": [1.5, 1.5, 1], "heads": None}}


def test_every_setting_has_one_name_and_the_part_of_an_error_is_one() -> None:
    names = list(setting_names(TrainConfig))
    assert len(names) == len(set(names))
    assert {"lr", "plan.batch", "loss_options.focal_gamma", "plan.normalisation.scheme"} <= set(names)
    assert known_part(TrainConfig, ("fold", "constrained-int")) == "fold"
    assert known_part(TrainConfig, ("plan", "patch", 1)) == "plan.patch"
