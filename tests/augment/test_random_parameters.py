"""Drawing of random parameters."""

from __future__ import annotations

import pytest
import torch

from vesal.augment.random_parameters import (
    directions,
    happens,
    log_uniform,
    uniform,
    whole,
)


def test_factors_are_as_often_halved_as_doubled() -> None:
    drawn = log_uniform((20_000,), (0.5, 2.0), torch.Generator().manual_seed(0))
    assert drawn.min() >= 0.5 - 1e-6
    assert drawn.max() <= 2.0 + 1e-6
    assert (drawn < 1).float().mean().item() == pytest.approx(0.5, abs=0.015)


def test_probability_zero_never_happens_and_probability_one_always() -> None:
    generator = torch.Generator().manual_seed(0)
    assert not happens((1000,), 0.0, generator).any()
    assert happens((1000,), 1.0, generator).all()
    assert uniform((5,), (2.0, 2.0), generator).tolist() == [2.0] * 5


def test_whole_numbers_include_both_limits() -> None:
    drawn = whole((6000,), (2, 4), torch.Generator().manual_seed(0))
    assert drawn.dtype == torch.int64
    for value in (2, 3, 4):
        assert (drawn == value).float().mean().item() == pytest.approx(1 / 3, abs=0.03)
    assert set(drawn.tolist()) == {2, 3, 4}


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_directions_have_length_one_and_no_favourite(axes: int) -> None:
    drawn = directions((5000, axes), torch.Generator().manual_seed(0))
    assert torch.allclose(torch.linalg.vector_norm(drawn, dim=1), torch.ones(5000))
    assert drawn.mean(dim=0).abs().max() < 0.05
