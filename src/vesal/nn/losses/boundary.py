"""The boundary loss: prediction errors weighted by their distance to the true boundary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vesal.nn.losses.soft_counts import Maps, SoftCounts, ratio


def boundary(counts: SoftCounts, *, background: bool) -> Tensor:
    """Mean over voxels and classes of distance (p - g), in mm, never negative (Kervadec et al., MIDL 2019, MedIA 2021).

    p is the probability, g the truth, the distance that of `signed_distances`. The published loss is the mean of
    distance p, which differs by a constant; with it the right answer costs 0. A class without a boundary in the
    patch (absent, or everywhere) costs nothing, as published: a term such as Dice has to see to it.
    """
    maps = counts.maps(background=background)
    size, spacing_mm = tuple(counts.head.logits.shape[2:]), counts.head.spacing_mm
    distances = _distances(maps, size, spacing_mm).to(maps.probability.device)
    costs = (distances * (maps.probability - maps.truth.float())).sum(2)
    voxels = maps.valid.sum(1, keepdim=True) * maps.weights
    return ratio((costs * maps.weights).sum(), voxels.sum())


def signed_distances(
    inside: NDArray[np.bool_], outside: NDArray[np.bool_], spacing_mm: Sequence[float]
) -> NDArray[np.float32]:
    """Distance (mm) to the nearest voxel of the other side: negative inside, positive outside, 0 on neither side.

    Voxels that are neither inside nor outside, such as ignored ones, are never what a distance runs to. All is 0
    where a side is empty. (The program of Kervadec et al. takes one voxel off the inside's distances, so that
    its outermost layer has no say.)

    >>> inside = np.array([False, True, True, True])
    >>> signed_distances(inside, ~inside, [2.0]).tolist()
    [2.0, -2.0, -4.0, -6.0]
    """
    from scipy.ndimage import distance_transform_edt

    if not inside.any() or not outside.any():
        return np.zeros(inside.shape, dtype=np.float32)
    distances: NDArray[Any] = distance_transform_edt(~inside, sampling=spacing_mm)
    distances *= outside
    distances -= distance_transform_edt(~outside, sampling=spacing_mm) * inside
    return distances.astype(np.float32)


def _distances(maps: Maps, size: tuple[int, ...], spacing_mm: Sequence[float]) -> Tensor:
    """(N, M, V) float32 on the CPU; 0 where voxels or classes do not count."""
    truth, valid, weights = maps.truth.cpu().numpy(), maps.valid.cpu().numpy(), maps.weights.cpu().numpy()
    out = np.zeros(truth.shape, dtype=np.float32)
    for case, of_class in zip(*np.nonzero(weights), strict=True):
        inside = truth[case, of_class].reshape(size)
        outside = valid[case].reshape(size) & ~inside
        out[case, of_class] = signed_distances(inside, outside, spacing_mm).ravel()
    return torch.from_numpy(out)
