"""What the processes of a team do in tests; each imports it from here."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vesal.data import fingerprint
from vesal.errors import UsageError
from vesal.parallel import StageProgress
from vesal.preprocessing import prepare
from vesal.preprocessing.cache import Cache
from vesal.train.distributed import joined
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training import train
from vesal.workflow.training.one_fold import Work
from vesal.workflow.training.training_folds import Split
from vesal.workflow.training.training_session import Session

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
            team.nodes,
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


def loads(session: Session, _work: Work, split: Split) -> Path:
    """In place of `train.train_split`: load what would be trained on."""
    for case in split[1]:
        case.load()
    return session.run.folder


def no_report(*_arguments: Any) -> tuple[None, None]:
    """In place of `train.finish_run`."""
    return None, None


def notes(request: TrainRequest, node: int) -> Path:
    """What a node notes of its work: a word and a case in each line."""
    return request.out.with_name(f"node_{node}.txt")


def sets_up_as_a_node(request: TrainRequest, stage: StageProgress, tell: Tell) -> list[str]:
    """Set a training up; each process is the first of a node of its own, and notes what it reads and prepares.

    Returns:
        What the run says.
    """
    os.environ["LOCAL_RANK"] = "0"
    file = notes(request, int(os.environ["RANK"]))

    def noted(word: str, work: Callable[..., Any], place: int = 0) -> Callable[..., Any]:
        def does(*arguments: Any, **options: Any) -> Any:
            with file.open("a") as stream:
                stream.write(f"{word} {arguments[place].id}\n")
            return work(*arguments, **options)

        return does

    fingerprint.read_case = noted("looks", fingerprint.read_case)
    prepare.read_case = noted("reads", prepare.read_case)
    Cache.store = noted("stores", Cache.store, place=1)  # type: ignore[method-assign]
    train.train_split, train.finish_run = loads, no_report  # type: ignore[assignment]
    heard: list[str] = []
    train.train_run(request, stage, heard.append)
    return heard


def meets_a_bug_on_the_second_node(request: TrainRequest, stage: StageProgress, tell: Tell) -> list[str]:
    """As `sets_up_as_a_node`."""
    if os.environ["RANK"] == "1":
        fingerprint.content_hash = lambda *_: 1 / 0
    return sets_up_as_a_node(request, stage, tell)


def dies_on_the_second_node(request: TrainRequest, stage: StageProgress, tell: Tell) -> list[str]:
    """As `sets_up_as_a_node`; it is killed while it writes its second prepared case."""
    store, stored = Cache.store, []

    def dies(*arguments: Any) -> Any:
        stored.append(arguments)
        if len(stored) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return store(*arguments)

    if os.environ["RANK"] == "1":
        Cache.store = dies  # type: ignore[method-assign]
    return sets_up_as_a_node(request, stage, tell)
