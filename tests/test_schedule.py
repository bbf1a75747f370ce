"""Learning rates, optimizers and the average of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vesal.train.recipe import TrainConfig
from vesal.train.schedule import WeightAverage, build_optimizer, learning_rate


@pytest.mark.parametrize("schedule", ["poly", "cosine"])
def test_the_rate_rises_to_its_peak_and_falls_to_nothing(schedule: str) -> None:
    config = TrainConfig(lr=0.1, warmup=0.1, steps=10, schedule=schedule)
    rates = [learning_rate(config, step / 100) for step in range(101)]
    assert rates[0] == 0
    assert max(rates) == pytest.approx(0.1)
    assert rates.index(max(rates)) == 10
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-12)


def test_poly_is_nnunets_power_of_nine_tenths() -> None:
    config = TrainConfig(lr=0.01, warmup=0, steps=10)
    assert learning_rate(config, 0.5) == pytest.approx(0.01 * 0.5**0.9)


def test_a_constant_rate_stays() -> None:
    config = TrainConfig(lr=0.01, warmup=0, steps=10, schedule="constant")
    assert {learning_rate(config, p) for p in (0.0, 0.5, 1.0)} == {0.01}


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_norms_and_biases_get_no_weight_decay(name: str) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    optimizer = build_optimizer(network, TrainConfig(optimizer=name, weight_decay=0.1, steps=1))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays[id(network[0].weight)] == 0.1
    assert decays[id(network[0].bias)] == decays[id(network[1].weight)] == 0
    assert len(decays) == len(list(network.parameters()))


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
