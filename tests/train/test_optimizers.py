"""Optimizers by name, and Muon."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from vesal.nn.blocks import Bricks
from vesal.train.optimizers import OPTIMIZERS, Muon, build_optimizer, orthogonal
from vesal.train.recipe import TrainConfig


def network() -> nn.Module:
    """The scan's first convolution, two between features, one upwards, a norm and a head."""
    torch.manual_seed(0)
    bricks = Bricks(3)
    return nn.Sequential(
        bricks.convolution(1, 8, (3, 3, 3)),
        bricks.convolution(8, 16, (3, 3, 3), (2, 2, 2)),
        bricks.normalisation(16),
        bricks.convolution(16, 16, (3, 3, 3)),
        bricks.upsampling(16, 8, (2, 2, 2)),
        bricks.convolution(8, 3, (1, 1, 1), bias=True),
    )


def loss_of(of: nn.Module) -> torch.Tensor:
    image = torch.randn(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    return (of(image) - 1.0).square().mean()


def steps(of: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> list[float]:
    losses = []
    for _ in range(count):
        optimizer.zero_grad()
        loss = loss_of(of)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_amsgrad_is_passed_on() -> None:
    for name in ("adam", "adamw"):
        config = TrainConfig(optimizer=name, amsgrad=True, steps=1)
        assert build_optimizer(nn.Linear(1, 1), config).defaults["amsgrad"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_norms_and_biases_get_no_weight_decay(name: str) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(16, 16, 3))
    optimizer = build_optimizer(net, TrainConfig(optimizer=name, weight_decay=0.1, steps=1))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays[id(net[0].weight)] == decays[id(net[2].weight)] == 0.1
    assert decays[id(net[0].bias)] == decays[id(net[1].weight)] == 0
    assert len(decays) == len(list(net.parameters()))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_learns(name: str) -> None:
    net = network()
    losses = steps(net, build_optimizer(net, TrainConfig(optimizer=name, lr=1e-2, momentum=0.9, steps=1)), 30)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("shape", [(3, 16, 40), (2, 40, 16), (1, 8, 8)])
def test_singular_values_come_near_one(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(matrices))
    assert values.shape == (shape[0], min(shape[1:]))
    assert values.min() > 0.5
    assert values.max() < 1.3
    # The directions stay: what is made orthogonal is the matrix that was given.
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    inner = (orthogonal(matrices) * (left @ right)).sum((1, 2)) / min(shape[1:])
    assert inner.min() > 0.7


@pytest.mark.parametrize("shape", [(2, 24, 600), (2, 600, 24), (1, 16, 16)])
@pytest.mark.parametrize("noise", [1.0, 1e-6])
def test_the_steps_taken_on_the_product_are_those_taken_on_the_matrix(
    shape: tuple[int, ...], noise: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    few = torch.randn((shape[0], shape[1], 3), generator=generator)
    matrices = few @ torch.randn((shape[0], 3, shape[2]), generator=generator)
    matrices = matrices + noise * torch.randn(shape, generator=generator)
    x = matrices.double()
    x = x / x.norm(dim=(1, 2), keepdim=True)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    assert (orthogonal(matrices) - x).abs().max() < 1e-3 * x.abs().max()


def test_a_gradient_of_zero_stays_zero() -> None:
    assert not orthogonal(torch.zeros(2, 8, 20)).any()


def test_what_is_no_matrix_between_features_moves_as_under_adamw() -> None:
    ours, theirs = network(), network()
    muon = build_optimizer(ours, TrainConfig(optimizer="muon", lr=1e-2, steps=1))
    steps(ours, muon, 1)
    steps(theirs, torch.optim.AdamW(theirs.parameters(), lr=1e-2, weight_decay=1e-2), 1)
    for index in (0, 5):
        assert torch.allclose(ours[index].weight, theirs[index].weight, atol=1e-6)
    assert not torch.allclose(ours[3].weight, theirs[3].weight, atol=1e-4)


def test_steps_after_the_first_are_adamws_too() -> None:
    ours, theirs = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3)
    theirs.load_state_dict(ours.state_dict())
    for net, optimizer in (
        (ours, build_optimizer(ours, TrainConfig(optimizer="muon", lr=1e-2, weight_decay=0.0, steps=1))),
        (theirs, torch.optim.AdamW(theirs.parameters(), lr=1e-2, weight_decay=0.0)),
    ):
        for number in range(5):
            optimizer.zero_grad()
            image = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(number))
            net(image).square().mean().backward()
            optimizer.step()
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)
    assert torch.allclose(ours.bias, theirs.bias, atol=1e-6)


def test_a_step_is_as_long_as_one_of_adamw() -> None:
    net = network()
    before = net[3].weight.detach().clone()
    steps(net, build_optimizer(net, TrainConfig(optimizer="muon", lr=1e-2, weight_decay=0.0, steps=1)), 1)
    length = (net[3].weight.detach() - before).square().mean().sqrt()
    # AdamW's is about 0.2 to 0.4 of the learning rate once it has run for a while (Liu et al., 2025).
    assert 0.1e-2 < length < 0.4e-2


def test_the_state_goes_on_where_it_was_saved() -> None:
    net = network()
    optimizer = build_optimizer(net, TrainConfig(optimizer="muon", lr=1e-2, steps=1))
    steps(net, optimizer, 3)
    kept: dict[str, Any] = copy.deepcopy({"network": net.state_dict(), "optimizer": optimizer.state_dict()})
    steps(net, optimizer, 3)
    again = network()
    again.load_state_dict(kept["network"])
    resumed = build_optimizer(again, TrainConfig(optimizer="muon", lr=1e-2, steps=1))
    resumed.load_state_dict(kept["optimizer"])
    steps(again, resumed, 3)
    for one, other in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_weights_without_a_gradient_stay() -> None:
    net = network()
    net[3].weight.requires_grad_(True)
    optimizer = Muon([{"params": [net[3].weight], "rows": 0, "weight_decay": 0.1}], lr=0.1)
    before = net[3].weight.detach().clone()
    optimizer.step()
    assert torch.equal(net[3].weight, before)
