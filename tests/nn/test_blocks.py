"""Norms, activations, residual blocks and attention gates."""

from __future__ import annotations

import pytest
import torch
from small_networks import PLANS

from vesal.nn.blocks import ACTIVATIONS, NORMS, AttentionGate, Bricks
from vesal.nn.cpu import instance_norm as cpu
from vesal.nn.unet import UNet
from vesal.planning.plan import Stage


def test_an_attention_gate_starts_open_and_can_close() -> None:
    torch.manual_seed(0)
    network = UNet(PLANS["2d"].stages, 2, 3, skips="gated")
    gate = network.gates[0]
    assert isinstance(gate, AttentionGate)
    skip, signal = torch.ones(1, 4, 8, 8), 0.1 * torch.randn(1, 4, 8, 8)
    open_share = gate(skip, signal).mean().item()
    assert 0.75 < open_share <= 1
    torch.nn.init.constant_(gate.score.bias, -20.0)
    assert gate(skip, signal).abs().max() < 1e-6


@pytest.mark.parametrize("norm", sorted(NORMS))
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_norm_goes_with_every_activation_and_the_cpus_own_functions_change_nothing(
    norm: str, activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    stages = PLANS["2d"].stages
    bricks = Bricks(2, norm, activation, bias=True)
    network = UNet(stages, 2, 3, bricks=bricks, encoder="residual", skips="gated", pooling=True)
    x = torch.randn(2, 2, 16, 24)
    fast = network(x)
    fast.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    monkeypatch.setattr(cpu, "applies", lambda x: False)
    assert (fast - network(x)).abs().max() < 1e-5 * fast.abs().max()


def test_a_residual_block_starts_as_its_shortcut() -> None:
    torch.manual_seed(0)
    block = UNet(PLANS["2d"].stages, 2, 3, encoder="residual").encoder[1][1]
    x = torch.randn(1, 8, 8, 12)
    torch.testing.assert_close(block(x), torch.nn.functional.leaky_relu(x, 0.01))


def test_the_first_convolution_has_kaiming_variance_for_leaky_relu() -> None:
    torch.manual_seed(0)
    stages = [Stage(features=256, kernel=(3, 3, 3), stride=(1, 1, 1))]
    weight = UNet(stages, 8, 2).encoder[0][0].conv.weight
    expected = (2 / (1 + 0.01**2) / (8 * 27)) ** 0.5
    assert weight.std().item() == pytest.approx(expected, rel=0.02)
