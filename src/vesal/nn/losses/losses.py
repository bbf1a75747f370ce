"""Losses for softmax classes and for overlapping regions, masked and deeply supervised.

Shapes: N patches, K outputs, *spatial voxels, V of them, M measured classes (the foreground labels, or the
regions). What is left out (ignored voxels, classes that were not annotated in a case), and how, is described in
`vesal.nn.losses.soft_counts`; it holds for every loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Self

import torch
import torch.nn.functional as F
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from vesal.data.labels import IGNORE, LabelSet
from vesal.errors import UsageError, unknown_name
from vesal.nn.losses.boundary import boundary
from vesal.nn.losses.soft_counts import Head, Overlap, SigmoidCounts, SoftCounts, SoftmaxCounts
from vesal.planning.plan import Plan

#: 1 - Tversky index is never smaller under focal Tversky's root, whose slope has no bound at 0.
_LEAST_COST = 1e-6


_Cost = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LossOptions:
    """What a loss is built with. Each option acts on the losses that it names.

    Attributes:
        class_weights: by name of a class (or region), 1 where not named; 'background' is a name too under a
            softmax. Cross-entropies and focal losses become weighted means over voxels, Dice, Tversky and
            boundary losses weighted means over classes.
        label_smoothing: in [0, 1), of cross-entropies and focal losses: as in torch's `cross_entropy` under a
            softmax; for regions the targets are t (1 - s) + s / 2 (Szegedy et al., CVPR 2016).
        batch_dice: sum the counts of Dice and Tversky over the batch in place of taking the mean over its patches.
        background: the background is one more class of Dice, Tversky and boundary losses. Regions have none.
        smooth: keeps Dice and Tversky defined where a class is neither there nor predicted (nnU-Net, MONAI).
        focal_gamma: how little the voxels count that are right already (Lin et al., ICCV 2017); 0 is cross-entropy.
        tversky_alpha, tversky_beta: what a false positive and a false negative cost (Salehi et al., MLMI 2017);
            0.5 and 0.5 is Dice.
        focal_tversky_gamma: the root that is taken of 1 - Tversky index (Abraham and Khan, ISBI 2019).
        boundary_weight: of the boundary loss beside Dice, per mm; from about 1 it may drive all to the background.

    Raises:
        ValidationError: a value is out of its range.
    """

    class_weights: Mapping[str, _Cost] | None = None
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    batch_dice: bool = False
    background: bool = False
    smooth: _Positive = 1e-5
    focal_gamma: _Cost = 2.0
    tversky_alpha: _Cost = 0.3
    tversky_beta: _Cost = 0.7
    focal_tversky_gamma: _Positive = 4 / 3
    boundary_weight: _Cost = 0.01

    @model_validator(mode="after")
    def _some_error_costs(self) -> Self:
        if self.tversky_alpha + self.tversky_beta == 0:
            raise ValueError("tversky_alpha and tversky_beta are both 0; let one of them be above 0")
        return self


_DEFAULTS = LossOptions()


def soft_dice(counts: SoftCounts, options: LossOptions) -> Tensor:
    """1 - mean of (2 both + s) / (prediction + truth + s) (Drozdzal et al., 2016; nnU-Net).

    The mean is over cases and foreground classes; with `batch_dice` the counts of a batch are summed first.
    """
    of = _overlap(counts, options)
    dice = (2 * of.both + options.smooth) / (of.prediction + of.truth + options.smooth)
    return of.mean(1 - dice)


def cross_entropy(counts: SoftCounts, options: LossOptions) -> Tensor:
    """The mean over voxels of the cross-entropy; for regions the binary one."""
    return counts.cross_entropy(smoothing=options.label_smoothing)


def balanced_cross_entropy(counts: SoftCounts, options: LossOptions) -> Tensor:
    """The cross-entropy with voxels weighted by 1 / (P n_c): n_c of the batch's voxels are of class c, P are present.

    So every class that is present has the same say, however small it is (weights inverse to the frequency,
    King and Zeng, Political Analysis 2001; scikit-learn's class_weight="balanced"). For regions it is the mean
    over the regions of half the mean inside and half the mean outside (Xie and Tu, ICCV 2015).
    """
    return counts.cross_entropy(smoothing=options.label_smoothing, balanced=True)


def focal(counts: SoftCounts, options: LossOptions) -> Tensor:
    """The mean over voxels of -(1 - p)^gamma log p of the target (Lin et al., ICCV 2017); regions: the binary one."""
    return counts.cross_entropy(smoothing=options.label_smoothing, gamma=options.focal_gamma)


def tversky(counts: SoftCounts, options: LossOptions) -> Tensor:
    """1 - mean of the Tversky index (both + s) / (both + alpha FP + beta FN + s) (Salehi et al., MLMI 2017).

    FP and FN are the soft counts of false positives and false negatives; the mean is Dice's.
    """
    of = _overlap(counts, options)
    return of.mean(1 - _tversky_index(of, options))


def focal_tversky(counts: SoftCounts, options: LossOptions) -> Tensor:
    """Mean of (1 - Tversky index)^(1 / gamma): poorly found classes weigh more (Abraham and Khan, ISBI 2019).

    The paper sums over the classes; the mean keeps the size of the loss from growing with their number.
    """
    of = _overlap(counts, options)
    cost = (1 - _tversky_index(of, options)).clamp(min=_LEAST_COST)
    return of.mean(cost ** (1 / options.focal_tversky_gamma))


def boundary_alone(counts: SoftCounts, options: LossOptions) -> Tensor:
    """The boundary loss in mm. Alone it collapses to the background when trained from scratch: use it beside Dice."""
    return boundary(counts, background=options.background)


def boundary_beside(counts: SoftCounts, options: LossOptions) -> Tensor:
    """The boundary loss at its weight beside another one (alpha of Kervadec et al., who begin at 0.01)."""
    return options.boundary_weight * boundary(counts, background=options.background)


#: The losses by name, each the sum of its terms.
LOSSES: dict[str, tuple[Callable[[SoftCounts, LossOptions], Tensor], ...]] = {
    "dice": (soft_dice,),
    "ce": (cross_entropy,),
    "balanced_ce": (balanced_cross_entropy,),
    "dice_ce": (soft_dice, cross_entropy),
    "dice_balanced_ce": (soft_dice, balanced_cross_entropy),
    "focal": (focal,),
    "tversky": (tversky,),
    "focal_tversky": (focal_tversky,),
    "boundary": (boundary_alone,),
    "dice_boundary": (soft_dice, boundary_beside),
}

#: What other programs call them.
LOSSES_ELSEWHERE = {
    **dict.fromkeys(("dice_bce", "bce_dice", "dicebce"), "dice_balanced_ce"),
    **dict.fromkeys(("dice_loss", "diceloss", "soft_dice", "sigmoid_dice"), "dice"),
    **dict.fromkeys(("dicece", "diceceloss", "dc_and_ce", "dice_cross_entropy"), "dice_ce"),
    **dict.fromkeys(("cross_entropy", "crossentropy", "crossentropyloss", "bce"), "ce"),
    **dict.fromkeys(("balanced_bce", "weighted_ce", "weighted_bce"), "balanced_ce"),
    **dict.fromkeys(("focal_loss", "focalloss"), "focal"),
}


class Loss:
    """A sum of terms over the heads of a network, weighted 1, 1/2, 1/4, ..., normalised to 1.

    Args:
        terms: of `LOSSES`.
        options: of the terms.
        spacing_mm: of the network's grid.
        table: (M, 256) float32, which region holds which contiguous value; None for softmax classes.
        weights: (K,) float32 of the outputs; None if all count alike.
    """

    def __init__(
        self,
        terms: Sequence[Callable[[SoftCounts, LossOptions], Tensor]],
        options: LossOptions,
        spacing_mm: Sequence[float],
        *,
        table: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> None:
        self.terms = tuple(terms)
        self.options = options
        self.spacing_mm = tuple(spacing_mm)
        self.table = table
        self.weights = weights

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
        shares = [0.5**level for level in range(len(heads))]
        if annotated is not None:
            annotated = annotated.to(device=target.device, dtype=torch.bool)
        if self.table is not None:
            self.table = self.table.to(target.device)
        if self.weights is not None:
            self.weights = self.weights.to(target.device)
        with torch.autocast(target.device.type, enabled=False):
            losses = [
                share / sum(shares) * self._head(head, target, annotated)
                for share, head in zip(shares, heads, strict=True)
            ]
        return torch.stack(losses).sum()

    def _head(self, logits: Tensor, target: Tensor, annotated: Tensor | None) -> Tensor:
        size = logits.shape[2:]
        spacing_mm = [
            spacing * old / new
            for spacing, old, new in zip(self.spacing_mm, target.shape[1:], size, strict=True)
        ]
        head = Head(logits, shrink_target(target, size), annotated, self.weights, spacing_mm)
        counts: SoftCounts = SoftmaxCounts(head) if self.table is None else SigmoidCounts(head, self.table)
        return torch.stack([term(counts, self.options) for term in self.terms]).sum()


def build_loss(name: str, plan: Plan, options: LossOptions = _DEFAULTS) -> Loss:
    """The loss of that name for the plan's labels: of sigmoids where there are regions, else of a softmax.

    Raises:
        UsageError: there is no such loss, or no such class to give a weight to, or all weights are 0.
    """
    if name not in LOSSES:
        raise unknown_name("loss", name, LOSSES, LOSSES_ELSEWHERE)
    table = None
    if plan.labels.regions:
        members = torch.from_numpy(plan.labels.class_table)
        table = F.pad(members.float(), (0, IGNORE + 1 - members.shape[1]))
    weights = _weights(plan.labels, options.class_weights)
    return Loss(LOSSES[name], options, plan.spacing_mm, table=table, weights=weights)


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


def _weights(labels: LabelSet, chosen: Mapping[str, float] | None) -> Tensor | None:
    """(K,) float32, one an output; None if all are 1."""
    if not chosen:
        return None
    names = labels.classes if labels.regions else ("background", *labels.classes)
    for name in chosen:
        if name not in names:
            raise unknown_name("class to give a weight to", name, names)
    weights = [float(chosen.get(name, 1.0)) for name in names]
    if not any(weights):
        raise UsageError("All class weights are 0; let one of them be above 0.")
    return None if set(weights) == {1.0} else torch.tensor(weights)


def _overlap(counts: SoftCounts, options: LossOptions) -> Overlap:
    overlap = counts.overlap(background=options.background)
    return overlap.pooled() if options.batch_dice else overlap


def _tversky_index(of: Overlap, options: LossOptions) -> Tensor:
    false_positives, false_negatives = of.prediction - of.both, of.truth - of.both
    wrong = options.tversky_alpha * false_positives + options.tversky_beta * false_negatives
    return (of.both + options.smooth) / (of.both + wrong + options.smooth)
