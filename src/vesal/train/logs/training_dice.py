"""Dice of the training's own patches, sampled now and then, so that it costs next to nothing.

It is the Dice of argmax or threshold, as in validation, but of augmented patches and of the network in training: it
says whether a network learns what it is shown, beside the validation's Dice, which says what it is good for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vesal.data.labels import IGNORE, LabelSet
from vesal.nn.losses.losses import shrink_target
from vesal.train.batches import Batch

#: The first steps are all looked at, so that a short run has curves too, then every tenth.
_FIRST, _EVERY = 10, 10


def is_logged(step: int) -> bool:
    """Whether the metrics of this step (from 1) are logged, and its Dice is sampled.

    >>> [step for step in range(1, 41) if is_logged(step)]
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40]
    """
    return step <= _FIRST or step % _EVERY == 0


class TrainingDice:
    """Counts voxels of sampled batches where they are, on the device, and reads the counts when a row is logged.

    It draws no random number and leaves logits and network alone.

    Args:
        labels: classes (argmax) or regions (probability of one half).
    """

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self._counts: Tensor | None = None

    @torch.no_grad()
    def add(self, logits: Tensor | Sequence[Tensor], batch: Batch) -> None:
        """Count a batch.

        Args:
            logits: (N, K, *spatial), or one a head, the highest resolution first, which is the one that counts.
            batch: what they are compared with; voxels to ignore and classes that were not looked for do not count.
        """
        finest = logits if isinstance(logits, Tensor) else logits[0]
        truth = shrink_target(batch.label, finest.shape[2:]).flatten(1)
        valid = truth != IGNORE
        counts = torch.stack([_count(*masks, valid) for masks in self._masks(finest, truth)])  # (M, 2, N)
        if batch.annotated is not None:
            counts = counts * batch.annotated.to(counts.device).T[:, None]
        total = counts.sum(2)
        self._counts = total if self._counts is None else self._counts + total

    def read(self) -> dict[str, Any]:
        """The rows' `train_dice` and `train_dice_per_class` since the last call; empty if no batch was sampled.

        The voxels of the sampled batches count together. A class that was neither there nor predicted has None and
        is left out of the mean.
        """
        if self._counts is None:
            return {}
        counts, self._counts = self._counts.tolist(), None
        per_class = {
            name: 2 * both / total if total else None
            for name, (both, total) in zip(self._labels.classes, counts, strict=True)
        }
        defined = [value for value in per_class.values() if value is not None]
        mean = sum(defined) / len(defined) if defined else None
        return {"train_dice": mean, "train_dice_per_class": per_class}

    def _masks(self, logits: Tensor, truth: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Of each class the voxels (N, V) that are predicted and those that are true."""
        if not self._labels.regions:
            predicted = _largest(logits.flatten(2))
            return [(predicted == value, truth == value) for value in range(1, len(self._labels.labels) + 1)]
        members = torch.from_numpy(self._labels.class_table).to(truth.device)
        inside = truth.long().clamp(max=members.shape[1] - 1)  # what is to be ignored counts nowhere
        return [(logits[:, region].flatten(1) > 0, members[region][inside]) for region in range(len(members))]


def _largest(logits: Tensor) -> Tensor:
    """(N, K, V) -> (N, V) uint8, the first class of the largest logit: torch's argmax of channels is slow on a CPU."""
    largest = logits[:, 0]
    found = torch.zeros_like(largest, dtype=torch.uint8)
    for value in range(1, logits.shape[1]):
        found.masked_fill_(logits[:, value] > largest, value)
        largest = torch.maximum(largest, logits[:, value])
    return found


def _count(predicted: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """(2, N): voxels in both, and in the one plus in the other."""
    predicted, truth = predicted & valid, truth & valid
    return torch.stack([(predicted & truth).sum(1), predicted.sum(1) + truth.sum(1)])
