"""Several processes that train one network: what they exchange, and how they find each other."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from vesal.errors import UsageError
from vesal.train.distributed import ALONE, Team, device_of, in_a_team, joined, passes_each


def test_one_process_exchanges_nothing() -> None:
    network = nn.Linear(2, 1)
    network(torch.ones(1, 2)).sum().backward()
    assert network.weight.grad is not None
    before = network.weight.grad.clone()
    assert float(ALONE.add_up(network, torch.tensor(2.0))) == 2.0
    assert torch.equal(network.weight.grad, before)
    assert ALONE.agree(3.0, True) == (3.0, True)
    assert ALONE.gather(5) == [5]
    assert ALONE.share("a") == "a"
    assert ALONE.own("abc") == "abc"


def test_the_batches_of_a_step_are_shared_evenly_or_not_at_all() -> None:
    assert passes_each(ALONE, 3) == 3
    assert passes_each(Team(1, 2), 4) == 2
    with pytest.raises(
        UsageError, match=r"4 batches, which 3 devices cannot share evenly; take 1 or 2 or 4\."
    ):
        passes_each(Team(0, 3), 4)


@pytest.mark.parametrize(
    ("named", "team"),
    [
        ({}, False),
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}, False),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, True),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, False),
        ({"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1"}, True),
    ],
)
def test_a_team_is_what_torchrun_or_srun_started(
    monkeypatch: pytest.MonkeyPatch, named: dict[str, str], team: bool
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    assert in_a_team() == team
    if not team:
        with joined() as found:
            assert found == ALONE


def test_every_process_of_a_cpu_has_the_same_device() -> None:
    assert device_of("cpu", Team(1, 2, 1)) == torch.device("cpu")


@pytest.mark.parametrize(
    ("shown", "ordinals"),
    [
        (("a", "b"), [0, 1]),  # torchrun: each process sees all of its machine
        (("a",), [0, 0]),  # srun --gpus-per-task: each sees its own alone
    ],
)
def test_every_process_takes_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, shown: tuple[str, ...], ordinals: list[int]
) -> None:
    chosen: list[torch.device] = []
    monkeypatch.setattr("vesal.train.distributed.resolve_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(shown))
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=shown[device.index])
    )
    monkeypatch.setattr(Team, "gather", lambda self, own: [own, "of the other one"])
    found = [device_of("cuda", Team(rank, 2, rank)) for rank in (0, 1)]
    assert found == chosen == [torch.device("cuda", number) for number in ordinals]
    monkeypatch.setattr(Team, "gather", lambda self, own: [own, own])
    with pytest.raises(UsageError, match=r"2 processes of this training have 1 GPU; start one a GPU"):
        device_of("cuda", Team(1, 2, 1))
