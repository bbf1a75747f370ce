"""How many lesions were found: a class is taken apart into its connected pieces, and pieces are matched.

A lesion is a connected piece of the mask; voxels touch by faces, edges and corners (26 neighbours in 3D, 8 in 2D), as
in BraTS 2023. A true lesion is found when the prediction holds at least one of its voxels; a predicted piece is a false
positive when it holds none of the truth. That overlap rule is the WMH challenge's (Kuijf et al., IEEE TMI 2019). The
lesion-wise Dice is BraTS 2023's (github.com/rachitsaluja/BraTS-2023-Metrics): missed lesions and false positives
count 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesal.metrics.overlap import ratio
from vesal.metrics.surface import bounding_box

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Lesions:
    """Lesions of one class in one case. A ratio without a denominator is None.

    Attributes:
        true: lesions in the truth.
        found: of those, how many the prediction touches.
        false: pieces of the prediction that touch no truth.
        false_voxels: in them.
        dices: (found,) Dice of each found lesion against all predicted pieces that touch it, together.

    >>> Lesions(true=4, found=3, false=1, false_voxels=7, dices=(0.9, 0.8, 0.8)).f1
    0.75
    """

    true: int
    found: int
    false: int
    false_voxels: int
    dices: tuple[float, ...] = ()

    @property
    def missed(self) -> int:
        """True lesions of which no voxel was predicted."""
        return self.true - self.found

    @property
    def sensitivity(self) -> float | None:
        """Found / true, in [0, 1]; None where there is no true lesion."""
        return ratio(self.found, self.true)

    @property
    def precision(self) -> float | None:
        """Found / (found + false), in [0, 1]; None where nothing was found and nothing is false.

        Found lesions are counted, not the predicted pieces that touch them: one found in three pieces is found once.
        """
        return ratio(self.found, self.found + self.false)

    @property
    def f1(self) -> float | None:
        """2 found / (2 found + missed + false), in [0, 1]; None without any lesion."""
        return ratio(2 * self.found, 2 * self.found + self.missed + self.false)

    @property
    def dice(self) -> float | None:
        """The lesion-wise Dice: the sum of `dices` over found, missed and false together; None without a lesion."""
        total = self.found + self.missed + self.false
        return sum(self.dices) / total if total else None


def lesions(prediction: Mask, truth: Mask, ignore: Mask | None = None) -> Lesions:
    """Take two masks apart and match their pieces.

    Args:
        prediction, truth: (*spatial) on one grid.
        ignore: (*spatial), True for voxels of unknown truth. A predicted piece that touches no truth but holds such
            voxels is no false positive: what it lies on is not known.

    Raises:
        ValueError: the shapes differ.
    """
    from scipy.ndimage import generate_binary_structure, label

    if prediction.shape != truth.shape:
        raise ValueError(f"prediction {prediction.shape} and truth {truth.shape} differ in shape")
    if ignore is not None:
        truth = truth & ~ignore
    box = bounding_box(prediction | truth)
    if box is None:
        return Lesions(0, 0, 0, 0)
    prediction, truth = prediction[box], truth[box]
    touching = generate_binary_structure(truth.ndim, truth.ndim)
    actual, true = label(truth, touching)
    pieces, predicted = label(prediction, touching)
    sizes = np.bincount(pieces.ravel(), minlength=predicted + 1)
    # Neither true nor false: the background, and pieces on voxels to ignore.
    unjudged = np.zeros(predicted + 1, dtype=bool)
    if ignore is not None:
        held = np.bincount(pieces[ignore[box]], minlength=predicted + 1)
        sizes, unjudged = sizes - held, held > 0
    unjudged[0] = True
    both = prediction & truth
    pairs, shared = np.unique(np.stack([actual[both], pieces[both]]), axis=1, return_counts=True)
    met = np.zeros(predicted + 1, dtype=bool)
    met[pairs[1]] = True
    false = np.flatnonzero(~met & ~unjudged)
    volumes = np.bincount(actual.ravel(), minlength=true + 1)
    dices = []
    for lesion in np.unique(pairs[0]):
        own = pairs[0] == lesion
        dices.append(float(2 * shared[own].sum() / (volumes[lesion] + sizes[pairs[1][own]].sum())))
    return Lesions(int(true), len(dices), len(false), int(sizes[false].sum()), tuple(dices))
