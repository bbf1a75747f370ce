"""Learning rates, optimizers and the average of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vesal.train.recipe import TrainConfig
from vesal.train.schedule import SCHEDULES, Clock, WeightAverage, learning_rate


@pytest.mark.parametrize("schedule", ["poly", "cosine"])
def test_the_rate_rises_to_its_peak_and_falls_to_nothing(schedule: str) -> None:
    config = TrainConfig(lr=0.1, warmup=0.1, steps=10, schedule=schedule)
    rates = [learning_rate(config, Clock(step / 100)) for step in range(101)]
    assert rates[0] == 0
    assert max(rates) == pytest.approx(0.1)
    assert rates.index(max(rates)) == 10
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-12)


def test_poly_is_nnunets_power_of_nine_tenths() -> None:
    config = TrainConfig(lr=0.01, warmup=0, steps=10)
    assert learning_rate(config, Clock(0.5)) == pytest.approx(0.01 * 0.5**0.9)


def test_a_constant_rate_stays() -> None:
    config = TrainConfig(lr=0.01, warmup=0, steps=10, schedule="constant")
    assert {learning_rate(config, Clock(p)) for p in (0.0, 0.5, 1.0)} == {0.01}


def test_steps_halve_the_rate_every_period() -> None:
    config = TrainConfig(lr=0.01, warmup=0, steps=10, schedule="step", lr_period=20, lr_factor=0.5)
    rates = [learning_rate(config, Clock(0.5, epoch)) for epoch in (0.0, 19.9, 20.0, 45.0)]
    assert rates == pytest.approx([0.01, 0.01, 0.005, 0.0025])
    scheduler = torch.optim.lr_scheduler.StepLR(
        torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.01), 20, 0.5
    )
    for epoch in range(60):
        assert learning_rate(config, Clock(0.5, epoch)) == pytest.approx(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("growth", [1, 2])
def test_warm_restarts_are_torchs(growth: int) -> None:
    config = TrainConfig(
        lr=0.01, warmup=0, steps=10, schedule="restarts", lr_period=5, lr_growth=growth, lr_min=1e-4
    )
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 5, growth, eta_min=1e-4)
    for epoch in range(40):
        assert learning_rate(config, Clock(0.5, epoch)) == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


def test_one_cycle_is_torchs() -> None:
    config = TrainConfig(lr=0.01, warmup=0.3, steps=1, schedule="one_cycle")
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=1001, cycle_momentum=False)
    for step in range(1001):
        # Torch counts the end of the rise as step 0.3 * 1001 - 1.
        assert learning_rate(config, Clock(step / 1000)) == pytest.approx(
            scheduler.get_last_lr()[0], abs=5e-5
        )
        optimizer.step()
        if step < 1000:
            scheduler.step()


def test_a_plateau_reduces_the_rate_as_often_as_it_was_reached() -> None:
    config = TrainConfig(lr=0.01, warmup=0, steps=10, schedule="plateau", lr_factor=0.1, lr_min=5e-4)
    assert [learning_rate(config, Clock(0.9, 3, n)) for n in range(3)] == pytest.approx([0.01, 1e-3, 5e-4])


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_every_schedule_warms_up_and_stays_between_its_bounds(schedule: str) -> None:
    config = TrainConfig(lr=0.1, warmup=0.2, steps=10, schedule=schedule, lr_min=0.01)
    rates = [learning_rate(config, Clock(step / 50, step / 2)) for step in range(51)]
    assert rates[0] < 0.02
    assert rates[:10] == sorted(rates[:10])
    assert max(rates) <= 0.1 + 1e-12
    assert min(rates[10:]) >= 0.01


def test_the_average_follows_quickly_at_first_and_slowly_later() -> None:
    network = nn.Linear(1, 1)
    nn.init.zeros_(network.weight)
    average = WeightAverage(network, 0.99)
    nn.init.ones_(network.weight)
    average.update(network, step=1)
    assert average.network.weight.item() == pytest.approx(1 - 2 / 11)
    before = average.network.weight.item()
    average.update(network, step=100_000)
    assert average.network.weight.item() == pytest.approx(before + 0.01 * (1 - before))


def test_the_average_covers_running_statistics_and_never_trains() -> None:
    network = nn.BatchNorm1d(2)
    average = WeightAverage(network, 0.9)
    network(torch.randn(8, 2) + 5)
    average.update(network, step=1)
    assert (average.network.running_mean > 0.1).all()
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    assert not average.network.training
