"""Networks that are trained one after the other, and vote where the held-out cases agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import vesal
from vesal.files import read_json
from vesal.nn.model_file import Package, load_package
from vesal.planning.plan import Plan
from vesal.train.recipe import TrainConfig
from vesal.train.state import TrainJob
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training import training_vote
from vesal.workflow.training.train import train_run
from vesal.workflow.training.training_session import Interrupted
from vesal.workflow.training.training_vote import _part, _share, any_unbegun

STEPS = 24


@pytest.fixture(scope="module")
def plan_file(tiny_plan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("vote") / "plan.json"
    Plan.load(tiny_plan).model_copy(update={"networks": 2}).save(file)
    return file


def request(data: Path, out: Path, plan_file: Path, fold: int | None = 0) -> TrainRequest:
    overrides = {"steps": STEPS, "lr": 0.02, "deterministic": True, "fold": fold}
    return TrainRequest(
        data=data, out=out, overrides=overrides, plan_file=plan_file, device="cpu", quiet=True
    )


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def run(tiny_data: Path, plan_file: Path, told: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("voted") / "run"
    with pytest.MonkeyPatch.context() as patch:
        # So short a training decides nothing: here more networks are better.
        patch.setattr(training_vote, "_dice", lambda job, package: 0.5 + 0.1 * len(package.voters))
        train_run(request(tiny_data, out, plan_file), tell=told.append)
    return out


def test_both_are_in_one_file_each_with_half_of_the_run(run: Path, told: list[str]) -> None:
    package = load_package(run / "fold_0" / "model.vesal")
    assert len(package.voters) == 2
    assert not equal(*(voter.weights for voter in package.voters))
    assert package.recipe["steps"] == STEPS
    for folder in (run / "fold_0", run / "fold_0" / "network_2"):
        position = torch.load(folder / "last.ckpt", weights_only=True)["position"]
        assert (position["step"], position["finished"]) == (STEPS // 2, True)
    assert "fold 0: 2 of 2 networks vote" in " ".join(told)
    tried = read_json(run / "fold_0" / "votes.json")
    assert tried[0] == {"networks": [1], "dice": 0.6, "kept": True}
    assert tried[1] == {"networks": [1, 2], "dice": 0.7, "kept": True}
    assert len(vesal.load_model(run, device="cpu").networks) == 2


def test_a_vote_that_the_held_out_cases_speak_against_does_not_count(
    tiny_data: Path, plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_vote, "_dice", lambda job, package: 0.9 - 0.1 * len(package.voters))
    told: list[str] = []
    train_run(request(tiny_data, tmp_path / "run", plan_file), tell=told.append)
    package = load_package(tmp_path / "run" / "fold_0" / "model.vesal")
    assert len(package.voters) == 1
    assert "1 of 2 networks vote" in " ".join(told)
    assert [of["kept"] for of in read_json(tmp_path / "run" / "fold_0" / "votes.json")] == [True, False]


def test_the_dice_that_decides_is_that_of_the_joint_vote(
    run: Path, tiny_data: Path, plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, float | None]] = []
    real = training_vote._dice

    def dice(job: training_vote.TrainJob, package: Package) -> float | None:
        seen.append((len(package.voters), real(job, package)))
        return seen[-1][1]

    monkeypatch.setattr(training_vote, "_dice", dice)
    train_run(request(tiny_data, tmp_path / "run", plan_file), tell=lambda _: None)
    assert [count for count, _ in seen] == [1, 2]
    kept = load_package(tmp_path / "run" / "fold_0" / "model.vesal").voters
    assert (len(kept) == 2) is (seen[1][1] >= seen[0][1])
    assert equal(kept[0].weights, load_package(run / "fold_0" / "model.vesal").weights)


def test_stopped_in_the_second_the_first_serves_and_the_run_goes_on_to_the_same_end(
    run: Path,
    tiny_data: Path,
    plan_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stops_after: Any,
) -> None:
    monkeypatch.setattr(training_vote, "_dice", lambda job, package: 0.5 + 0.1 * len(package.voters))
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("vesal.train.trainer.StopRequest", stops_after(STEPS // 2 + 8))
        with pytest.raises(Interrupted, match=r"network 2 of 2.*--resume"):
            train_run(request(tiny_data, out, plan_file), tell=lambda _: None)
    assert len(load_package(out / "fold_0" / "model.vesal").voters) == 1
    again = TrainRequest(data=tiny_data, out=out, resume=True, device="cpu", quiet=True)
    train_run(again, tell=lambda _: None)
    whole, parts = (load_package(of / "fold_0" / "model.vesal") for of in (run, out))
    assert len(parts.voters) == 2
    assert all(equal(a.weights, b.weights) for a, b in zip(whole.voters, parts.voters, strict=True))
    before = (out / "fold_0" / "model.vesal").read_bytes()
    train_run(again, tell=lambda _: None)
    assert (out / "fold_0" / "model.vesal").read_bytes() == before


def test_without_held_out_cases_all_vote(tiny_data: Path, plan_file: Path, tmp_path: Path) -> None:
    train_run(request(tiny_data, tmp_path / "run", plan_file, fold=None), tell=lambda _: None)
    assert len(load_package(tmp_path / "run" / "fold_all" / "model.vesal").voters) == 2


@pytest.mark.parametrize("other", [False, True], ids=["the same networks", "another one"])
def test_what_was_measured_of_a_vote_does_not_outlive_it(other: bool, run: Path, tmp_path: Path) -> None:
    joint, second = (load_package(run / "fold_0" / file) for file in ("model.vesal", "network_2/model.vesal"))
    joint = replace(joint, bfloat16={"cases": 1}, scores={"cases": 1})
    if other:
        # As after a prolonged run, in which the first network became no better and this one did.
        second = replace(second, weights={name: of + 1 for name, of in second.weights.items()})
    job = TrainJob(joint.plan, TrainConfig(steps=STEPS), [], [], tmp_path, torch.device("cpu"), "fold 0", {})
    training_vote._join(SimpleNamespace(tell=lambda _: None), job, [joint, second])
    written = load_package(job.model_file)
    assert equal(written.voters[1].weights, second.weights)
    assert (written.bfloat16 is None, written.scores is None) == (other, other)


def test_initial_weights_are_wanted_until_the_last_network_has_begun(plan_file: Path, tmp_path: Path) -> None:
    job = TrainJob(Plan.load(plan_file), TrainConfig(), [], [], tmp_path, torch.device("cpu"), "fold 0", {})
    for number in (1, 2):
        assert any_unbegun(job)
        checkpoint = _part(job, number).checkpoint
        checkpoint.parent.mkdir(exist_ok=True)
        checkpoint.touch()
    assert not any_unbegun(job)


def test_each_gets_an_equal_part_of_the_run() -> None:
    assert _share(TrainConfig(budget_s=1200), 4).budget_s == 300
    assert _share(TrainConfig(steps=10), 4).steps == 2
    assert _share(TrainConfig(epochs=1), 4).epochs == 1
