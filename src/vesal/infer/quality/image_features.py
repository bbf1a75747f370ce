"""Features of a scan itself, without any network: size, intensities, sharpness, noise, evenness, coarse appearance.

Numbers by name, float, always the same names for the same plan. They are made to be compared with those of other
scans of the same kind (`vesal.infer.quality.reference_distribution`), not to be read one by one. Nearly all are ratios
or logarithms of them: what a unit or a gain changes by a factor they change by a shift.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.memory_limit import breathe
from vesal.preprocessing.prepare import Prepared
from vesal.volume.volume import Volume

#: Voxels along each axis from whose middle part texture is taken, so that a large scan costs no more than a second.
_MIDDLE = 128

#: Cells along each axis of the coarse appearance.
_CELLS = 4

#: Bands of spatial frequency along each axis, as shares of the highest.
_BANDS = (0.0, 0.15, 0.35, 0.6, 0.8, 1.0)

_TINY = 1e-6

Array = NDArray[Any]


def image_features(volume: Volume, prepared: Prepared) -> dict[str, dict[str, float]]:
    """Groups of numbers about one scan: 'geometry', 'intensity', 'texture' and 'appearance'.

    Args:
        volume: as it was read.
        prepared: the same, as the network gets it.

    The noise of a scan is taken from second differences (Immerkaer, "Fast noise variance estimation", Computer
    Vision and Image Understanding 1996), sharpness from differences over one voxel and over two.
    """
    found: dict[str, dict[str, float]] = {"geometry": _geometry(prepared)}
    for number in range(volume.channels):
        image = prepared.image[number]
        middle = _standard(_middle(image))
        groups = {
            "intensity": _raw_intensity(volume.array[number]) | _intensity(image),
            "texture": _texture(middle) | _spectrum(middle),
            "appearance": _coarse(image),
        }
        for group, values in groups.items():
            named = {f"channel {number + 1} {name}": float(value) for name, value in values.items()}
            found[group] = found.get(group, {}) | named
    return found


def _geometry(prepared: Prepared) -> dict[str, float]:
    """Voxel and scan sizes along the axes of the prepared array."""
    crop = prepared.crop
    found = {}
    for axis, own in enumerate(crop.turn.order):
        step = crop.source.spacing_mm[own]
        found[f"spacing {axis}"] = float(np.log(step))
        found[f"extent {axis}"] = float(np.log(crop.source.shape[own] * step))
    return found


def _raw_intensity(channel: Array) -> dict[str, float]:
    """Gain and level in file units."""
    # In the order of memory.
    sample = _sample(
        np.transpose(channel, np.argsort([-abs(step) for step in channel.strides], kind="stable"))
    )
    low, middle, high = np.percentile(sample, (1, 50, 99))
    return {
        "gain": np.log(max(high - low, _TINY)),
        "level": np.arcsinh(middle / max(high - low, _TINY)),
        "zeros": np.mean(sample == 0),
    }


def _intensity(image: Array) -> dict[str, float]:
    """The shape of the distribution, free of gain and offset."""
    sample = _sample(image)
    marks = np.percentile(sample, (0.5, 5, 15, 30, 50, 70, 85, 95, 99.5))
    width = max(marks[-2] - marks[1], _TINY)
    found = {
        f"percentile {number}": (mark - marks[4]) / width for number, mark in enumerate(marks) if number != 4
    }
    centred = (sample - sample.mean()) / max(sample.std(), _TINY)
    found["skewness"] = np.mean(centred**3)
    found["log kurtosis"] = np.log(np.mean(centred**4) + _TINY)
    found["at the least"] = np.sqrt(np.mean(sample <= sample.min() + 1e-3 * width))
    found["at the most"] = np.sqrt(np.mean(sample >= sample.max() - 1e-3 * width))
    return found


def _texture(x: Array) -> dict[str, float]:
    """Noise, sharpness, uneven slices and uneven brightness of an image of spread 1."""
    found: dict[str, float] = {}
    curved = x
    for axis in range(x.ndim):
        size = x.shape[axis]
        if size < 6:
            for name in ("step", "sharpness", "jump", "flicker", "slope", "bow"):
                found[f"{name} {axis}"] = 0.0
            continue
        along = np.moveaxis(x, axis, 0)
        near, far = np.abs(along[1:] - along[:-1]), np.abs(along[2:] - along[:-2])
        found[f"step {axis}"] = np.log(near.mean() + _TINY)
        found[f"sharpness {axis}"] = np.log((near.mean() + _TINY) / (far.mean() + _TINY))
        means, spreads = along.reshape(size, -1).mean(axis=1), along.reshape(size, -1).std(axis=1)
        found[f"jump {axis}"] = np.log(_largest_kink(means) + 1e-3)
        found[f"flicker {axis}"] = np.log(_largest_kink(spreads) + 1e-3)
        places = np.linspace(-1, 1, size)
        found[f"slope {axis}"] = float(np.polyfit(places, means, 2)[1])
        found[f"bow {axis}"] = float(np.polyfit(places, means, 2)[0])
        curved = np.moveaxis(curved, axis, 0)
        curved = np.moveaxis(curved[:-2] - 2 * curved[1:-1] + curved[2:], 0, axis)
    found["noise"] = np.log(np.median(np.abs(curved)) + _TINY)
    found["tails of noise"] = np.log((np.abs(curved).mean() + _TINY) / (np.median(np.abs(curved)) + _TINY))
    return found


def _largest_kink(values: Array) -> float:
    """How far a value lies at most from the middle between its neighbours."""
    return float(np.abs(values[1:-1] - (values[:-2] + values[2:]) / 2).max())


def _spectrum(x: Array) -> dict[str, float]:
    """Share of the power in each band of frequencies along each axis, and the sharpest line in k-space."""
    found: dict[str, float] = {}
    for axis in range(x.ndim):
        size = x.shape[axis]
        bands = list(itertools.pairwise(_BANDS))
        if size < 16:
            found |= {f"band {number} {axis}": 0.0 for number in range(1, len(bands))}
            continue
        window = np.hanning(size).reshape([-1 if other == axis else 1 for other in range(x.ndim)])
        power = np.abs(np.fft.rfft(x * window, axis=axis)) ** 2
        line = power.mean(axis=tuple(other for other in range(x.ndim) if other != axis))
        place = np.linspace(0, 1, line.size)
        first = line[place < bands[0][1]].sum()
        for number, (low, high) in enumerate(bands[1:], start=1):
            chosen = (place >= low) & ((place < high) | (high == 1.0))
            found[f"band {number} {axis}"] = np.log((line[chosen].sum() + _TINY) / (first + _TINY))
    whole = np.log(np.abs(np.fft.rfftn(x)) + _TINY)
    distance = np.zeros(whole.shape)
    for axis, size in enumerate(x.shape):
        places = np.fft.rfftfreq(size) if axis == x.ndim - 1 else np.fft.fftfreq(size)
        distance = distance + (2 * places.reshape([-1 if o == axis else 1 for o in range(x.ndim)])) ** 2
    shell = np.minimum((np.sqrt(distance) * 8).astype(int), 10)
    excess = [
        whole[shell == number].max() - np.median(whole[shell == number])
        for number in range(2, 8)
        if (shell == number).sum() > 20
    ]
    found["sharpest line"] = max(excess, default=0.0)
    return found


def _coarse(image: Array) -> dict[str, float]:
    """Means over a few cells an axis of the image as `_standard` makes it: what lies where."""
    low, high, width = _bounds(image)
    edges = [np.linspace(0, size, min(_CELLS, size) + 1).astype(int) for size in image.shape]
    places = list(np.ndindex(*(len(of) - 1 for of in edges)))
    sums, sizes = np.zeros(len(places)), np.zeros(len(places))
    for number, place in enumerate(places):
        box = tuple(slice(of[index], of[index + 1]) for of, index in zip(edges, place, strict=True))
        cell = image[box]
        # Row by row: a large scan need not be in memory as numbers of 64 bits.
        sums[number] = sum(float(np.clip(row.astype(np.float64), low, high).sum()) for row in cell)
        sizes[number] = cell.size
        breathe()
    means = (sums / sizes - sums.sum() / sizes.sum()) / width
    return {"cell " + " ".join(map(str, place)): value for place, value in zip(places, means, strict=True)}


def _sample(image: Array) -> Array:
    """float64, some 200,000 voxels of the whole, evenly chosen."""
    step = max(1, image.size // 200_000) | 1
    piece = step * max(1, (1 << 22) // step)
    parts = []
    for first in range(0, image.size, piece):
        parts.append(np.asarray(image.flat[first : first + piece : step], dtype=np.float64))
        breathe()
    return np.concatenate(parts)


def _bounds(image: Array) -> tuple[float, float, float]:
    """Between which intensities are kept, and their spread, taken between percentiles."""
    low, high = np.percentile(_sample(image), (5, 95))
    return low - 3 * (high - low), high + 3 * (high - low), max((high - low) / 3.29, _TINY)


def _middle(image: Array) -> Array:
    """At most _MIDDLE voxels along each axis, from the centre."""
    box = []
    for size in image.shape:
        kept = min(size, _MIDDLE)
        first = (size - kept) // 2
        box.append(slice(first, first + kept))
    return image[tuple(box)]


def _standard(image: Array) -> Array:
    """float64 of mean 0 and spread 1, the spread taken between percentiles."""
    low, high, width = _bounds(image)
    x = np.clip(image.astype(np.float64), low, high)
    return (x - x.mean()) / width
