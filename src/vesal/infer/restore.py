"""From logits on the prepared grid to labels on the cropped source grid, slab by slab.

Argmax and threshold are taken while the logits are brought to the finer grid, so that the memory in use is
one slab of logits, whatever the size of the scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vesal.data.labels import LabelSet

#: Bytes of float32 logits in one slab of the finer grid.
SLAB_BYTES = 64 << 20


@torch.inference_mode()
def labels_from_logits(
    logits: Tensor, shape: Sequence[int], labels: LabelSet, *, threshold: float = 0.5
) -> NDArray[np.uint8]:
    """Contiguous labels on a grid of `shape` over the same field of view.

    Args:
        logits: (K, A, B, C) float32, K = labels.outputs.
        shape: three sizes of the wanted grid.
        labels: classes (argmax) or regions (sigmoid over `threshold`, painted from outer to inner).
        threshold: for regions the probability from which each of them holds. For plain classes that of the
            likeliest foreground class where it and the background are the only choice, p / (p + background),
            from which a voxel is that class: with one class its probability, and 0.5 is the plain argmax.

    Returns:
        uint8 `shape`.
    """
    result = np.empty(tuple(shape), dtype=np.uint8)
    for first, slab in _slabs(logits, shape):
        if labels.regions:
            masks = (slab > _logit(threshold)).transpose(0, 1).numpy()
            result[first : first + slab.shape[0]] = labels.paint(masks)
        elif threshold == 0.5:
            result[first : first + slab.shape[0]] = slab.argmax(dim=1).to(torch.uint8).numpy()
        else:
            result[first : first + slab.shape[0]] = _foreground_over(slab, threshold).numpy()
    return result


@torch.inference_mode()
def probabilities_from_logits(logits: Tensor, shape: Sequence[int], labels: LabelSet) -> NDArray[np.float32]:
    """Probabilities (K, *shape) on a grid over the same field of view: softmax, or sigmoid for regions."""
    result = np.empty((logits.shape[0], *shape), dtype=np.float32)
    for first, slab in _slabs(logits, shape):
        probability = slab.sigmoid() if labels.regions else slab.softmax(dim=1)
        result[:, first : first + slab.shape[0]] = probability.transpose(0, 1).numpy()
    return result


@torch.inference_mode()
def class_probabilities(
    logits: Tensor, shape: Sequence[int], labels: LabelSet
) -> Iterator[NDArray[np.float32]]:
    """Yield the probability (*shape) of each of `labels.classes` in turn: softmax, or sigmoid for regions.

    The numbers are those of `probabilities_from_logits`, but no more than two maps are in memory at once,
    however many classes there are. The background of plain classes is 1 minus their sum.
    """
    if labels.regions:
        for index in range(len(labels.regions)):
            yield _one_class(logits, index, shape, torch.sigmoid)
        return
    total = np.empty(tuple(shape), dtype=np.float32)
    for first, slab in _slabs(logits, shape):
        total[first : first + slab.shape[0]] = slab.logsumexp(dim=1).numpy()
    for index in range(1, logits.shape[0]):
        found = _one_class(logits, index, shape)
        found -= total
        np.exp(found, out=found)
        # A rounded sum of exponentials may be a hair too small.
        yield np.minimum(found, 1.0, out=found)


def _one_class(
    logits: Tensor, index: int, shape: Sequence[int], function: Callable[[Tensor], Tensor] | None = None
) -> NDArray[np.float32]:
    result = np.empty(tuple(shape), dtype=np.float32)
    for first, slab in _slabs(logits[index : index + 1], shape):
        values = slab[:, 0] if function is None else function(slab[:, 0])
        result[first : first + slab.shape[0]] = values.numpy()
    return result


def _slabs(logits: Tensor, shape: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
    """Yield (first index, logits (n, K, *shape[1:])) along the first axis, linearly interpolated."""
    rows = max(1, SLAB_BYTES // max(1, 4 * logits.shape[0] * int(np.prod(shape[1:]))))
    low, high, share = _linear(logits.shape[1], shape[0])
    for first in range(0, shape[0], rows):
        part = slice(first, first + rows)
        if logits.shape[1] == shape[0]:
            slab = logits[:, part]
        else:
            weight = share[part].view(1, -1, 1, 1)
            slab = torch.lerp(logits[:, low[part]], logits[:, high[part]], weight)
        slab = slab.transpose(0, 1)
        if slab.shape[2:] != tuple(shape[1:]):
            slab = torch.nn.functional.interpolate(
                slab, size=tuple(shape[1:]), mode="bilinear", align_corners=False
            )
        yield first, slab


def _linear(source: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """Neighbours and the upper one's share for linear interpolation over the same field of view."""
    position = (torch.arange(target, dtype=torch.float64) + 0.5) * (source / target) - 0.5
    position = position.clamp(0, source - 1)
    low = position.floor().long()
    return low, (low + 1).clamp(max=source - 1), (position - low).float()


def _foreground_over(slab: Tensor, threshold: float) -> Tensor:
    best, index = slab[:, 1:].max(dim=1)
    return torch.where(best - slab[:, 0] > _logit(threshold), index + 1, 0).to(torch.uint8)


def _logit(probability: float) -> float:
    return float(np.log(probability) - np.log1p(-probability))
