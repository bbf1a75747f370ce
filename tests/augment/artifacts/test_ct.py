"""Hounsfield units that are off, and streaks of metal."""

from __future__ import annotations

import pytest
import torch
from augment_examples import drawn

from vesal.augment.artifacts.ct import METAL_HU, HuShift, Streaks


def test_an_offset_is_in_hounsfield_units_whatever_the_units_of_the_image() -> None:
    image = torch.randn(2, 1, 8, 8)
    offset = torch.tensor([[30.0], [0.0]])
    out = HuShift(offset, unit=200.0).apply(image)
    assert torch.allclose(out[0], image[0] + 0.15)
    assert torch.equal(out[1], image[1])
    assert HuShift(torch.zeros(2, 1)).apply(image) is image


def test_metal_makes_rays_in_some_slices_and_a_dense_body_in_their_middle() -> None:
    record = drawn("streaks", "CT", n=1, height=(400, 400))
    assert isinstance(record, Streaks)
    image = torch.zeros(1, 2, 16, 15, 12)
    out = record.apply(image)
    slices = (out[0, 0] != 0).flatten(0, 1).any(dim=0).nonzero().flatten()
    assert 0 < len(slices) < 12
    assert slices.tolist() == list(range(int(slices[0]), int(slices[-1]) + 1))
    assert out.max().item() == pytest.approx(METAL_HU / 200)
    assert torch.equal(out[:, 0], out[:, 1])


def test_rays_are_as_high_as_asked_next_to_the_metal_and_fade_with_the_distance() -> None:
    record = Streaks(
        axes=(0, 1),
        centre=torch.tensor([[0.5, 0.5]]),
        reach=torch.tensor([0.1]),
        angles=torch.tensor([[0.0]]),
        height=torch.tensor([[200.0]]),
        radius=torch.tensor([0.01]),
    )
    out = record.apply(torch.zeros(1, 1, 101, 101))[0, 0]
    ray = out[:, 50]
    assert ray[52].item() == pytest.approx(200 / (1 + 2 / 15), abs=1)
    assert ray[65].item() == pytest.approx(100, abs=2), "half the height at 15 % of the side"
    assert (ray[52:].diff() < 0).all()
    assert out[50, 60].abs() < 1e-3, "beside the ray"
