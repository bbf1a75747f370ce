"""The losses of a run, read now and then."""

from __future__ import annotations

import math

import pytest
import torch

from vesal.errors import VesalError
from vesal.train.checkpoint import Position
from vesal.train.logs.loss_meter import LossMeter

CPU = torch.device("cpu")


def test_losses_are_read_together_and_counted_as_if_one_by_one() -> None:
    values = [1.0, 2.0, math.nan, 4.0, 6.0]
    for waiting in (1, 2, 10):
        position = Position()
        loss_meter = LossMeter(position, 0.1, waiting=waiting)
        for value in values:
            loss_meter.add(torch.tensor(value))
        assert math.isnan(loss_meter.mean())
        assert position.train_losses == (13.0, 4)
        assert loss_meter.bad == 0
        loss_meter.add(torch.tensor(3.0))
        loss_meter.add(torch.tensor(5.0))
        assert loss_meter.mean() == 4.0


def test_a_loss_waits_to_be_read_on_a_gpu_alone() -> None:
    position = Position()
    loss_meter = LossMeter.on(torch.device("cuda"), position, 0.1)
    for _ in range(9):
        loss_meter.add(torch.tensor(1.0))
    assert position.train_losses == (0.0, 0)
    loss_meter.add(torch.tensor(1.0))
    assert position.train_losses == (10.0, 10)
    LossMeter.on(CPU, position, 0.1).add(torch.tensor(1.0))
    assert position.train_losses == (11.0, 11)


@pytest.mark.parametrize("waiting", [1, 10])
def test_twenty_bad_losses_in_a_row_end_the_run_and_nineteen_do_not(waiting: int) -> None:
    loss_meter = LossMeter(Position(), 0.1, waiting=waiting)
    for value in [1.0, *[math.inf] * 19, 1.0, *[math.nan] * 19]:
        loss_meter.add(torch.tensor(value))

    def one_more() -> None:
        loss_meter.add(torch.tensor(math.nan))
        loss_meter.read()

    with pytest.raises(VesalError, match=r"for 20 steps .* lr=0\.01"):
        one_more()
