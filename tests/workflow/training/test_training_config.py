"""Which configuration a run has, and what is told of options that can do nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vesal.errors import UsageError
from vesal.run.folder import Run
from vesal.train.recipe import TrainConfig, load_recipe
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training.training_config import held_out_sentence, run_config


def configured(
    folder: Path, *settings: str, going_on: bool = False, **options: Any
) -> tuple[TrainConfig, list[str]]:
    messages: list[str] = []
    request = TrainRequest(data=folder, out=folder, settings=settings, **options)
    return run_config(request, Run(folder), going_on=going_on, tell=messages.append), messages


def test_without_a_fold_it_is_told_what_that_means(tmp_path: Path) -> None:
    config, messages = configured(tmp_path, steps=3)
    assert config.fold is None
    assert messages == [
        "No case is held out: nothing is measured, and the last weights are kept, not the best. "
        "--fold 0 holds a fifth of the patients out."
    ]
    assert configured(tmp_path, steps=3, fold=0)[1] == []


def test_a_recipe_of_an_origin_holds_its_fold_out_unless_none_is_asked_for(tmp_path: Path) -> None:
    assert configured(tmp_path, recipe="acdc-robust")[0].fold == 0
    assert configured(tmp_path, recipe="acdc-robust", fold=3)[0].fold == 3
    config, messages = configured(tmp_path, recipe="heart-unet3d", fold="none")
    assert config.fold is None
    assert "early stopping cannot act" in messages[0]
    plateau = load_recipe("heart-monai", {"fold": None})
    assert "early stopping and the reduction on a plateau cannot act" in held_out_sentence(plateau)


@pytest.mark.parametrize(
    ("settings", "options", "words"),
    [
        (["momentum=0.9"], {"fold": 0}, "momentum has no effect: optimizer is muon"),
        (["lr_patience=3", "schedule=cosine"], {"fold": 0}, "lr_patience has no effect: schedule is cosine"),
        (["loss_options.focal_gamma=3"], {"fold": 0}, "focal_gamma has no effect: loss is dice_ce"),
        (["early_stopping=3"], {}, "early_stopping has no effect: no case is held out"),
        (["augment.noise_probability=1", "augment.enabled=false"], {"fold": 0}, "augment.enabled is false"),
        (["network_s=60"], {"fold": 0}, "network_s has no effect: steps or epochs set the length"),
        (["augment.shear_degrees=20"], {"fold": 0}, "augment.shear_probability is 0"),
        (
            ["plan.batch=4"],
            {"fold": 0, "plan_file": Path("p.json")},
            "plan.batch has no effect: --plan gives",
        ),
        (["folds=3"], {"fold": 0, "folds_file": Path("s.json")}, "folds has no effect: s.json has its own"),
    ],
)
def test_an_option_that_cannot_take_effect_is_told(
    settings: list[str], options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    messages = configured(tmp_path, *settings, steps=3, **options)[1]
    assert any(words in message for message in messages)


@pytest.mark.parametrize(
    "settings",
    [
        ["momentum=0.9", "optimizer=sgd"],
        ["lr_patience=3", "schedule=plateau"],
        ["early_stopping=3"],
        ["plan.batch=2"],
        ["augment.shear_degrees=20", "augment.shear_probability=0.1"],
        ["augment.gamma_range=[0.8,1.2]", "augment.gamma_probability=0"],
    ],
)
def test_an_option_that_takes_effect_is_not(settings: list[str], tmp_path: Path) -> None:
    assert configured(tmp_path, *settings, steps=3, fold=0)[1] == []


def test_a_split_without_a_fold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no fold is asked for; add --fold 0"):
        configured(tmp_path, steps=3, folds_file=tmp_path / "s.json")


def test_a_resumed_run_refuses_another_recipe_and_takes_its_own_again(tmp_path: Path) -> None:
    config, _ = configured(tmp_path, "lr=0.1", steps=3, fold=0, recipe="acdc-robust")
    config.save(Run(tmp_path).config_file)
    again, _ = configured(tmp_path, "lr=0.1", going_on=True, steps=3, fold=0, recipe="acdc-robust")
    assert again == config
    assert configured(tmp_path, going_on=True, steps=9)[0].steps == 9
    with pytest.raises(UsageError, match=r"with --recipe heart-unet3d others would be .*leave out --recipe"):
        configured(tmp_path, going_on=True, recipe="heart-unet3d")
    with pytest.raises(UsageError, match=r"--recipe acdc-robust others would be lr \(0.1 in the run\)"):
        configured(tmp_path, going_on=True, recipe="acdc-robust")
    with pytest.raises(UsageError, match=r"leave out seed \(42 in the run\)"):
        configured(tmp_path, going_on=True, seed=1)


def test_the_plan_of_a_run_may_be_named_again_and_no_other(tiny_plan: Path, tmp_path: Path) -> None:
    configured(tmp_path, steps=3)[0].save(Run(tmp_path).config_file)
    Run(tmp_path).plan_file.write_bytes(tiny_plan.read_bytes())
    configured(tmp_path, going_on=True, plan_file=tiny_plan)
    other = tmp_path / "other.json"
    other.write_text(json.dumps(json.loads(tiny_plan.read_text()) | {"batch": 3}))
    with pytest.raises(UsageError, match="leave out --plan"):
        configured(tmp_path, going_on=True, plan_file=other)
