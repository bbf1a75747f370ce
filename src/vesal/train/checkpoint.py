"""Checkpoints: saved whole, resumed exactly.

Batches and augmentation are functions of (seed, step), so a checkpoint needs no random state: weights,
optimizer, average, gradient scaler and counters are all.

The one before the newest stays beside it: where a disk or a copy has damaged the newest, training goes on with that.
"""

from __future__ import annotations

import contextlib
import io
import os
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vesal.errors import VesalError
from vesal.files import write_bytes
from vesal.train.schedule import WeightAverage

_VERSION = 2


@dataclass
class Position:
    """Counters of a run.

    Attributes:
        step: optimizer steps done.
        elapsed_s: training time over all sessions, in seconds.
        best: the monitored quantity at the best validation so far, or None.
        best_step: at which it was.
        stale: validations that measured the quantity since the best.
        waited: the same since the best or since the learning rate was last reduced.
        reductions: of the learning rate on a plateau.
        validated_at: progress (0..1) at the newest validation.
        validated_epoch: epochs done at the newest validation.
        validation_cases: how many cases each validation looks at, fixed by the first; 0 before it.
        validation_s: seconds that validations have taken so far, and the newest of them took.
        train_losses: sum and number of the steps' losses since the newest validation.
        reached: the monitored quantity came to its target.
        finished: the run came to its end.
    """

    step: int = 0
    elapsed_s: float = 0.0
    best: float | None = None
    best_step: int = 0
    stale: int = 0
    waited: int = 0
    reductions: int = 0
    validated_at: float = 0.0
    validated_epoch: float = 0.0
    validation_cases: int = 0
    validation_s: tuple[float, float] = (0.0, 0.0)
    train_losses: tuple[float, int] = (0.0, 0)
    reached: bool = False
    finished: bool = False


@dataclass(frozen=True)
class Trained:
    """What training changes."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None
    scaler: torch.amp.GradScaler


def save_checkpoint(path: Path, position: Position, of: Trained) -> None:
    """Write everything that a run needs to go on, and keep the checkpoint before it as `previous_checkpoint`.

    Whenever it is interrupted, one of the two is whole.
    """
    state: dict[str, Any] = {
        "version": _VERSION,
        "position": asdict(position),
        "network": of.network.state_dict(),
        "optimizer": of.optimizer.state_dict(),
        "average": None if of.average is None else of.average.network.state_dict(),
        "scaler": of.scaler.state_dict(),
    }
    # By way of memory: given a path, torch writes its (random) name into the archive, and a full disk makes its
    # writer raise an error that does not say so.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, previous_checkpoint(path))
    write_bytes(path, buffer.getbuffer())


def previous_checkpoint(path: Path) -> Path:
    """The file of the checkpoint before that of `path`."""
    return path.with_name(f"previous-{path.name}")


def has_checkpoint(path: Path) -> bool:
    """Whether there is one to go on from."""
    return path.exists() or previous_checkpoint(path).exists()


def resume_checkpoint(path: Path, of: Trained, tell: Callable[[str], None]) -> Position:
    """`load_checkpoint` of the newest checkpoint, or of the one before where the newest is damaged or gone.

    Args:
        path: of the newest.
        of: what is brought to where it was.
        tell: takes the one sentence that says so.

    Raises:
        VesalError: neither can be read, or they are of another network.
    """
    previous = previous_checkpoint(path)
    try:
        return load_checkpoint(path, of)
    except DamagedError as error:
        if not previous.exists():
            raise
        try:
            position = load_checkpoint(previous, of)
        except DamagedError:
            raise error from None
        tell(
            f"{path} is damaged or was not finished; it goes on from step {position.step}, the checkpoint before."
        )
        return position


class DamagedError(VesalError):
    """A checkpoint that cannot be read."""


def load_checkpoint(path: Path, of: Trained) -> Position:
    """Bring network, optimizer, average and gradient scaler to where `path` left them.

    Raises:
        DamagedError: the file is no checkpoint, or not there.
        VesalError: it is of another network or version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # Torch itself takes what a disk has damaged.
            if (damaged := archive.testzip()) is not None:
                raise zipfile.BadZipFile(damaged)
        # weights_only: a checkpoint is data; nothing in it may run.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DamagedError(
            f"{path} is not a readable checkpoint; delete it to begin this fold anew."
        ) from error
    if not isinstance(state, dict) or state.get("version") != _VERSION:
        raise VesalError(f"{path} is not a checkpoint of this version; delete it to begin this fold anew.")
    try:
        of.network.load_state_dict(state["network"])
        _load_optimizer(of.optimizer, state["optimizer"])
        if of.average is not None:
            of.average.network.load_state_dict(state["average"] or state["network"])
        if state["scaler"]:
            of.scaler.load_state_dict(state["scaler"])
        return Position(**state["position"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise VesalError(
            f"{path} belongs to another network or configuration; resume with the run's own settings."
        ) from error


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Bring the optimizer to a saved state, perhaps of another device.

    Whether one kernel updates all weights is the device's matter, and that kernel takes state and weight to lie in
    memory alike.
    """
    for saved, own in zip(state["param_groups"], optimizer.param_groups, strict=True):
        saved.update({name: own[name] for name in ("fused", "foreach") if name in own})
    optimizer.load_state_dict(state)
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if torch.is_tensor(value) and value.shape == parameter.shape:
                kept[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
