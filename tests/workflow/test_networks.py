"""The list of networks: parameters of every recipe."""

from __future__ import annotations

import re
from pathlib import Path

from vesal.train.recipe import recipe_names
from vesal.workflow.networks import list_networks


def test_the_unet_of_double_convolutions_has_the_parameters_of_its_origin() -> None:
    rows = list_networks()
    counts = {row.recipe: row.parameters for row in rows}
    assert counts["heart-unet3d"] == 22_581_217
    assert [row.recipe for row in rows] == recipe_names()


def test_the_page_on_recipes_states_the_counts_that_the_networks_have() -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    stated = dict(re.findall(r"^\| `([a-z0-9-]+)` \|.*?\| ([\d,]{7,}) \|", page, re.MULTILINE))
    assert stated == {row.recipe: f"{row.parameters:,}" for row in list_networks()}
