"""Whole-volume validation during training, with the code that predicts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vesal.data.labels import IGNORE
from vesal.infer.logits_to_labels import labels_from_logits
from vesal.infer.model import Model
from vesal.infer.window_overlap import OVERLAP
from vesal.metrics.overlap import confusions
from vesal.nn.losses.losses import Loss
from vesal.preprocessing.cache import PreparedCase
from vesal.volume.geometry import Array, Geometry
from vesal.volume.volume import Volume

#: So many held-out cases are needed to tell better weights from luck: of two checkpoints of a prostate training (MSD
#: Task05, steps 88 and 920) the first had 0.20 against 0.11 on one scan, the other 0.48 against 0.31 on the rest.
ENOUGH_CASES = 4


@dataclass(frozen=True)
class Allowance:
    """How long a validation may take.

    Attributes:
        enough_s: it ends after the case with which so many seconds are over,
        least: but not before it has looked at so many cases,
        most_s: unless so many seconds are over then.
    """

    enough_s: float
    least: int
    most_s: float

    def ends(self, cases: int, taken_s: float) -> bool:
        """Whether it ends after so many cases, which took so many seconds.

        >>> [Allowance(6, 4, 30).ends(cases, 7.0 * cases) for cases in (1, 3, 4)]
        [False, False, True]
        """
        return taken_s >= (self.enough_s if cases >= self.least else self.most_s)


@dataclass(frozen=True, eq=False)
class Example:
    """A held-out case beside its prediction, as it was prepared.

    Attributes:
        case: which one, and where its arrays lie in space.
        image: (*S) its first channel, as the network sees it.
        truth, predicted: (*S) contiguous uint8.
    """

    case: PreparedCase
    image: Array
    truth: NDArray[np.uint8]
    predicted: NDArray[np.uint8]

    def in_space(self) -> tuple[Volume, NDArray[np.uint8], NDArray[np.uint8]]:
        """The scan of one channel, with RAS axes and its spacing, and truth and prediction on its grid."""
        crop = self.case.crop
        size_mm = np.multiply(
            np.subtract(crop.crop_stop, crop.crop_start), crop.source.turned(crop.turn).spacing_mm
        )

        def upright(array: Array) -> Array:
            if crop.source.ndim == 2:
                return array[0]
            return array if crop.slice_axis is None else np.moveaxis(array, 0, crop.slice_axis)

        image = upright(np.asarray(self.image, dtype=np.float32))
        geometry = Geometry.from_spacing(image.shape, (size_mm / image.shape).tolist())
        return Volume(image[None], geometry), upright(self.truth), upright(self.predicted)


@dataclass(frozen=True)
class Validation:
    """Results on the prepared grid.

    Attributes:
        dice: mean over the classes, or None where no class is in any case.
        per_class: mean over the cases in which the class is drawn or predicted.
        loss: mean over the cases of the training's loss at the highest resolution; None if it was not asked for.
        cases: how many cases were looked at.
        example: of the first case with foreground, such as a slice; else of the first.
    """

    dice: float | None
    per_class: dict[str, float | None]
    loss: float | None
    cases: int
    example: Example | None = None


@dataclass(frozen=True)
class Measured:
    """What some cases gave, which is summarised with what others gave.

    Attributes:
        dice: class -> its Dice in each case in which it is drawn or predicted.
        losses: of each case; none where they were not asked for.
        cases: how many were looked at.
        example: of the first case with foreground, such as a slice; else of the first.
    """

    dice: dict[str, list[float]]
    losses: list[float]
    cases: int
    example: Example | None = None


def validate(
    model: Model,
    cases: Sequence[PreparedCase],
    *,
    loss: Loss | None = None,
    overlap: float = OVERLAP,
    allowed: Allowance | None = None,
) -> Validation:
    """`measure` the cases and `summarise`."""
    return summarise([measure(model, cases, loss=loss, overlap=overlap, allowed=allowed)])


def measure(
    model: Model,
    cases: Sequence[PreparedCase],
    *,
    loss: Loss | None = None,
    overlap: float = OVERLAP,
    allowed: Allowance | None = None,
) -> Measured:
    """Predict whole volumes without mirroring and compare with the prepared labels.

    Args:
        model: the network to validate, in eval mode.
        cases: in a fixed order.
        loss: to measure too.
        overlap: of the windows.
        allowed: when to stop before all cases are looked at; at least one is.

    Empty in both prediction and truth: left out of the mean. Empty in one: Dice 0.
    """
    labels = model.labels
    found: dict[str, list[float]] = {name: [] for name in labels.classes}
    losses: list[float] = []
    example, labelled = None, False
    windows = model.windows(overlap=overlap)
    began = time.monotonic()
    done = 0
    for case in cases:
        image, truth = (np.asarray(array) for array in case.load(mmap=True))
        logits = model.logits(image, windows)
        predicted = labels_from_logits(logits, truth.shape, labels)
        counted = confusions(predicted, truth, labels.class_table, IGNORE)
        judged = labels.judged(case.annotated)
        for name, counts in zip(labels.classes, counted, strict=True):
            if name in judged and counts.dice is not None:
                found[name].append(counts.dice)
        if loss is not None:
            known = torch.tensor([name in judged for name in labels.classes])
            losses.append(_loss(loss, logits, truth, known, flat=model.plan.dimension == 2))
        if not labelled:
            labelled = bool(((truth > 0) & (truth != IGNORE)).any())
            example = Example(case, image[0], truth, predicted) if labelled or example is None else example
        done += 1
        if allowed is not None and allowed.ends(done, time.monotonic() - began):
            break
    return Measured(found, losses, done, example)


def summarise(parts: Sequence[Measured]) -> Validation:
    """The means over all cases, and the first example."""
    values = {name: [each for part in parts for each in part.dice[name]] for name in parts[0].dice}
    losses = [loss for part in parts for loss in part.losses]
    per_class = {name: float(np.mean(of)) if of else None for name, of in values.items()}
    defined = [value for value in per_class.values() if value is not None]
    return Validation(
        float(np.mean(defined)) if defined else None,
        per_class,
        float(np.mean(losses)) if losses else None,
        sum(part.cases for part in parts),
        next((part.example for part in parts if part.example is not None), None),
    )


@torch.inference_mode()
def _loss(loss: Loss, logits: Tensor, truth: NDArray[np.uint8], annotated: Tensor, *, flat: bool) -> float:
    """Of a whole case, or for a 2D plan the mean over its slices: logits (K, *S), truth (*S)."""
    target = torch.from_numpy(np.array(truth))
    if not flat:
        return float(loss(logits[None], target[None], annotated[None]))
    # Slice by slice: each is an item of a batch, and a whole stack of float copies would be large.
    slices = zip(logits.transpose(0, 1), target, strict=True)
    return float(np.mean([float(loss(one[None], of[None], annotated[None])) for one, of in slices]))


def spread(cases: Sequence[PreparedCase]) -> list[PreparedCase]:
    """The cases in an order of which every beginning is spread over all of them.

    They are ranked by the fractional part of their place times the golden ratio (a low-discrepancy sequence).
    """
    golden = (5**0.5 - 1) / 2
    return [cases[place] for place in sorted(range(len(cases)), key=lambda place: (place * golden) % 1.0)]
