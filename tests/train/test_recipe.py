"""Recipes, overrides and durations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vesal.errors import UsageError
from vesal.train.recipe import (
    TrainConfig,
    load_recipe,
    parse_duration,
    parse_overrides,
    recipe_names,
    recipe_overrides,
    resumed,
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


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("batch=8", "perhaps plan.batch?"),
        ("los=dice", "perhaps loss?"),
        ("learning_rate=0.1", "perhaps lr?"),
        ("patience=5", "perhaps early_stopping?"),
        ("plan.batchsize=8", "perhaps plan.batch?"),
        ("augment.noise_prob=1", "perhaps augment.noise_probability?"),
        ("schedule=ReduceLROnPlateau", "perhaps plateau?"),
        ("precision=float16", "perhaps 16?"),
        ("optimizer=rmsprop", "choose one of: adam, adamw, muon, sgd"),
        ("lr=true", "lr must be a number, not true"),
        ("lr=.inf", "lr must be a finite number"),
        ("fold=abc", "fold must be a whole number or all, not abc"),
        ("plan.patch=64", "plan.patch must be a list, such as"),
        ("plan=3", "plan has parts"),
    ],
)
def test_a_wrong_name_or_value_is_answered_with_the_right_one(setting: str, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        load_recipe("auto", parse_overrides([setting]))


@pytest.mark.parametrize(
    ("setting", "field", "value"),
    [
        ("precision=32", "precision", "32"),
        ("ema=None", "ema", None),
        ("fold=none", "fold", None),
        ("budget_s=20m", "budget_s", 1200.0),
        ("optimizer=AdamW", "optimizer", "adamw"),
        ("compile=true", "compile", True),
    ],
)
def test_a_setting_takes_what_its_help_shows(setting: str, field: str, value: object) -> None:
    found = getattr(load_recipe("auto", parse_overrides([setting])), field)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_of_an_origin_holds_a_fold_out(name: str) -> None:
    assert load_recipe(name).fold == (None if name == "auto" else 0)


def test_a_resumed_run_takes_its_own_values_again_and_no_others() -> None:
    config = load_recipe("auto", {"steps": 5, "lr": 0.1, "plan.batch": 2})
    again = resumed(config, {"lr": 0.1, "plan.batch": 2, "steps": 9, "fold": 1})
    assert (again.steps, again.fold, again.lr) == (9, 1, 0.1)
    with pytest.raises(UsageError, match=r"leave out lr \(0.1 in the run\), plan.batch \(2 in the run\)"):
        resumed(config, {"lr": 0.2, "plan.batch": 4})


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


@pytest.mark.parametrize("text", ["", "0", "-5m", "soon", "5x", "m", "1h 30m x", "1h30", "2m30"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="length of time"):
        parse_duration(text)


def test_what_is_given_twice_and_not_alike_is_refused(tmp_path: Path) -> None:
    assert parse_overrides(["lr=0.1", "lr=0.1"]) == {"lr": 0.1}
    with pytest.raises(UsageError, match=r"--set gives lr twice \(0.1, 0.2\)"):
        parse_overrides(["lr=0.1", "lr=0.2"])
    with pytest.raises(UsageError, match=r"seed is given by an option \(1\) and by --set \(2\)"):
        recipe_overrides(["seed=2"], seed=1)
    (tmp_path / "twice.yaml").write_text("lr: 0.1\nplan:\n  batch: 2\n  batch: 3\n")
    with pytest.raises(UsageError, match=r"gives batch twice \(lines 3 and 4\)"):
        load_recipe(str(tmp_path / "twice.yaml"))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("seed=99999999999999999999", "seed must be less than"),
        (
            "plan.normalisation={scheme: window, lower: 100, upper: 0}",
            "lower bound 100 is not below its upper 0",
        ),
    ],
)
def test_a_value_that_would_fail_later_is_refused_at_once(setting: str, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        load_recipe("auto", parse_overrides([setting]))


def test_overrides_need_an_equals_sign() -> None:
    with pytest.raises(UsageError, match="key=value"):
        parse_overrides(["lr"])


def test_half_a_name_is_answered_with_the_whole_in_the_same_place() -> None:
    with pytest.raises(UsageError, match=r"perhaps loss_options\.focal_gamma\?"):
        load_recipe("auto", {"loss_options.gamma": 2})
