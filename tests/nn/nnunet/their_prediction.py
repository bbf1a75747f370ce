"""nnU-Net's prediction of one scan, in its own order of steps, by numpy and scipy: what an imported model must match.

After nnU-Net 2.8.1's preprocessor, predictor and export; no line of it is Vesal's, so that both can be compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import nn

Array = np.ndarray


def predict(
    array: Array,
    spacing: Sequence[float],
    plans: dict[str, Any],
    networks: Sequence[nn.Module],
    *,
    mirror_axes: Sequence[int] = (),
    order: Sequence[int] | None = None,
    configuration: str | None = None,
    first_stage: tuple[Array, int] | None = None,
) -> Array:
    """Labels (x, y, z) of a scan (C, x, y, z) with spacing (x, y, z).

    Args:
        order: regions_class_order.
        configuration: of the plans, which inherits nothing; their only one if None.
        first_stage: of a cascade the labels (x, y, z) of the first stage, and how many there are.
    """
    if configuration is None:
        (configuration,) = plans["configurations"]
    found = plans["configurations"][configuration]
    forward = plans["transpose_forward"]
    data = array.transpose(0, 3, 2, 1).astype(np.float32).transpose(0, *(axis + 1 for axis in forward))
    steps = [list(spacing)[::-1][axis] for axis in forward]
    mask = ndimage.binary_fill_holes((data != 0).any(0))
    box = tuple(slice(int(lines.min()), int(lines.max()) + 1) for lines in np.nonzero(mask))
    data, mask = data[(slice(None), *box)].copy(), mask[box]
    normalise(data, mask, plans, found)
    wanted = [steps[0], *found["spacing"]][-3:]
    shape = [round(a / b * size) for a, b, size in zip(steps, wanted, data.shape[1:], strict=True)]
    prepared = resample(data, shape, steps, wanted, 3)
    if first_stage is not None:
        given, count = first_stage
        values = given.transpose(2, 1, 0).transpose(forward)[box].astype(float)
        values[(values == 0) & ~mask] = -1
        values = resample_values(values, shape, steps, wanted)
        onehot = np.stack([values == value for value in range(1, count + 1)])
        prepared = np.vstack([prepared, onehot.astype(np.float32)])
    total = slide(prepared, found["patch_size"], networks[0], mirror_axes)
    for one in networks[1:]:
        total += slide(prepared, found["patch_size"], one, mirror_axes)
    logits = resample((total / len(networks)).numpy(), data.shape[1:], wanted, steps, 1).astype(np.float16)
    whole = np.zeros([array.shape[1:][::-1][axis] for axis in forward], dtype=np.uint8)
    if order is None:
        whole[box] = logits.argmax(0)
    else:
        for value, one in zip(order, logits, strict=True):
            whole[box][one > 0] = value
    return whole.transpose(np.argsort(forward)).transpose(2, 1, 0)


def normalise(data: Array, mask: Array, plans: dict[str, Any], found: dict[str, Any]) -> None:
    properties = plans["foreground_intensity_properties_per_channel"]
    for number, scheme in enumerate(found["normalization_schemes"]):
        one = data[number]
        if scheme == "ZScoreNormalization":
            inside = mask if found["use_mask_for_norm"][number] else np.ones_like(mask)
            one[inside] = (one[inside] - one[inside].mean()) / one[inside].std()
        elif scheme == "CTNormalization":
            of = properties[str(number)]
            one[...] = (np.clip(one, of["percentile_00_5"], of["percentile_99_5"]) - of["mean"]) / of["std"]
        elif scheme == "RescaleTo01Normalization":
            one[...] = (one - one.min()) / (one - one.min()).max()
        elif scheme == "RGBTo01Normalization":
            one /= 255


def resample(
    data: Array, shape: Sequence[int], current: Sequence[float], wanted: Sequence[float], order: int
) -> Array:
    if data.shape[1:] == tuple(shape):
        return data
    apart = coarse_axis(current, wanted)
    if apart is None:
        return np.stack([zoomed(one, shape, order) for one in data])
    across = [size for axis, size in enumerate(shape) if axis != apart]
    found = []
    for one in np.moveaxis(data, apart + 1, 1):
        slices = np.stack([zoomed(part, across, order) for part in one])
        places = (np.arange(shape[apart]) + 0.5) * len(slices) / shape[apart] - 0.5
        grid = np.meshgrid(places, *(np.arange(size) for size in across), indexing="ij")
        found.append(ndimage.map_coordinates(slices, grid, order=0, mode="nearest"))
    return np.moveaxis(np.stack(found), 1, apart + 1)


def coarse_axis(current: Sequence[float], wanted: Sequence[float]) -> int | None:
    for spacing in (current, wanted):
        if max(spacing) / min(spacing) > 3:
            coarse = np.flatnonzero(np.max(spacing) / np.array(spacing) == 1)
            return int(coarse[0]) if len(coarse) == 1 else None
    return None


def resample_values(
    values: Array, shape: Sequence[int], current: Sequence[float], wanted: Sequence[float]
) -> Array:
    """A label map, by the largest share; the nearest voxel's value among equal ones (batchgenerators 0.25.5)."""
    if values.shape == tuple(shape):
        return values
    apart = coarse_axis(current, wanted)
    if apart is None:
        return largest_share(values, shape)
    across = [size for axis, size in enumerate(shape) if axis != apart]
    slices = np.stack([largest_share(part, across) for part in np.moveaxis(values, apart, 0)])
    places = (np.arange(shape[apart]) + 0.5) * len(slices) / shape[apart] - 0.5
    grid = np.meshgrid(places, *(np.arange(size) for size in across), indexing="ij")
    return np.moveaxis(ndimage.map_coordinates(slices, grid, order=0, mode="nearest"), 0, apart)


def largest_share(values: Array, shape: Sequence[int]) -> Array:
    known = np.unique(values)
    shares = np.stack([zoomed(values == value, shape, 1) for value in known])
    nearest = zoomed(values, shape, 0)
    of_nearest = np.take_along_axis(shares, np.searchsorted(known, nearest)[None], 0)[0]
    return np.where(of_nearest == shares.max(0), nearest, known[shares.argmax(0)])


def zoomed(one: Array, shape: Sequence[int], order: int) -> Array:
    factors = [new / old for new, old in zip(shape, one.shape, strict=True)]
    out = ndimage.zoom(one.astype(float), factors, order=order, mode="nearest", grid_mode=True)
    return np.clip(out, one.min(), one.max())


def slide(data: Array, patch: Sequence[int], network: nn.Module, mirror_axes: Sequence[int]) -> torch.Tensor:
    """Logits in 16 bits, in which sums and weights are too."""
    patch = list(patch)
    sides = [1] * (3 - len(patch)) + patch
    short = [max(0, side - size) for side, size in zip(sides, data.shape[1:], strict=True)]
    pads = [(lack // 2, lack - lack // 2) for lack in short]
    padded = np.pad(data, [(0, 0), *pads])
    starts = []
    for side, size in zip(sides, padded.shape[1:], strict=True):
        count = int(np.ceil((size - side) / (side * 0.5))) + 1 if side > 1 else size
        starts.append([round((size - side) / max(1, count - 1) * number) for number in range(count)])
    weight = np.zeros(patch)
    weight[tuple(side // 2 for side in patch)] = 1
    weight = ndimage.gaussian_filter(weight, [side / 8 for side in patch], mode="constant")
    gaussian = torch.from_numpy(weight / weight.max() * 10).half()
    gaussian[gaussian == 0] = gaussian[gaussian > 0].min()
    total = norm = None
    for corner in itertools.product(*starts):
        box = tuple(slice(start, start + side) for start, side in zip(corner, sides, strict=True))
        one = torch.from_numpy(np.ascontiguousarray(padded[(slice(None), *box)])).float()
        one = one.reshape(1, len(data), *patch)
        with torch.inference_mode():
            logits = mirrored(network, one, mirror_axes)[0] * gaussian
        if total is None or norm is None:
            total = torch.zeros((len(logits), *padded.shape[1:]), dtype=torch.half)
            norm = torch.zeros(padded.shape[1:], dtype=torch.half)
        total[(slice(None), *box)] += logits.reshape(len(logits), *sides)
        norm[box] += gaussian.reshape(sides)
    assert total is not None
    assert norm is not None
    inner = tuple(
        slice(before, before + size) for (before, _), size in zip(pads, data.shape[1:], strict=True)
    )
    return (total / norm)[(slice(None), *inner)]


def mirrored(network: nn.Module, one: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    sets = [subset for count in range(len(axes) + 1) for subset in itertools.combinations(axes, count)]
    flips = [[axis + 2 for axis in subset] for subset in sets]
    return torch.stack([network(one.flip(flip)).flip(flip) for flip in flips]).mean(0)
