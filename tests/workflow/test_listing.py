"""What there is to choose from: each name of each registry, with a line that says what it is."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from vesal.audit.checks import DEFECTS
from vesal.augment.artifacts.registry import ARTIFACTS
from vesal.errors import UsageError
from vesal.evaluate.case_scores import ALL_METRICS
from vesal.layouts.registry import LAYOUTS, load_dataset
from vesal.nn.losses.losses import LOSSES
from vesal.nn.zoo import NETWORKS
from vesal.train.optimizers import OPTIMIZERS
from vesal.train.recipe import TrainConfig, recipe_names
from vesal.train.schedule import SCHEDULES
from vesal.workflow.listing import KINDS, entries, entries_text

NAMES = {
    "networks": list(NETWORKS),
    "losses": list(LOSSES),
    "schedules": list(SCHEDULES),
    "optimizers": list(OPTIMIZERS),
    "artifacts": list(ARTIFACTS),
    "recipes": recipe_names(),
    "metrics": list(ALL_METRICS),
    "layouts": list(LAYOUTS),
    "checks": [defect.__name__.rpartition(".")[2].replace("_", "-") for defect in DEFECTS],
}


@pytest.mark.parametrize("what", KINDS)
def test_every_name_of_a_registry_has_a_line_of_its_own(what: str) -> None:
    found = entries(what)
    assert [entry.name for entry in found] == NAMES[what]
    assert all(8 <= len(entry.about) <= 220 and not entry.about.endswith(".") for entry in found)
    assert len({entry.about for entry in found}) == len(found)
    assert len(entries_text(found).splitlines()) == len(found)


def test_the_names_are_those_that_a_recipe_takes() -> None:
    for field in ("schedule", "optimizer"):
        assert sorted(get_args(TrainConfig.model_fields[field].annotation)) == sorted(NAMES[f"{field}s"])


def test_an_unknown_list_names_all_and_data_go_with_recipes_alone() -> None:
    with pytest.raises(UsageError, match=r"no list 'loss' .*losses"):
        entries("loss")
    with pytest.raises(UsageError, match="recipes"):
        entries("losses", Path("data"))


def test_recipes_are_counted_for_given_scans(tiny_data: Path) -> None:
    name = load_dataset(tiny_data).name
    assert name not in entries_text(entries("recipes"))
    assert all(entry.about.endswith(f" for {name})") for entry in entries("recipes", tiny_data))
