"""The losses of a run, read from the device now and then, since reading a GPU's value waits for it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vesal.errors import VesalError
from vesal.train.checkpoint import Position

#: So many steps in a row without a finite loss end a run.
_MOST_BAD = 20

#: Steps whose losses wait on a GPU before they are looked at.
_WAITING = 10


class LossMeter:
    """Collects the steps' losses and counts them in.

    Args:
        position: takes sum and number of the finite ones.
        lr: named in the error's fix.
        waiting: losses that may wait to be read; 1 on a CPU, where nothing is gained by it.
    """

    def __init__(self, position: Position, lr: float, *, waiting: int) -> None:
        self._position = position
        self._lr = lr
        self._most_waiting = waiting
        self._waiting: list[Tensor] = []
        self._read: list[float] = []
        #: Steps in a row whose loss was not finite, as far as they were read.
        self.bad = 0

    @classmethod
    def on(cls, device: torch.device, position: Position, lr: float) -> LossMeter:
        """One that suits the device."""
        return cls(position, lr, waiting=_WAITING if device.type == "cuda" else 1)

    def add(self, loss: Tensor) -> None:
        """Take in a step's loss, () on its device, not finite where the step was left out."""
        self._waiting.append(loss)
        if len(self._waiting) >= self._most_waiting:
            self.read()

    def read(self) -> None:
        """Look at the losses that wait.

        Raises:
            VesalError: too many in a row were not finite.
        """
        if not self._waiting:
            return
        for value in torch.stack(self._waiting).tolist():
            self._read.append(value)
            self.bad = 0 if math.isfinite(value) else self.bad + 1
            if not self.bad:
                total, count = self._position.train_losses
                self._position.train_losses = (total + value, count + 1)
            elif self.bad >= _MOST_BAD:
                raise VesalError(
                    f"The loss has not been a finite number for {self.bad} steps (step {self._position.step}); "
                    f"lower the learning rate, such as --set lr={self._lr / 10:g}."
                )
        self._waiting.clear()

    def mean(self) -> float:
        """Of the losses since the last call, not finite if one of them was not."""
        self.read()
        values, self._read = self._read, []
        return math.fsum(values) / len(values) if values and all(map(math.isfinite, values)) else math.nan
