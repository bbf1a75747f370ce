"""The configuration of the augmentation."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from vesal.augment.artifacts.registry import ArtifactConfig
from vesal.augment.config import AugmentConfig
from vesal.train.recipe import load_recipe, parse_overrides


@pytest.mark.parametrize(
    "wrong",
    [
        {"noise_probability": 1.5},
        {"scale_range": (1.4, 0.7)},
        {"gamma_range": (0.0, 1.0)},
        {"low_resolution_range": (0.5, 2.0)},
        {"grid_range": (0.5, 1.0)},
        {"dropout_holes": (0, 3)},
        {"shift_range": (0.2, -0.2)},
        {"mirror_only_axes": (3,)},
        {"artifacts": {"motion": {"probability": 2.0}}},
        {"no_such_field": 1},
    ],
)
def test_a_contradictory_configuration_raises_when_it_is_made(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AugmentConfig(**wrong)


def test_every_field_of_the_configuration_has_its_help() -> None:
    for name, field in AugmentConfig.model_fields.items():
        assert field.description, name
    assert AugmentConfig.model_validate_json(AugmentConfig().model_dump_json()) == AugmentConfig()


def test_one_switch_trains_on_the_artefacts_of_the_benchmark() -> None:
    for key in ("augment.artifacts", "augmentation.artifacts"):
        recipe = load_recipe("auto", parse_overrides([f"{key}=0.3"]))
        assert recipe.augment.artifacts == ArtifactConfig(share=0.3)
    assert AugmentConfig().artifacts.share == 0
