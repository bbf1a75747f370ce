"""What prediction asks of a library of arrays (`vesal.infer.arrays.arrays.Arrays`), by numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vesal import memory_limit

Function = TypeVar("Function", bound=Callable[..., Any])
Array = NDArray[Any]


class NumpyArrays:
    """As `Arrays`; on the CPU."""

    def without_gradients(self, function: Function) -> Function:
        return function

    def of(self, image: NDArray[np.float32]) -> Array:
        if memory_limit.limit() is not None and image.dtype == np.float32:
            return image  # a copy might not be in memory's room
        return np.ascontiguousarray(image, dtype=np.float32)

    def numpy(self, array: Array) -> Array:
        return array

    def beside(self, values: Array, other: Array) -> Array:
        return np.asarray(values, dtype=np.float32)

    def empty(self, shape: Sequence[int], slow_axis: int = 0) -> Array:
        return memory_limit.array(tuple(shape), np.float32, slow_axis=slow_axis)

    def zeros(self, shape: Sequence[int], slow_axis: int = 0) -> Array:
        return memory_limit.array(tuple(shape), np.float32, slow_axis=slow_axis, zeros=True)

    def zeros_like(self, array: Array) -> Array:
        return np.zeros_like(array)

    def pad(self, image: Array, before: Sequence[int], after: Sequence[int]) -> Array:
        return np.pad(image, [(0, 0), *zip(before, after, strict=True)])

    def batch(self, windows: Sequence[Array]) -> Array:
        # In one stretch, whatever the order of memory of the windows.
        return np.ascontiguousarray(np.stack(windows))

    def flip(self, array: Array, axes: Sequence[int]) -> Array:
        return np.flip(array, tuple(axes))

    def copy(self, array: Array) -> Array:
        return array.copy()

    def add_weighted(self, target: Array, values: Array, weight: Array, share: float) -> None:
        # Channel by channel: the product stays small.
        for channel, more in zip(target, values, strict=True):
            product = more * weight
            if share != 1.0:
                product *= np.float32(share)
            channel += product

    def add_in_16_bits(self, target: Array, values: Array, weight: Array | float, share: float) -> None:
        for channel, more in zip(target, values, strict=True):
            total = more * np.float32(share) * weight
            total += channel
            with np.errstate(over="ignore"):  # infinity is refused where the sums are divided
                channel[...] = total.astype(np.float16)

    def divided_in_16_bits(self, array: Array, by: Array | float) -> Array:
        return np.asarray(array / by).astype(np.float16).astype(np.float32)

    def divide(self, array: Array, by: float) -> None:
        array /= np.float32(by)

    def take(self, array: Array, places: NDArray[np.intp], axis: int) -> Array:
        return array.take(places, axis)

    def stack(self, parts: Sequence[Array], axis: int) -> Array:
        return np.stack(parts, axis)

    def join(self, parts: Sequence[Array]) -> Array:
        return np.concatenate(parts, axis=1)

    def softmax(self, logits: Array) -> Array:
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        powers /= powers.sum(axis=1, keepdims=True)
        return powers

    def sigmoid(self, logits: Array) -> Array:
        # By the hyperbolic tangent nothing overflows.
        return 0.5 * np.tanh(0.5 * logits) + 0.5

    def argmax(self, logits: Array) -> Array:
        return logits.argmax(axis=1)

    def largest(self, array: Array) -> Array:
        return np.asarray(array.max(axis=1))

    def sum(self, array: Array, axes: Sequence[int]) -> Array:
        return np.asarray(array.sum(axis=tuple(axes)))

    def spread(self, rows: Array) -> Array:
        return rows.std(axis=1, ddof=1)

    def log(self, array: Array) -> Array:
        return np.log(array)

    def clip(self, array: Array, low: float, high: float) -> Array:
        return array.clip(np.float32(low), np.float32(high))

    def floats(self, mask: Array) -> Array:
        return mask.astype(np.float32)
