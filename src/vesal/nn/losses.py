"""Losses for softmax classes and for overlapping regions, masked and deeply supervised.

Shapes: N patches, K outputs, *spatial voxels, V of them, M measured classes (the foreground labels, or the
regions). Everything is computed in float32, whatever the precision of the logits.

Two kinds of voxels or classes do not count:

- Voxels whose target is 255 (`vesal.data.labels.IGNORE`) are left out of every sum.
- Classes that were not annotated in a case. Their voxels were drawn as background there, so under a softmax
  "background" means "background or any class that nobody looked for": the cross-entropy sums these
  probabilities (the marginal loss of Fang and Yan, 2020, and Shi et al., 2021), and Dice leaves those classes
  out. Regions are independent of each other: the regions that were not annotated are simply left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from vesal.data.labels import IGNORE
from vesal.data.plan import Plan
from vesal.errors import unknown_name

#: Keeps Dice defined where a class is neither there nor predicted (nnU-Net, MONAI).
SMOOTH = 1e-5


@dataclass(frozen=True)
class Overlap:
    """Soft counts of voxels, each (N, M) float32: of both, of the prediction, of the truth.

    `counted` (N, M) is 1 where the class was annotated in the case.
    """

    both: Tensor
    prediction: Tensor
    truth: Tensor
    counted: Tensor


class Comparison(Protocol):
    """One head's logits beside the target: what all terms of a loss share, computed once."""

    def overlap(self) -> Overlap: ...

    def cross_entropy(self) -> Tensor: ...


class SoftmaxComparison:
    """Exclusive classes: logits (N, K, *spatial), target (N, *spatial), annotated (N, K - 1) or None."""

    def __init__(self, logits: Tensor, target: Tensor, annotated: Tensor | None) -> None:
        self.annotated = annotated
        self.log_p = F.log_softmax(logits.float().flatten(2), dim=1)  # (N, K, V)
        target = target.flatten(1)
        self.valid = target != IGNORE  # (N, V)
        self.target = torch.where(self.valid, target, 0).long()
        if annotated is not None:
            known = F.pad(annotated, (1, 0), value=True)  # (N, K), the background first
            # A voxel of a class that counts as unseen joins the background, like the class itself.
            self.target = torch.where(known.gather(1, self.target), self.target, 0)

    def overlap(self) -> Overlap:
        n, k = self.log_p.shape[:2]
        prediction = (self.log_p.exp() * self.valid[:, None]).sum(2)
        # Sums by class through the class's index: no one-hot copy of the target.
        slot = (self.target + k * torch.arange(n, device=self.target.device)[:, None]).flatten()
        hit = (self.log_p.gather(1, self.target[:, None]).exp().flatten() * self.valid.flatten()).flatten()
        zeros = hit.new_zeros(n * k)
        both = zeros.index_add(0, slot, hit).view(n, k)
        truth = zeros.index_add(0, slot, self.valid.flatten().float()).view(n, k)
        return Overlap(both[:, 1:], prediction[:, 1:], truth[:, 1:], _counted(self.annotated, truth[:, 1:]))

    def cross_entropy(self) -> Tensor:
        """Mean of -log p(target) over the voxels that count."""
        log_p = self.log_p
        if self.annotated is not None:
            elsewhere = F.pad(self.annotated, (1, 0), value=False)[:, :, None]
            background = log_p.masked_fill(elsewhere, -torch.inf).logsumexp(1, keepdim=True)
            log_p = torch.cat([background, log_p[:, 1:]], dim=1)
        hit = log_p.gather(1, self.target[:, None])[:, 0]
        return -(hit * self.valid).sum() / self.valid.sum().clamp(min=1)


class SigmoidComparison:
    """Regions: logits (N, M, *spatial), target (N, *spatial), annotated (N, M) or None.

    Args:
        table: (M, 256) float32: does this region hold that contiguous value.
    """

    def __init__(self, logits: Tensor, target: Tensor, annotated: Tensor | None, table: Tensor) -> None:
        self.logits = logits.float().flatten(2)  # (N, M, V)
        target = target.flatten(1)
        self.valid = (target != IGNORE)[:, None]  # (N, 1, V)
        index = target.long()
        self.truth = torch.stack([row[index] for row in table.to(target.device)], dim=1)  # (N, M, V), 0 or 1
        self.annotated = annotated

    def overlap(self) -> Overlap:
        p = self.logits.sigmoid() * self.valid
        truth = self.truth.sum(2)
        return Overlap((p * self.truth).sum(2), p.sum(2), truth, _counted(self.annotated, truth))

    def cross_entropy(self) -> Tensor:
        """Mean of the binary cross-entropy over the voxels and regions that count."""
        weight = self.valid.float()
        if self.annotated is not None:
            weight = weight * self.annotated[:, :, None]
        weight = weight.expand_as(self.logits)
        total = F.binary_cross_entropy_with_logits(self.logits, self.truth, weight, reduction="sum")
        return total / weight.sum().clamp(min=1)


def soft_dice(comparison: Comparison, *, batch_dice: bool) -> Tensor:
    """1 - mean of (2 both + s) / (prediction + truth + s), s = 1e-5 (Drozdzal et al., 2016; nnU-Net).

    The mean is over cases and foreground classes; with `batch_dice` the counts of a batch are summed first.
    """
    of = comparison.overlap()
    both, size, counted = of.both, of.prediction + of.truth, of.counted
    if batch_dice:
        both, size = (both * counted).sum(0), (size * counted).sum(0)
        counted = (counted.sum(0) > 0).float()
    dice = (2 * both + SMOOTH) / (size + SMOOTH)
    return ((1 - dice) * counted).sum() / counted.sum().clamp(min=1)


def cross_entropy(comparison: Comparison, *, batch_dice: bool) -> Tensor:
    """The mean over voxels of the cross-entropy; for regions the binary one."""
    return comparison.cross_entropy()


#: The losses by name, each the sum of its terms.
LOSSES: dict[str, tuple[Callable[..., Tensor], ...]] = {
    "dice": (soft_dice,),
    "ce": (cross_entropy,),
    "dice_ce": (soft_dice, cross_entropy),
}


class Loss:
    """A sum of terms over the heads of a network, weighted 1, 1/2, 1/4, ..., normalised to 1.

    Args:
        terms: of `LOSSES`.
        table: (M, 256) float32, which region holds which contiguous value; None for softmax classes.
        batch_dice: sum the counts of Dice over the batch instead of taking the mean over its patches.
    """

    def __init__(
        self, terms: Sequence[Callable[..., Tensor]], table: Tensor | None, *, batch_dice: bool = False
    ) -> None:
        self.terms = tuple(terms)
        self.table = table
        self.batch_dice = batch_dice

    def __call__(
        self, logits: Tensor | Sequence[Tensor], target: Tensor, annotated: Tensor | None = None
    ) -> Tensor:
        """The loss as a float32 scalar.

        Args:
            logits: (N, K, *spatial), or one a head, the highest resolution first.
            target: (N, *spatial) contiguous integers, 255 where voxels do not count.
            annotated: (N, M) bool, which classes were looked for in which case; None if all.
        """
        heads = [logits] if isinstance(logits, Tensor) else logits
        weights = [0.5**level for level in range(len(heads))]
        if annotated is not None:
            annotated = annotated.to(device=target.device, dtype=torch.bool)
        with torch.autocast(target.device.type, enabled=False):
            losses = [
                weight / sum(weights) * self._head(head, shrink_target(target, head.shape[2:]), annotated)
                for weight, head in zip(weights, heads, strict=True)
            ]
        return torch.stack(losses).sum()

    def _head(self, logits: Tensor, target: Tensor, annotated: Tensor | None) -> Tensor:
        comparison: Comparison
        if self.table is None:
            comparison = SoftmaxComparison(logits, target, annotated)
        else:
            comparison = SigmoidComparison(logits, target, annotated, self.table)
        return torch.stack([term(comparison, batch_dice=self.batch_dice) for term in self.terms]).sum()


def build_loss(name: str, plan: Plan, *, batch_dice: bool = False) -> Loss:
    """The loss of that name for the plan's labels: for regions Dice and BCE of sigmoids, else of a softmax.

    Raises:
        UsageError: there is no such loss.
    """
    if name not in LOSSES:
        raise unknown_name("loss", name, LOSSES)
    table = None
    if plan.labels.regions:
        members = torch.from_numpy(plan.labels.class_table)
        table = F.pad(members.float(), (0, IGNORE + 1 - members.shape[1]))
    return Loss(LOSSES[name], table, batch_dice=batch_dice)


def shrink_target(target: Tensor, size: Sequence[int]) -> Tensor:
    """The target (N, *spatial) at a head's size: its voxel nearest to the centre of each block.

    >>> shrink_target(torch.arange(6)[None], (2,)).tolist()
    [[1, 4]]
    """
    for axis, (old, new) in enumerate(zip(target.shape[1:], size, strict=True), start=1):
        if old != new:
            step = old // new
            target = target.narrow(axis, step // 2, old - step // 2)
            target = target[(slice(None),) * axis + (slice(None, None, step),)]
    return target


def _counted(annotated: Tensor | None, like: Tensor) -> Tensor:
    return torch.ones_like(like) if annotated is None else annotated.to(like.dtype)
