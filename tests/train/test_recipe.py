"""Recipes, overrides and durations."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesal.errors import UsageError
from vesal.train.recipe import (
    TrainConfig,
    load_recipe,
    parse_duration,
    parse_overrides,
    recipe_names,
)


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_valid_and_comes_back_from_its_file(name: str, tmp_path: Path) -> None:
    config = load_recipe(name)
    assert config.recipe == name
    config.save(tmp_path / "config.yaml")
    assert TrainConfig.load(tmp_path / "config.yaml") == config


def test_every_field_says_what_it_does() -> None:
    assert all(field.description for field in TrainConfig.model_fields.values())


def test_an_override_replaces_a_field_and_a_nested_one() -> None:
    config = load_recipe("auto", {"lr": 0.5, "augment.enabled": False})
    assert config.lr == 0.5
    assert not config.augment.enabled


def test_a_length_replaces_the_other_lengths_and_two_are_a_contradiction() -> None:
    assert load_recipe("auto", {"steps": 7}).budget_s is None
    with pytest.raises(UsageError, match="both set the length"):
        load_recipe("auto", {"steps": 7, "epochs": 3})


def test_deterministic_with_a_time_budget_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="choose steps or epochs"):
        load_recipe("auto", {"deterministic": True, "budget_s": 60})


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"lerning_rate": 1}, "lerning_rate"),
        ({"lr": "fast"}, "lr"),
        ({"lr": -1.0}, "lr"),
        ({"ema": 2.0}, "ema"),
        ({"lr.peak": 1}, "lr"),
    ],
)
def test_a_wrong_setting_is_named(overrides: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_recipe("auto", overrides)


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"choose one of: .*auto"):
        load_recipe("atuo")


def test_a_recipe_file_is_read_and_a_broken_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("lr: 0.25\nsteps: 10\n")
    config = load_recipe(str(tmp_path / "mine.yaml"))
    assert (config.recipe, config.lr, config.steps) == ("mine", 0.25, 10)
    (tmp_path / "bad.yaml").write_text("lr: [")
    with pytest.raises(UsageError, match=r"bad\.yaml"):
        load_recipe(str(tmp_path / "bad.yaml"))
    with pytest.raises(UsageError, match=r"absent\.yaml"):
        load_recipe(str(tmp_path / "absent.yaml"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("20m", 1200), ("1.5h", 5400), ("1h30m", 5400), ("2m30s", 150)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-5m", "soon", "5x", "m", "1h 30m x"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="length of time"):
        parse_duration(text)


def test_overrides_need_an_equals_sign() -> None:
    with pytest.raises(UsageError, match="key=value"):
        parse_overrides(["lr"])
