"""Noise of the receiver: its strength and its streams."""

from __future__ import annotations

import math

import pytest
import torch

from vesal.augment.artifacts.noise import ScannerNoise


@pytest.mark.parametrize("rician", [True, False])
def test_noise_has_the_standard_deviation_that_was_asked_for(rician: bool) -> None:
    image = torch.full((1, 1, 200, 200), 100.0)
    image[..., :100] = 300.0
    image[0, 0, 0, 0] = 9000.0  # A single hot voxel does not make the noise stronger.
    noise = ScannerNoise(torch.tensor([[0.02]]), torch.tensor([3]), rician)
    added = (noise.apply(image) - image)[0, 0, 1:]
    assert added[:, :100].std().item() == pytest.approx(0.02 * 200, rel=0.02)
    assert added[:, :100].mean().item() == pytest.approx(0, abs=0.1)
    in_air = added[:, 100:]
    if rician:  # In air the magnitude of two Gaussians is left: Rayleigh.
        assert in_air.min() >= 0
        assert in_air.mean().item() == pytest.approx(0.02 * 200 * math.sqrt(math.pi / 2), rel=0.02)
    else:
        assert in_air.std().item() == pytest.approx(0.02 * 200, rel=0.02)


def test_channels_and_seeds_have_noise_of_their_own() -> None:
    image = torch.linspace(0, 1, 400).expand(2, 2, 20, 400)
    noise = ScannerNoise(torch.full((2, 2), 0.05), torch.tensor([5, 5])).apply(image) - image
    assert torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0, 0], noise[0, 1])
    alone = ScannerNoise(torch.tensor([[0.0, 0.05]] * 2), torch.tensor([5, 5])).apply(image) - image
    assert torch.equal(alone[0, 1], noise[0, 1])
