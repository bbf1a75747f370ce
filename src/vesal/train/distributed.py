"""Several processes that train one network: each takes its share of every step's batches, and the gradients are added.

A step goes through `accumulation` batches, and each batch is a function of the seed and its number. One process takes
them one after the other; of several each takes every so many. So the number of processes changes neither what is
learned from nor what follows, but for the order in which numbers are added, and a run may go on with another number.

The processes are those of torchrun, of SLURM's srun, or of `vesal train --devices`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from vesal.errors import UsageError, VesalError
from vesal.nn.zoo import resolve_device
from vesal.text import plural

Value = TypeVar("Value")

#: Long enough for whatever one process prepares while the others wait.
_PATIENCE = timedelta(days=2)
_PORT = 29517

#: What torchrun tells its processes.
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
#: What srun tells those of a step: of a job, which may have been given several tasks, a script alone is one process.
_SRUN = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")


class PeerLostError(VesalError):
    """Another process of the training ended, and has said why."""


@dataclass(frozen=True)
class Team:
    """The processes of a training, seen from one of them.

    Attributes:
        rank: of this one, from 0; the first alone writes files.
        size: how many there are.
        local_rank: of this one among those of its machine: the number of its GPU.
        nodes: the rank of the first process of each machine; 0 is the first of them.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    nodes: tuple[int, ...] = (0,)

    @property
    def leads(self) -> bool:
        """Whether this is the first process."""
        return self.rank == 0

    def agree(self, elapsed_s: float, stop: bool) -> tuple[float, bool]:
        """The seconds that the first process counts, and whether any is asked to stop: the same in all."""
        if self.size == 1:
            return elapsed_s, stop
        found = torch.tensor([elapsed_s if self.leads else 0.0, float(stop)], dtype=torch.float64)
        with _peers():
            distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return float(found[0]), bool(found[1])

    def add_up(self, network: nn.Module, loss: Tensor) -> Tensor:
        """Make each parameter's gradient the sum of all processes'; the sum of their losses, () on the device.

        Every process has gradients of the same parameters.
        """
        if self.size == 1:
            return loss
        gradients = [of.grad for of in network.parameters() if of.grad is not None]
        flat = torch.cat([loss.detach().reshape(1).float(), *(of.reshape(-1).float() for of in gradients)])
        with _peers():
            distributed.all_reduce(flat)
        at = 1
        for gradient in gradients:
            gradient.copy_(flat[at : at + gradient.numel()].view(gradient.shape))
            at += gradient.numel()
        return flat[0]

    def same(self, network: nn.Module) -> None:
        """Give the network of every process the first one's parameters and buffers."""
        if self.size == 1:
            return
        with torch.no_grad(), _peers():
            for tensor in network.state_dict().values():
                whole = tensor.contiguous()
                distributed.broadcast(whole, 0)
                tensor.copy_(whole)

    def gather(self, value: Value) -> list[Value]:
        """The value of each process, by rank."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        with _peers():
            distributed.all_gather_object(found, value)
        return found

    def share(self, value: Value | None) -> Value:
        """The first process' value, in all of them."""
        found = [value]
        if self.size > 1:
            with _peers():
                distributed.broadcast_object_list(found, 0)
        return found[0]  # type: ignore[return-value]

    def send(self, value: Any) -> None:
        """Give the first process a value, once it asks for it (`receive`)."""
        with _peers():
            distributed.send_object_list([value], 0)

    def receive(self, rank: int) -> Any:
        """In the first process: the value that another one sends."""
        found = [None]
        with _peers():
            distributed.recv_object_list(found, rank)
        return found[0]

    def wait(self) -> None:
        """Until all processes have come here."""
        self.gather(None)

    def own(self, items: Sequence[Value]) -> Sequence[Value]:
        """This process' share of the items."""
        return items[self.rank :: self.size]


#: A training of one process.
ALONE = Team()


def passes_each(team: Team, accumulation: int) -> int:
    """How many of a step's batches each process takes.

    Raises:
        UsageError: they cannot be shared evenly.
    """
    if accumulation % team.size:
        fitting = [str(count) for count in range(1, accumulation + 1) if accumulation % count == 0]
        raise UsageError(
            f"A step of this run goes through {accumulation} batches, which {team.size} devices cannot share evenly; "
            f"take {' or '.join(fitting)}."
        )
    return accumulation // team.size


@contextlib.contextmanager
def joined() -> Iterator[Team]:
    """The team that the environment names, until the block ends; ALONE where it names none.

    Raises:
        UsageError: the first process cannot be found.
    """
    named = _named()
    if named is None or int(named[1]) < 2:
        yield ALONE
        return
    rank, size, local_rank = map(int, named)
    address = os.environ.setdefault("MASTER_ADDR", _first_host())
    port = os.environ.setdefault("MASTER_PORT", str(_PORT))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        distributed.init_process_group(backend, rank=rank, world_size=size, timeout=_PATIENCE)
    except (ValueError, RuntimeError, OSError) as error:
        raise UsageError(
            f"The {size} processes of this training do not find each other at {address}:{port} "
            f"({str(error).partition(chr(10))[0]}); set MASTER_ADDR and MASTER_PORT to where the first one runs."
        ) from error
    try:
        team = Team(rank, size, local_rank)
        nodes = tuple(of for of, local in enumerate(team.gather(local_rank)) if local == 0)
        # Where somebody numbered them otherwise, the first process does what it does on one machine.
        yield replace(team, nodes=nodes if nodes[:1] == (0,) else (0,))
    finally:
        distributed.destroy_process_group()


def device_of(name: str, team: Team) -> torch.device:
    """The device of that name (`vesal.nn.zoo.resolve_device`); of several processes each takes a GPU of its own.

    All processes of the team call it.

    Raises:
        UsageError: there is no such device, or two processes would have one GPU.
    """
    device = resolve_device(name)
    if team.size == 1 or device.type != "cuda":
        return device
    # Where each sees its own alone (srun --gpus-per-task), that is number 0 in every process.
    device = torch.device("cuda", team.local_rank % torch.cuda.device_count())
    taken = team.gather(str(torch.cuda.get_device_properties(device).uuid))
    if len(set(taken)) < team.size:
        raise UsageError(
            f"The {team.size} processes of this training have {plural(len(set(taken)), 'GPU')}; start one a GPU."
        )
    torch.cuda.set_device(device)
    return device


def in_a_team() -> bool:
    """Whether this process was started as one of several that train together."""
    named = _named()
    return named is not None and int(named[1]) > 1


def _named() -> list[str] | None:
    """Rank, size and local rank."""
    for names in (_TORCHRUN, _SRUN):
        found = [os.environ.get(name, "") for name in names]
        if all(value.isdigit() for value in found):
            return found
    return None


def _first_host() -> str:
    """The host of SLURM's first node; this machine without SLURM.

    >>> import os
    >>> os.environ["SLURM_STEP_NODELIST"] = "gpu[07-09,12],login"
    >>> _first_host()
    'gpu07'
    >>> del os.environ["SLURM_STEP_NODELIST"]
    """
    nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_JOB_NODELIST") or ""
    if (found := re.match(r"([^\[,]+)(?:\[(\w+))?", nodes)) is None:
        return "127.0.0.1"
    return found[1] + (found[2] or "")


@contextlib.contextmanager
def _peers() -> Iterator[None]:
    """What torch says where another process is gone, in our words: that one has said why."""
    try:
        yield
    except RuntimeError as error:
        raise PeerLostError(
            f"Another process of this training ended, so this one does, too ({str(error).partition(chr(10))[0]})."
        ) from error
