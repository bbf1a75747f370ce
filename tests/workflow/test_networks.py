"""The list of networks: parameters of every recipe."""

from __future__ import annotations

from vesal.train.recipe import recipe_names
from vesal.workflow.networks import list_networks


def test_the_unet_of_double_convolutions_has_the_parameters_of_its_origin() -> None:
    rows = list_networks()
    counts = {row.recipe: row.parameters for row in rows}
    assert counts["heart-unet3d"] == 22_581_217
    assert [row.recipe for row in rows] == recipe_names()
