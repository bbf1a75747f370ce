"""When a training validates, ships, slows down and stops."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from vesal.planning.plan import Plan
from vesal.train.checkpoint import Position, Trained
from vesal.train.recipe import TrainConfig
from vesal.train.state import State, TrainJob
from vesal.train.validation import ENOUGH_CASES, Allowance, Validation


def state(plan: Plan, folder: Path, *, step: int = 0, steps: int | None = 100, **config: Any) -> State:
    network = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    settings = TrainConfig(**({"steps": steps} if steps else {"budget_s": 100.0}) | config)
    job = TrainJob(plan, settings, [], [], folder, torch.device("cpu"), "", {})
    trained = Trained(network, optimizer, None, torch.amp.GradScaler("cpu", enabled=False))
    return State(job, trained, Position(step=step), steps, epoch_steps=10)


def told(
    dice: float | None = None, loss: float | None = None, core: float | None = None, cases: int = 4
) -> Validation:
    return Validation(dice, {"shell": None, "core": core}, loss, cases)


@pytest.fixture
def plan(tiny_plan: Path) -> Plan:
    return Plan.load(tiny_plan)


def test_better_dice_ships_and_worse_is_counted(plan: Plan, tmp_path: Path) -> None:
    run = state(plan, tmp_path, early_stopping=2)
    assert [run.judge(told(dice)) for dice in (0.5, 0.4, 0.6, 0.6)] == [True, False, True, True]
    assert run.position.stale == 1
    assert run.position.best == 0.6
    assert not run.ended_early
    run.judge(told(0.1))
    assert run.ended_early


def test_of_few_cases_the_newest_weights_ship_and_the_best_are_remembered(plan: Plan, tmp_path: Path) -> None:
    run = state(plan, tmp_path, early_stopping=2)
    for step, dice in enumerate((0.5, 0.4, 0.3), start=1):
        run.position.step = step
        assert run.judge(told(dice, cases=3))
        assert run.position.best_step == step
    assert run.position.best == 0.5
    assert run.ended_early
    # The loss of the training is of all its cases.
    run = state(plan, tmp_path, monitor="train_loss")
    shipped = []
    for losses in ((6.0, 3), (9.0, 3)):
        run.position.train_losses = losses
        shipped.append(run.judge(told(0.5, cases=1)))
    assert shipped == [True, False]


def test_a_validation_may_take_its_share_or_a_quarter_where_it_shows_too_few(
    plan: Plan, tmp_path: Path
) -> None:
    run = state(plan, tmp_path, steps=None, validation_time=0.2, validate_every=0.05)
    assert run.validation_allowance == Allowance(pytest.approx(1.0), ENOUGH_CASES, pytest.approx(5.0))
    run = state(plan, tmp_path, steps=None, validation_time=0.2, validate_every=0.5)
    assert run.validation_allowance == Allowance(pytest.approx(10.0), ENOUGH_CASES, pytest.approx(10.0))
    run = state(plan, tmp_path, step=30, steps=None, validation_time=0.2, validate_epochs=3)
    run._elapsed_before = 30.0
    share_s = pytest.approx(6.0, abs=0.1)
    assert run.validation_allowance == Allowance(share_s, ENOUGH_CASES, share_s)


def test_a_loss_is_better_when_lower_and_a_class_can_be_watched(plan: Plan, tmp_path: Path) -> None:
    run = state(plan, tmp_path, monitor="val_loss")
    assert [run.judge(told(0.5, loss)) for loss in (1.0, 2.0, 0.5)] == [True, False, True]
    run = state(plan, tmp_path, monitor="val_dice/core")
    assert [run.judge(told(0.9, 0.1, core)) for core in (0.2, 0.1, 0.3)] == [True, False, True]
    run = state(plan, tmp_path, monitor="train_loss")
    run.position.train_losses = (6.0, 3)
    run.judge(told(0.5))
    assert run.position.best == 2.0
    assert run.position.train_losses == (0.0, 0)


def test_validations_that_measure_nothing_end_no_run(plan: Plan, tmp_path: Path) -> None:
    run = state(plan, tmp_path, monitor="val_dice/core", early_stopping=2, schedule="plateau", lr_patience=1)
    assert all(run.judge(told(0.5)) for _ in range(5))
    assert not run.ended_early
    assert run.position.reductions == 0
    # Predicted where it is not: Dice 0, which can be counted.
    assert [run.judge(told(0.5, core=core)) for core in (0.0, None, 0.0)] == [True] * 3
    assert run.position.stale == 1
    run.judge(told(0.5, core=0.0))
    assert run.ended_early


def test_a_number_is_better_than_none_that_can_be_compared(plan: Plan, tmp_path: Path) -> None:
    run = state(plan, tmp_path, monitor="val_loss")
    losses = (math.nan, 2.0, math.nan, 1.0)
    assert [run.judge(told(0.5, loss)) for loss in losses] == [True, True, False, True]
    assert run.position.best == 1.0


def test_a_plateau_reduces_once_its_patience_is_over_and_waits_again(plan: Plan, tmp_path: Path) -> None:
    run = state(plan, tmp_path, schedule="plateau", lr_patience=1)
    counts = []
    for dice in (0.5, 0.4, 0.4, 0.4, 0.4, 0.6, 0.5):
        run.judge(told(dice))
        counts.append(run.position.reductions)
    assert counts == [0, 0, 1, 1, 2, 2, 2]


def test_a_target_that_is_reached_ends_the_run(plan: Plan, tmp_path: Path) -> None:
    run = state(plan, tmp_path, target=0.95)
    run.judge(told(0.94))
    assert not run.ended_early
    run.judge(told(0.95))
    assert run.ended_early


def test_validation_comes_by_share_or_by_epochs(plan: Plan, tmp_path: Path) -> None:
    assert not state(plan, tmp_path, step=4).validation_due
    assert state(plan, tmp_path, step=5).validation_due
    assert not state(plan, tmp_path, step=29, validate_epochs=3).validation_due
    assert state(plan, tmp_path, step=30, validate_epochs=3).validation_due
    assert state(plan, tmp_path, step=100, validate_epochs=30).validation_due


def test_a_time_budget_puts_off_validations_that_it_cannot_pay(plan: Plan, tmp_path: Path) -> None:
    run = state(plan, tmp_path, step=30, steps=None, validate_epochs=3)
    run._elapsed_before = 50.0
    assert run.validation_due
    run.position.validation_s = (4.0, 2.0)
    assert run.validation_due
    run.position.validation_s = (6.0, 3.0)
    assert not run.validation_due
    run._elapsed_before = 100.0
    assert run.validation_due
