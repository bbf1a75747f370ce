"""How much two segmentations overlap: voxels are counted once, everything else follows from the counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Voxels that are counted at once.
_SLAB_VOXELS = 1 << 20


@dataclass(frozen=True)
class Confusion:
    """Voxels of one class, counted. A ratio without a denominator is undefined: None, never 0 or NaN.

    Attributes:
        tp: in the prediction and in the truth.
        fp: in the prediction alone.
        fn: in the truth alone.
        tn: in neither.

    >>> Confusion(tp=6, fp=2, fn=4, tn=88).dice
    0.6666666666666666
    >>> Confusion(tp=0, fp=0, fn=0, tn=100).dice is None
    True
    """

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def predicted(self) -> int:
        """Voxels in the prediction."""
        return self.tp + self.fp

    @property
    def actual(self) -> int:
        """Voxels in the truth."""
        return self.tp + self.fn

    @property
    def dice(self) -> float | None:
        """2 TP / (2 TP + FP + FN), in [0, 1] (Dice 1945); None when both masks are empty."""
        return ratio(2 * self.tp, self.predicted + self.actual)

    @property
    def iou(self) -> float | None:
        """TP / (TP + FP + FN), in [0, 1] (Jaccard 1912); None when both masks are empty."""
        return ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def precision(self) -> float | None:
        """TP / (TP + FP), in [0, 1]: how much of the prediction is true; None when nothing was predicted."""
        return ratio(self.tp, self.predicted)

    @property
    def recall(self) -> float | None:
        """TP / (TP + FN), in [0, 1]: how much of the truth was found; None when there is no truth."""
        return ratio(self.tp, self.actual)

    @property
    def accuracy(self) -> float | None:
        """(TP + TN) / all, in [0, 1]: the share of voxels that are right; of small classes it says little."""
        return ratio(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn)


def confusions(
    prediction: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    table: NDArray[np.bool_],
    ignore: int = 255,
    outside: int = 0,
) -> tuple[Confusion, ...]:
    """Count every class of two label maps from one pass over the voxels.

    Args:
        prediction: (*spatial) values from 0, the background; where it is `ignore` it counts as background.
        truth: (*spatial) values from 0; voxels with the value `ignore` are not counted.
        table: (classes, labels + 1), which values belong to a class, as `LabelSet.class_table`; classes may
            overlap.
        outside: voxels of the scan that both label maps leave out, background in both.

    Raises:
        ValueError: the shapes differ, or a value has no column in the table.
    """
    pairs = _count_pairs(prediction, truth, table.shape[1], ignore)
    inside = table.astype(np.int64)
    tp = np.einsum("ci,ij,cj->c", inside, pairs, inside)
    predicted = inside @ pairs.sum(axis=1)
    actual = inside @ pairs.sum(axis=0)
    total = int(pairs.sum()) + outside
    return tuple(
        Confusion(int(t), int(p - t), int(a - t), total - int(p + a - t))
        for t, p, a in zip(tp, predicted, actual, strict=True)
    )


def _count_pairs(
    prediction: NDArray[np.uint8], truth: NDArray[np.uint8], values: int, ignore: int
) -> NDArray[np.int64]:
    """(values, values) voxels by (predicted value, true value), without ignored ones."""
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction {prediction.shape} and truth {truth.shape} differ in shape")
    # In slabs that are whole stretches of memory: numpy widens what it counts to 8 bytes a voxel.
    axis = int(np.argmax(np.abs(truth.strides)))
    prediction, truth = np.moveaxis(prediction, axis, 0), np.moveaxis(truth, axis, 0)
    flat = np.zeros(1 << 16, dtype=np.int64)
    step = max(1, _SLAB_VOXELS * len(truth) // max(1, truth.size))
    for first in range(0, len(truth), step):
        code = prediction[first : first + step].astype(np.uint16)
        code *= 256
        code |= truth[first : first + step]
        flat += np.bincount(code.ravel(order="K"), minlength=1 << 16)
    pairs = flat.reshape(256, 256)
    pairs[0] += pairs[ignore]
    pairs[ignore] = 0
    pairs[:, ignore] = 0
    if pairs[values:].any() or pairs[:, values:].any():
        raise ValueError(f"a label map holds values of {values} or more, which no class has")
    return pairs[:values, :values]


def ratio(part: int, whole: int) -> float | None:
    """None without a denominator."""
    return part / whole if whole else None
