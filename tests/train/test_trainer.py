"""The training loop by itself: however it is made fast, it trains the same network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vesal.files import read_json_lines
from vesal.layouts.registry import load_dataset
from vesal.nn.model_file import load_package
from vesal.nn.zoo import build_network
from vesal.planning.plan import Plan
from vesal.preprocessing.cache import PreparedCase
from vesal.preprocessing.prepare import prepare_dataset
from vesal.run_files import METRICS
from vesal.train.logs.training_dice import TrainingDice
from vesal.train.recipe import TrainConfig
from vesal.train.state import TrainJob
from vesal.train.trainer import train


@pytest.fixture(scope="module")
def cases(tiny_data: Path, tiny_plan: Path, tmp_path_factory: pytest.TempPathFactory) -> list[PreparedCase]:
    folder = tmp_path_factory.mktemp("prepared")
    return list(prepare_dataset(load_dataset(tiny_data).cases, Plan.load(tiny_plan), folder)[0])


@pytest.fixture
def weights(cases: list[PreparedCase], tiny_plan: Path, tmp_path: Path) -> Any:
    """Trains a few steps with some settings and gives the model's weights."""

    def trained(name: str, *, resume: bool = False, **settings: Any) -> dict[str, torch.Tensor]:
        config = TrainConfig(**{"steps": 6, "deterministic": True, "ema": 0.5} | settings)
        plan, folder = Plan.load(tiny_plan), tmp_path / name
        folder.mkdir(exist_ok=True)
        job = TrainJob(plan, config, cases, [], folder, torch.device("cpu"), name, {})
        train(job, resume=resume, quiet=False)
        return dict(load_package(job.model_file).weights)

    return trained


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_cases_on_the_device_train_the_same_network_bit_for_bit(weights: Any) -> None:
    plain = weights("plain")
    assert same(plain, weights("device_cache", device_cache=True))
    assert not same(plain, weights("another seed", seed=1))


def test_the_dice_of_training_patches_is_logged_and_changes_no_weight(
    weights: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"steps": 21, "accumulation": 2}
    plain = weights("with", **settings)
    rows = read_json_lines(tmp_path / "with" / METRICS)
    assert [row["step"] for row in rows] == [*range(1, 11), 20, 21]
    assert all(0 <= row["train_dice"] <= 1 for row in rows)
    assert all(set(row["train_dice_per_class"]) == {"shell", "core"} for row in rows)
    monkeypatch.setattr(TrainingDice, "add", lambda *_: None)
    assert same(plain, weights("without", **settings))
    assert not any("train_dice" in row for row in read_json_lines(tmp_path / "without" / METRICS))


def test_a_compiler_that_computes_something_else_changes_nothing(
    weights: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = weights("plain")

    def wrong(function: Any, **_: Any) -> Any:
        return lambda *of: (2 * function(*of)[0], function(*of)[1])

    monkeypatch.setattr(torch, "compile", wrong)
    assert same(plain, weights("wrong", compile=True))
    assert "Not compiled, for on one batch the loss is" in " ".join(capsys.readouterr().err.split())


def test_a_compiled_run_leaves_the_files_of_a_plain_one_and_either_goes_on_with_them(
    weights: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"schedule": "constant", "warmup": 0.0}
    whole = weights("whole", **settings)
    monkeypatch.setattr(torch, "compile", lambda function, **_: lambda *of: function(*of))
    weights("parts", steps=3, compile=True, **settings)
    assert same(whole, weights("parts", resume=True, compile=False, **settings))
    weights("others", steps=3, compile=False, **settings)
    assert same(whole, weights("others", resume=True, compile=True, **settings))


@pytest.mark.parametrize("resume", [False, True])
def test_what_is_not_trained_stays_as_it_is_batch_norms_included(
    cases: list[PreparedCase], tiny_plan: Path, tmp_path: Path, resume: bool
) -> None:
    plan = Plan.load(tiny_plan).model_copy(update={"norm": "batch"})
    torch.manual_seed(1)
    before = build_network("unet", plan).state_dict()
    frozen = frozenset(name for name in before if name.startswith("encoder."))
    assert any(name.endswith("running_mean") for name in frozen)
    for steps in (1, 3) if resume else (3,):
        config = TrainConfig(steps=steps, ema=0.5)
        job = TrainJob(plan, config, cases, [], tmp_path, torch.device("cpu"), "frozen", {})
        train(replace(job, weights=before, frozen=frozen), resume=resume, quiet=True)
    after = load_package(job.model_file).weights
    assert [name for name in frozen if not torch.equal(before[name], after[name])] == []
    assert all(not torch.equal(before[name], after[name]) for name in before if name.startswith("heads.0"))
