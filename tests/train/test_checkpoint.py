"""Checkpoints: resumed exactly, and refused where they do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from vesal.errors import VesalError
from vesal.train.checkpoint import (
    Position,
    Trained,
    has_checkpoint,
    load_checkpoint,
    previous_checkpoint,
    resume_checkpoint,
    save_checkpoint,
)
from vesal.train.schedule import WeightAverage


def trained(features: int = 3, *, averaged: bool = True, steps: int = 2) -> Trained:
    torch.manual_seed(features)
    network = nn.Linear(2, features)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    average = WeightAverage(network, 0.5) if averaged else None
    for step in range(steps):
        network(torch.ones(2)).sum().backward()
        optimizer.step()
        if average is not None:
            average.update(network, step + 1)
    return Trained(network, optimizer, average, torch.amp.GradScaler("cpu", enabled=False))


def test_everything_comes_back_and_the_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    first = trained()
    position = Position(step=2, best=0.5, validation_s=(3.0, 1.0), reached=True)
    save_checkpoint(tmp_path / "a.ckpt", position, first)
    save_checkpoint(tmp_path / "b.ckpt", position, first)
    assert (tmp_path / "a.ckpt").read_bytes() == (tmp_path / "b.ckpt").read_bytes()
    other = trained(steps=0)
    assert load_checkpoint(tmp_path / "a.ckpt", other) == position
    assert first.average is not None
    assert other.average is not None
    torch.testing.assert_close(other.network.state_dict(), first.network.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(
        other.average.network.state_dict(), first.average.network.state_dict(), rtol=0, atol=0
    )
    for kept, own in zip(other.optimizer.state.values(), first.optimizer.state.values(), strict=True):
        torch.testing.assert_close(kept, own, rtol=0, atol=0)


def test_an_average_begins_with_the_weights_where_none_was_kept(tmp_path: Path) -> None:
    first = trained(averaged=False)
    save_checkpoint(tmp_path / "a.ckpt", Position(), first)
    other = trained(steps=0)
    load_checkpoint(tmp_path / "a.ckpt", other)
    assert other.average is not None
    torch.testing.assert_close(other.average.network.state_dict(), first.network.state_dict())


def test_what_is_no_checkpoint_or_one_of_another_network_or_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    save_checkpoint(path, Position(), trained(4))
    with pytest.raises(VesalError, match="belongs to another network"):
        load_checkpoint(path, trained())
    torch.save({"version": 1}, path)
    with pytest.raises(VesalError, match="not a checkpoint of this version"):
        load_checkpoint(path, trained())
    path.write_bytes(b"nothing")
    with pytest.raises(VesalError, match="not a readable checkpoint"):
        load_checkpoint(path, trained())


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "flipped"])
def test_a_damaged_checkpoint_costs_what_came_after_the_one_before(damage: str, tmp_path: Path) -> None:
    path, heard = tmp_path / "a.ckpt", []
    first, second = trained(steps=1), trained(steps=2)
    save_checkpoint(path, Position(step=1), first)
    save_checkpoint(path, Position(step=2), second)
    other = trained(steps=0)
    assert resume_checkpoint(path, other, heard.append).step == 2
    assert heard == []
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "flipped":
        # Within the weights: the archive itself can still be read.
        at = data.index(second.network.weight.detach().numpy().tobytes())
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    else:
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else b"")
    assert has_checkpoint(path)
    assert resume_checkpoint(path, other, heard.append).step == 1
    assert len(heard) == 1
    assert "goes on from step 1" in heard[0]
    torch.testing.assert_close(other.network.state_dict(), first.network.state_dict(), rtol=0, atol=0)


def test_where_both_are_damaged_the_newest_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    for step in (1, 2):
        save_checkpoint(path, Position(step=step), trained())
    for each in (path, previous_checkpoint(path)):
        each.write_bytes(b"nothing")
    with pytest.raises(VesalError, match=r"/a\.ckpt is not a readable checkpoint"):
        resume_checkpoint(path, trained(), lambda _text: None)


def test_of_another_network_the_one_before_is_not_tried(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    for step in (1, 2):
        save_checkpoint(path, Position(step=step), trained(4))
    with pytest.raises(VesalError, match="belongs to another network"):
        resume_checkpoint(path, trained(), lambda _text: None)
