"""Several processes that train one network: what they exchange, and how they find each other."""

from __future__ import annotations

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
