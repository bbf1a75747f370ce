"""What the processes of a team do in tests; each imports it from here."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from vesal.errors import UsageError
from vesal.parallel import StageProgress
from vesal.train.distributed import joined
from vesal.workflow.requests.train_request import TrainRequest

Tell = Callable[[str], None]


def adds_up(_request: TrainRequest, stage: StageProgress, tell: Tell) -> list[Any]:
    """What each operation of a team gives the first process."""
    with joined() as team:
        tell(f"rank {team.rank}")
        if (progress := stage("Working")) is not None:
            progress(1, 2)
        network = nn.Linear(2, 1)
        with torch.no_grad():
            network.weight.fill_(team.rank + 1.0)
        team.same(network)
        network.weight.grad = torch.full((1, 2), team.rank + 1.0)
        total = team.add_up(network, torch.tensor(team.rank + 2.0))
        return [
            float(total),
            network.weight.tolist(),
            network.weight.grad.tolist(),
            network.bias.grad,
            team.agree(10.0 + team.rank, team.rank == 1),
            team.gather(team.rank),
            team.share("first" if team.leads else None),
            list(team.own("abcde")),
        ]


def fails(_request: TrainRequest, _stage: StageProgress, _tell: Tell) -> None:
    """The second process meets a bug while the first waits for it."""
    with joined() as team:
        team.wait()
        if not team.leads:
            raise ZeroDivisionError("nobody foresaw this")
        team.wait()


def refuses(_request: TrainRequest, _stage: StageProgress, _tell: Tell) -> None:
    """The first process finds that it cannot be done."""
    with joined() as team:
        if team.leads:
            raise UsageError("There is no fold 7.")
        team.wait()


def dies(_request: TrainRequest, _stage: StageProgress, _tell: Tell) -> None:
    """The second process is killed."""
    with joined() as team:
        if not team.leads:
            os.kill(os.getpid(), signal.SIGKILL)
        team.wait()
