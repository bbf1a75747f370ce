"""The temperature of a model's probabilities, from a few voxels of each held-out scan."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vesal.data.labels import IGNORE, LabelSet
from vesal.files import content_hash

#: Voxels of a scan whose probabilities the temperature is fitted to.
_VOXELS = 4000

#: A voxel counts as uncertain where the two largest logits lie nearer than this: the likelier has under 99.9 %.
_UNCERTAIN = 7.0

#: Lowest and highest temperature, and how exactly the logarithm of the best one is found.
_LOWEST, _HIGHEST, _TOLERANCE = 0.25, 8.0, 1e-7


class Voxels(NamedTuple):
    """logits (n, K), truth (n,) or (n, K) of regions, and how many voxels each of them stands for (n,).

    Of cases in which only some labels were drawn, `unknown` (n, K) marks regions of which nothing is known, and classes
    that a voxel of the background may be as well.
    """

    logits: NDArray[np.float64]
    truth: NDArray[np.int64]
    weight: NDArray[np.float64]
    unknown: NDArray[np.bool_]


def concatenated(parts: Sequence[Voxels]) -> Voxels:
    """The voxels of all of them."""
    return Voxels(*map(np.concatenate, zip(*parts, strict=True)))


class VoxelSampler:
    """Takes rows of logits as they are finished and keeps a few voxels: half of them where the network is uncertain.

    Which are kept depends on the logits and on chance alone, not on the truth, and each counts for as many as it was
    drawn from: the mean over them is that over the scan.

    Args:
        truth: (*S) prepared labels of the scan.
        labels: of the model.
        axis: along which rows come.
        name: of the scan; it seeds the choice.
        annotated: names of the labels that were drawn; None means all.
    """

    def __init__(
        self,
        truth: NDArray[np.uint8],
        labels: LabelSet,
        axis: int,
        name: str,
        annotated: Collection[str] | None = None,
    ) -> None:
        self._axis = axis
        drawn = labels.judged(annotated)
        self._undrawn = np.array([name not in drawn for name in labels.classes])
        self._truth = np.moveaxis(truth, axis, 0)
        self._labels = labels
        self._share = min(1.0, _VOXELS / 2 / truth.size)
        self._seed = int(content_hash(name.encode())[:8], 16)
        self._kept: list[Voxels] = []

    def __call__(self, rows: Tensor, first: int) -> None:
        """Rows (K, *S), of which the first along the axis is row `first`."""
        logits = rows.movedim(self._axis + 1, 1).flatten(1)
        truth = self._truth[first : first + rows.shape[self._axis + 1]].ravel()
        generator = torch.Generator().manual_seed(self._seed + first)
        top = logits.topk(min(2, len(logits)), dim=0).values
        gap = logits.abs().amin(dim=0) if self._labels.regions else top[0] - top[-1]
        uncertain = (gap < _UNCERTAIN).cpu()
        chance = torch.rand(len(uncertain), generator=generator)
        share = torch.full_like(chance, self._share)
        # About as many where the network is uncertain, however few these are.
        share[uncertain] = min(1.0, self._share * len(uncertain) / max(int(uncertain.sum()), 1))
        kept = (chance < share) & torch.from_numpy(truth != IGNORE)
        places = kept.nonzero().flatten()
        chosen = truth[places.numpy()].astype(np.int64)
        if self._labels.regions:
            chosen = self._labels.class_table[:, chosen].T.astype(np.int64)
            unknown = np.broadcast_to(self._undrawn, chosen.shape)
        else:
            undrawn = np.insert(self._undrawn, 0, False)
            # A voxel of a class that counts as unseen joins the background, as in the loss.
            chosen = np.where(undrawn[chosen], 0, chosen)
            unknown = undrawn & (chosen == 0)[:, None]
        self._kept.append(
            Voxels(
                logits[:, places.to(logits.device)].T.double().cpu().numpy(),
                chosen,
                (1 / share[places]).double().numpy(),
                unknown,
            )
        )

    def voxels(self) -> Voxels:
        """All that was kept."""
        return concatenated(self._kept)


def fit_temperature(voxels: Voxels, *, regions: bool) -> float:
    """The number by which logits are divided so that their probabilities fit the truth best (least log loss).

    Guo et al., "On calibration of modern neural networks", ICML 2017. Between 0.25 and 8.

    Args:
        voxels: of all scans.
        regions: sigmoid of each channel in place of the softmax.
    """
    from scipy.optimize import minimize_scalar

    logits, truth, unknown = voxels.logits, voxels.truth, voxels.unknown
    partly = bool(unknown.any())

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        if regions:
            each = ((np.logaddexp(0.0, scaled) - truth * scaled) * ~unknown).sum(axis=1)
        else:
            peak = scaled.max(axis=1, keepdims=True)
            each = np.log(np.exp(scaled - peak).sum(axis=1)) + peak[:, 0]
            hit = np.take_along_axis(scaled, truth[:, None], axis=1)[:, 0]
            if partly:
                hit = np.logaddexp(hit, np.logaddexp.reduce(np.where(unknown, scaled, -np.inf), axis=1))
            each = each - hit
        return float(voxels.weight @ each)

    bounds = float(np.log(_LOWEST)), float(np.log(_HIGHEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": _TOLERANCE})
    return float(np.exp(found.x))
