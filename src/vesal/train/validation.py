"""Whole-volume validation during training, with the code that predicts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vesal.data.labels import IGNORE
from vesal.data.prepare import PreparedCase
from vesal.infer.predictor import Model
from vesal.infer.restore import labels_from_logits
from vesal.metrics.overlap import confusions


@dataclass(frozen=True)
class Validation:
    """Dice on the prepared grid.

    Attributes:
        dice: mean over the classes, or None where no class is in any case.
        per_class: mean over the cases in which the class is drawn or predicted.
        cases: how many cases were looked at.
    """

    dice: float | None
    per_class: dict[str, float | None]
    cases: int


def validate(model: Model, cases: Sequence[PreparedCase], *, allowed_s: float | None = None) -> Validation:
    """Predict whole volumes without mirroring and compare with the prepared labels.

    Args:
        model: the network to validate, in eval mode.
        cases: in a fixed order.
        allowed_s: stop after the case that uses up so many seconds (at least one is looked at).

    Empty in both prediction and truth: left out of the mean. Empty in one: Dice 0.
    """
    labels = model.labels
    found: dict[str, list[float]] = {name: [] for name in labels.classes}
    windows = model.windows()
    began = time.monotonic()
    done = 0
    for case in cases:
        image, truth = case.load(mmap=True)
        logits = model.logits(np.asarray(image), windows)
        predicted = labels_from_logits(logits, truth.shape, labels)
        counted = confusions(predicted, np.asarray(truth), labels.class_table, IGNORE)
        judged = labels.judged(case.annotated)
        for name, counts in zip(labels.classes, counted, strict=True):
            if name in judged and counts.dice is not None:
                found[name].append(counts.dice)
        done += 1
        if allowed_s is not None and time.monotonic() - began >= allowed_s:
            break
    per_class = {name: float(np.mean(values)) if values else None for name, values in found.items()}
    defined = [value for value in per_class.values() if value is not None]
    return Validation(float(np.mean(defined)) if defined else None, per_class, done)


def spread(cases: Sequence[PreparedCase]) -> list[PreparedCase]:
    """The cases in an order of which every beginning is spread over all of them.

    They are ranked by the fractional part of their place times the golden ratio (a low-discrepancy sequence).
    """
    golden = (5**0.5 - 1) / 2
    return [cases[place] for place in sorted(range(len(cases)), key=lambda place: (place * golden) % 1.0)]
