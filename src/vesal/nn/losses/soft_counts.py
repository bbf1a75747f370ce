"""Soft counts, cross-entropies and maps of one head's logits and the target, over the voxels that count.

Shapes: N patches, K outputs, *spatial voxels, V of them, M measured classes (the foreground labels, or the
regions). Everything is computed in float32, whatever the precision of the logits.

Two kinds of voxels or classes do not count:

- Voxels whose target is 255 (`vesal.data.labels.IGNORE`) are left out of every sum.
- Classes that were not annotated in a case. Their voxels were drawn as background there, so under a softmax
  "background" means "background or any class that was not annotated": their probabilities are summed (the
  marginal loss of Fang and Yan, 2020, and Shi et al., 2021), and what is measured by class leaves those
  classes out. Regions are independent of each other: those that were not annotated are simply left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vesal.data.labels import IGNORE

#: So many voxels are added one after the other. In float32 a longer sum rounds what is added: from half a million on to
#: sixteenths, so that the Dice of a large organ was off by 0.02.
_ADDED = 4096

#: 1 - p is never smaller in a focal term: below lies float32's rounding, and the slope of a small power.
_LEAST_ERROR = 1e-7


@dataclass(frozen=True)
class Overlap:
    """Soft counts of voxels, each (N, M) float32: of both, of the prediction, of the truth.

    Attributes:
        counted: (N, M) is 1 where the class was annotated in the case.
        weights: (M,) of the classes; None if all count alike.
    """

    both: Tensor
    prediction: Tensor
    truth: Tensor
    counted: Tensor
    weights: Tensor | None

    def pooled(self) -> Overlap:
        """The batch as one case, (1, M): of each class the cases in which it was annotated."""
        both, prediction, truth = (
            (count * self.counted).sum(0, keepdim=True) for count in (self.both, self.prediction, self.truth)
        )
        counted = (self.counted.sum(0, keepdim=True) > 0).float()
        return Overlap(both, prediction, truth, counted, self.weights)

    def mean(self, costs: Tensor) -> Tensor:
        """The weighted mean of the costs (N, M) over cases and classes; 0 where none counts."""
        weights = self.counted if self.weights is None else self.counted * self.weights
        return ratio((costs * weights).sum(), weights.sum())


@dataclass(frozen=True)
class Maps:
    """What is predicted and what is true at every voxel.

    Attributes:
        probability: (N, M, V) float32.
        truth: (N, M, V) bool, false where the target is ignored.
        valid: (N, V) bool, false where the target is ignored.
        weights: (N, M) float32 of the classes, 0 where one was not annotated.
    """

    probability: Tensor
    truth: Tensor
    valid: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Head:
    """One head's logits, and what they are compared with.

    Attributes:
        logits: (N, K, *spatial).
        target: (N, *spatial), contiguous labels, 255 where voxels do not count.
        annotated: (N, M) bool, which classes were looked for in which case; None if all.
        weights: (K,) float32 of the outputs, under a softmax the background first; None if all count alike.
        spacing_mm: of the logits' grid.
    """

    logits: Tensor
    target: Tensor
    annotated: Tensor | None
    weights: Tensor | None
    spacing_mm: Sequence[float]


class SoftmaxCounts:
    """Exclusive classes."""

    def __init__(self, head: Head) -> None:
        self.head, self.weights, annotated = head, head.weights, head.annotated
        log_p = F.log_softmax(head.logits.float().flatten(2), dim=1)  # (N, K, V)
        target = head.target.flatten(1)
        self.valid = target != IGNORE  # (N, V)
        self.target = torch.where(self.valid, target, 0).long()
        self.known: Tensor | None = None  # (N, K), the background first
        if annotated is not None:
            self.known = F.pad(annotated, (1, 0), value=True)
            # A voxel of a class that counts as unseen joins the background, like the class itself.
            self.target = torch.where(self.known.gather(1, self.target), self.target, 0)
            elsewhere = F.pad(annotated, (1, 0), value=False)[:, :, None]
            background = log_p.masked_fill(elsewhere, -torch.inf).logsumexp(1, keepdim=True)
            log_p = torch.cat([background, log_p[:, 1:]], dim=1)
        self.log_p = log_p
        self.hit = log_p.gather(1, self.target[:, None])[:, 0]  # (N, V), log p(target)
        self._truth: Tensor | None = None

    @property
    def truth(self) -> Tensor:
        """(N, K) float32: voxels of each class."""
        # Kept by hand: a cached_property of Python 3.11 takes a lock, which the compiler cannot trace.
        if self._truth is None:
            self._truth = self._by_class(self.valid.float())
        return self._truth

    def overlap(self, *, background: bool) -> Overlap:
        prediction = (self.log_p.exp() * self.valid[:, None]).sum(2)
        both = self._by_class(self.hit.exp() * self.valid)
        first = 0 if background else 1
        return Overlap(
            both[:, first:],
            prediction[:, first:],
            self.truth[:, first:],
            self._counted[:, first:],
            None if self.weights is None else self.weights[first:],
        )

    def cross_entropy(self, *, smoothing: float = 0.0, gamma: float = 0.0, balanced: bool = False) -> Tensor:
        """Weighted mean of -(1 - p)^gamma log p(target) over the voxels that count.

        With classes' weights w and a smoothing s it is torch's `cross_entropy`: a voxel of class y costs
        (1 - s) w_y f_y + s / K sum_c w_c f_c, and the sum is divided by that of w_y. The smoothing goes to the
        classes that can be told apart in the case: where some were not annotated, K counts the others and the
        background that they merged into, whose weight is the background's.

        With `balanced` a voxel counts 1 / (voxels of its class in the batch): the mean over the classes that
        are present of each class's own mean.
        """
        weight = self.valid.float()
        if balanced:
            weight = weight * inverse(self.truth.sum(0))[self.target]
        cost, total = _focal(self.hit, gamma), weight
        if self.weights is not None:
            of_class = self.weights[self.target]
            cost, total = cost * of_class, weight * of_class
        if smoothing:
            share = smoothing * self._counted / self._counted.sum(1, keepdim=True)
            if self.weights is not None:
                share = share * self.weights
            cost = (1 - smoothing) * cost + (_focal(self.log_p, gamma) * share[:, :, None]).sum(1)
        return ratio((cost * weight).sum(), total.sum())

    def maps(self, *, background: bool) -> Maps:
        first = 0 if background else 1
        classes = torch.arange(first, self.log_p.shape[1], device=self.target.device)
        truth = (self.target[:, None] == classes[:, None]) & self.valid[:, None]
        weights = self._counted[:, first:]
        if self.weights is not None:
            weights = weights * self.weights[first:]
        return Maps(self.log_p[:, first:].exp(), truth, self.valid, weights)

    @property
    def _counted(self) -> Tensor:
        """(N, K) float32, 1 where the class was annotated; the background always is."""
        return torch.ones_like(self.truth) if self.known is None else self.known.float()

    def _by_class(self, values: Tensor) -> Tensor:
        """(N, K): the sums of the values (N, V) over the voxels of each class, without a one-hot copy of the target."""
        n, k, voxels = self.log_p.shape
        parts = -(-voxels // _ADDED)
        samples, places = (torch.arange(size, device=self.target.device) for size in (n, voxels))
        slot = (self.target + k * (places // _ADDED + parts * samples[:, None])).flatten()
        sums = values.new_zeros(n * parts * k).index_add(0, slot, values.flatten())
        return sums.view(n, parts, k).sum(1)


class SigmoidCounts:
    """Regions, each by itself: the outputs are the measured classes, K is M.

    Args:
        head: what is compared.
        table: (M, 256) float32: does this region hold that contiguous value.
    """

    def __init__(self, head: Head, table: Tensor) -> None:
        self.head, self.weights, self.annotated = head, head.weights, head.annotated
        self.logits = head.logits.float().flatten(2)  # (N, M, V)
        target = head.target.flatten(1)
        self.valid = target != IGNORE  # (N, V)
        index = target.long()
        self.truth = torch.stack([row[index] for row in table], dim=1)  # (N, M, V), 0 or 1

    def overlap(self, *, background: bool) -> Overlap:
        p = self.logits.sigmoid() * self.valid[:, None]
        truth = self.truth.sum(2)
        return Overlap((p * self.truth).sum(2), p.sum(2), truth, self._counted(truth), self.weights)

    def cross_entropy(self, *, smoothing: float = 0.0, gamma: float = 0.0, balanced: bool = False) -> Tensor:
        """Weighted mean of the binary cross-entropy over the voxels and regions that count.

        With gamma that of the binary focal loss. A smoothing s turns targets t into t (1 - s) + s / 2.

        With `balanced` the voxels of a region count 1 / (its voxels in the batch), the others 1 / (their
        number): the mean over the regions of the mean over inside and outside, whichever are present.
        """
        weight = self.valid.float()[:, None]
        if self.annotated is not None:
            weight = weight * self.annotated[:, :, None]
        if balanced:
            weight = self._balance(weight)
        if self.weights is not None:
            weight = weight * self.weights[:, None]
        weight = weight.expand_as(self.logits)
        target = self.truth * (1 - smoothing) + smoothing / 2 if smoothing else self.truth
        if gamma:
            log_p, log_q = F.logsigmoid(self.logits), F.logsigmoid(-self.logits)
            inside, outside = (gamma * log_q).exp() * log_p, (gamma * log_p).exp() * log_q
            total = -(weight * (target * inside + (1 - target) * outside)).sum()
        else:
            total = F.binary_cross_entropy_with_logits(self.logits, target, weight, reduction="sum")
        return ratio(total, weight.sum())

    def maps(self, *, background: bool) -> Maps:
        weights = self._counted(self.logits.detach()[:, :, 0])
        if self.weights is not None:
            weights = weights * self.weights
        return Maps(self.logits.sigmoid(), self.truth > 0, self.valid, weights)

    def _balance(self, weight: Tensor) -> Tensor:
        """(N, M, V), 0 where weight is: each region's sum is 1, and its inside's is that of its outside."""
        everywhere = weight.expand_as(self.truth).sum((0, 2))  # (M,)
        inside = (weight * self.truth).sum((0, 2))
        outside = everywhere - inside
        sides = (inside > 0).float() + (outside > 0)
        at_inside, at_outside = (inverse(sides * count)[:, None] for count in (inside, outside))
        return weight * torch.where(self.truth > 0, at_inside, at_outside)

    def _counted(self, like: Tensor) -> Tensor:
        return torch.ones_like(like) if self.annotated is None else self.annotated.to(like.dtype)


#: What all terms of a loss share, computed once a head. `background` asks for the background as one more class, the
#: first; regions have none.
SoftCounts = SoftmaxCounts | SigmoidCounts


def ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole; 0 and without gradient where whole is 0, so where nothing counts.

    >>> ratio(torch.tensor([1.0, 3.0]), torch.tensor([4.0, 0.0]))
    tensor([0.2500, 0.0000])
    """
    there = whole > 0
    return torch.where(there, part / torch.where(there, whole, 1), 0)


def inverse(counts: Tensor) -> Tensor:
    """1 / counts; 0 where a count is 0."""
    return ratio(torch.ones_like(counts), counts)


def _focal(log_p: Tensor, gamma: float) -> Tensor:
    """-(1 - p)^gamma log p (Lin et al., ICCV 2017); gamma 0 is the cross-entropy."""
    if not gamma:
        return -log_p
    return -log_p * (-torch.expm1(log_p)).clamp(min=_LEAST_ERROR) ** gamma
