"""Drawing, and records that survive JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from vesal.augment.random_parameters import (
    directions,
    happens,
    log_uniform,
    record_from_dict,
    record_to_dict,
    uniform,
    whole,
)


@dataclass(frozen=True, eq=False)
class Thing:
    strength: Tensor
    seeds: Tensor
    chosen: Tensor
    axes: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...] = ()
    field: Tensor | None = None


def test_a_record_comes_back_from_json_to_the_bit_and_with_its_types() -> None:
    generator = torch.Generator().manual_seed(0)
    thing = Thing(
        strength=torch.rand((3, 2), generator=generator),
        seeds=torch.randint(0, 2**31, (3,), generator=generator),
        chosen=torch.tensor([True, False]),
        axes=(0, 2),
        pairs=((1, 2),),
        field=torch.tensor([[1.0, 2.0]]),
    )
    again = record_from_dict(Thing, json.loads(json.dumps(record_to_dict(thing))))
    for name in ("strength", "seeds", "chosen", "field"):
        before, after = getattr(thing, name), getattr(again, name)
        assert torch.equal(before, after), name
        assert before.dtype == after.dtype, name
    assert again.axes == (0, 2)
    assert again.pairs == ((1, 2),)
    assert record_from_dict(Thing, record_to_dict(Thing(*[thing.strength] * 3, axes=()))).field is None


def test_another_kind_of_record_is_refused() -> None:
    with pytest.raises(TypeError):
        record_from_dict(Thing, {"sigma": [1.0]})


def test_factors_are_as_often_halved_as_doubled() -> None:
    drawn = log_uniform((20_000,), (0.5, 2.0), torch.Generator().manual_seed(0))
    assert drawn.min() >= 0.5 - 1e-6
    assert drawn.max() <= 2.0 + 1e-6
    assert (drawn < 1).float().mean().item() == pytest.approx(0.5, abs=0.015)


def test_chance_zero_never_happens_and_chance_one_always() -> None:
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
