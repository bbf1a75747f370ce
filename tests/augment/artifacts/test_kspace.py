"""Ghosts and spikes against their formulas and numpy's transform."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from augment_examples import drawn, seeded

from vesal.augment.artifacts.kspace import Ghosting, Spikes


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("period", [4, 8])
def test_ghosts_are_copies_one_period_th_of_the_side_away(axis: int, period: int) -> None:
    body = torch.zeros(64, 64)
    body[30:34, 29:33] = 1.0
    ghosting = Ghosting(
        torch.tensor([[0.6]]), torch.tensor([period]), torch.tensor([0.0]), torch.tensor([axis])
    )
    out = ghosting.apply(body[None, None])[0, 0]
    distance = 64 // period
    expected = body + 0.3 * (body.roll(distance, axis) + body.roll(-distance, axis))
    assert torch.allclose(out, expected, atol=1e-5)


def test_a_period_of_two_lines_is_the_ghost_half_a_field_of_view_away() -> None:
    body = torch.zeros(1, 1, 32, 16)
    body[:, :, 4:9, 6:9] = 1.0
    ghosting = Ghosting(torch.tensor([[0.4]]), torch.tensor([2]), torch.tensor([0.0]), torch.tensor([0]))
    assert torch.allclose(ghosting.apply(body), body + 0.4 * body.roll(16, 2), atol=1e-5)


def test_a_spike_is_a_sinusoid_of_its_frequency_direction_and_height() -> None:
    shape = (40, 32)
    image = torch.full((1, 1, *shape), 10.0)
    image[0, 0, 0, 0] = 0.0  # The scale's zero.
    spikes = Spikes(
        (0, 1), torch.tensor([[[4 / 40, -6 / 32]]]), torch.tensor([[0.7]]), torch.tensor([[[0.02]]])
    )
    out = spikes.apply(image)[0, 0]
    x, y = torch.meshgrid(torch.arange(40.0), torch.arange(32.0), indexing="ij")
    wave = 0.02 * image.mean() * torch.cos(2 * math.pi * (4 * x / 40 - 6 * y / 32) + 0.7)
    assert torch.allclose(out[1:], (image[0, 0] + wave)[1:], atol=0.004)
    assert (out - 10)[1:].abs().max() > 0.15


@pytest.mark.parametrize("shape", [(20, 15), (12, 10, 9)])
def test_spikes_are_high_values_of_the_spectrum(shape: tuple[int, ...]) -> None:
    axes = tuple(range(len(shape)))
    image = torch.rand((1, 1, *shape), generator=seeded())
    image -= image.min()
    spectrum = np.fft.fftn(image[0, 0].numpy())
    frequency, phase, height = (
        torch.rand(1, 3, len(shape), generator=seeded(2)) - 0.5,
        [0.3, 2.0, 4.0],
        [0.2, 0.4, 0.1],
    )
    for cycles, angle, share in zip(frequency[0].numpy(), phase, height, strict=True):
        place = tuple(int(np.round(f * n)) % n for f, n in zip(cycles, shape, strict=True))
        spectrum[place] += share * np.abs(np.fft.fftn(image[0, 0].numpy())).max() * np.exp(1j * angle)
    out = Spikes(axes, frequency, torch.tensor([phase]), torch.tensor([[height]])).apply(image)
    assert np.abs(out[0, 0].numpy() - np.abs(np.fft.ifftn(spectrum))).max() < 1e-5


def test_thick_slices_have_stripes_as_strong_as_their_own_signal() -> None:
    image = torch.ones(1, 1, 4, 16, 16)
    image[:, :, 1] *= 3
    image[:, :, 3] = 0
    spikes = Spikes((1, 2), torch.tensor([[[0.25, 0.0]]]), torch.zeros(1, 1), torch.tensor([[[0.1]]]))
    added = (spikes.apply(image) - image)[0, 0]
    assert added[1].abs().max().item() == pytest.approx(0.3, abs=1e-4)
    assert added[0].abs().max().item() == pytest.approx(0.1, abs=1e-4)
    assert added[3].abs().max() == 0


def test_the_number_of_spikes_is_drawn_from_its_range() -> None:
    record = drawn("spike", "2D", n=200)
    assert isinstance(record, Spikes)
    assert set((record.height[:, 0] > 0).sum(dim=1).tolist()) == set(range(2, 9))
