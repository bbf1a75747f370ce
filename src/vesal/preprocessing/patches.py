"""Training patches: which case, where, in an order that is a function of seed and step alone."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.errors import DataError
from vesal.memory_limit import breathe
from vesal.parallel import available_memory
from vesal.planning.plan import Plan
from vesal.preprocessing.cache import PreparedCase

#: Share of the memory still available that the prepared cases may take.
_MEMORY_SHARE = 0.5

# Streams of random numbers that must not meet.
_ORDER, _PLACE, _ELSEWHERE = 0, 1, 2

#: Of the patches of a fine stage this share is from elsewhere in the scans.
ELSEWHERE_SHARE = 0.12


@dataclass(frozen=True)
class Place:
    """Where a patch is cut.

    Attributes:
        case: index of the case.
        start: first voxel of the window along the prepared axes; negative where the case is smaller than the
            window and lies centred in it.
    """

    case: int
    start: tuple[int, ...]


class PatchSampler:
    """Batches of patches of prepared cases.

    Each epoch goes through the cases once in an order of its own; items of a batch are drawn one after the
    other, also across the epochs' ends. A case larger than the patch gives a random place, or, for
    `foreground_share` of the items, a place centred on a voxel of a class drawn evenly among those present
    (rare classes are seen as often as large ones; nnU-Net); always within the volume. A case smaller than the
    patch is centred in it, with zeros around. In a 2D plan of volumes a patch lies in one slice.

    `batch(step)` depends on the seed and the step alone: a run resumed at a step sees what it would have seen,
    and threads may ask in any order. Arrays are kept in memory as they are first used if all of them fit, and
    memory-mapped if not, with equal results. `places` draws without cutting, for those who hold the arrays
    elsewhere.

    The fine stage of two (a plan with a locator) looks at boxes that a coarse one finds. As such a box may be wrong, a
    share of its patches is from elsewhere in the scans.

    Attributes:
        cases: the prepared cases; behind them those from elsewhere.
        window: voxels of a patch along the prepared axes; in a 2D plan one slice.
        flat: whether the plan is 2D, so that patches have no first axis.
        in_memory: whether the arrays are kept in memory.

    Args:
        cases: prepared, with labels.
        plan: gives patch, batch and dimension.
        foreground_share: of items centred on foreground, 0 to 1; nnU-Net's third.
        seed: of the order and the places.
        elsewhere: prepared places of the same scans away from the labels, `ELSEWHERE_SHARE` of the patches.

    Raises:
        DataError: no case, or one without a label.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        plan: Plan,
        *,
        foreground_share: float = 1 / 3,
        seed: int = 0,
        elsewhere: Sequence[PreparedCase] = (),
    ) -> None:
        if not cases:
            raise DataError(
                "There is no case to draw patches from; check what the fold and the failures left."
            )
        if unlabelled := [case.id for case in cases if case.label is None]:
            raise DataError(f"Case {unlabelled[0]} has no label to train on; give it one or leave it out.")
        self.cases = (*cases, *elsewhere)
        self._own = len(cases)
        self.window = (1, *plan.patch)[-3:]
        self.flat = plan.dimension == 2
        self._labels = plan.labels
        self._epoch = sum(case.crop.shape[0] for case in cases) if self.flat else len(cases)
        self._batch = plan.batch
        self._foreground_share = foreground_share
        self._seed = seed
        total = sum(case.nbytes for case in self.cases)
        self.in_memory = total <= int(_MEMORY_SHARE * available_memory())
        self._arrays: dict[int, tuple[NDArray[Any], NDArray[np.uint8]]] = {}
        self._orders: dict[int, NDArray[np.int64]] = {}
        self._lock = threading.Lock()

    @property
    def steps_per_epoch(self) -> int:
        """Batches in which every case, or in a 2D plan of volumes as many slices as there are, come up; rounded up."""
        return -(-self._epoch // self._batch)

    def batch(self, step: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """The batch of a step, from 0: image (N, C, *patch) float32 and label (N, *patch) contiguous uint8."""
        images, labels = [], []
        for place in self.places(step):
            image, label = self._open(place.case)
            images.append(_cut(image, place.start, self.window, np.float32))
            labels.append(_cut(label, place.start, self.window, np.uint8))
        breathe()
        image, label = np.stack(images), np.stack(labels)
        return (image[:, :, 0], label[:, 0]) if self.flat else (image, label)

    def places(self, step: int) -> list[Place]:
        """Where the patches of a step's batch are cut."""
        return [self._place_of(item) for item in range(step * self._batch, (step + 1) * self._batch)]

    def annotated(self, step: int, mirrored: Collection[int] = ()) -> NDArray[np.bool_] | None:
        """(N, classes): which classes were looked for in the case of each item; None where all were in all.

        Args:
            step: of the batch.
            mirrored: items of the batch whose left and right labels change places.
        """
        cases = [self.case_of(item) for item in range(step * self._batch, (step + 1) * self._batch)]
        if all(case.annotated is None for case in cases):
            return None
        names = [case.annotated for case in cases]
        for item in mirrored:
            if (drawn := names[item]) is not None:
                names[item] = self._labels.mirrored(drawn)
        judged = [self._labels.judged(drawn) for drawn in names]
        return np.array([[name in known for name in self._labels.classes] for known in judged])

    def case_of(self, item: int) -> PreparedCase:
        """The case of the item-th patch (step * batch size + place in the batch)."""
        return self.cases[self._index(item)]

    def _place_of(self, item: int) -> Place:
        index = self._index(item)
        generator = np.random.default_rng([self._seed, _PLACE, item])
        return Place(index, self._start(self.cases[index], generator))

    def _index(self, item: int) -> int:
        if self._own < len(self.cases):
            chance, which = np.random.default_rng([self._seed, _ELSEWHERE, item]).random(2)
            if chance < ELSEWHERE_SHARE:
                return self._own + int(which * (len(self.cases) - self._own))
        epoch, place = divmod(item, self._own)
        with self._lock:
            if epoch not in self._orders:
                if len(self._orders) > 4:
                    self._orders.clear()
                order = np.random.default_rng([self._seed, _ORDER, epoch]).permutation(self._own)
                self._orders[epoch] = order
            return int(self._orders[epoch][place])

    def _open(self, index: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        found = self._arrays.get(index)
        if found is None:
            image, label = self.cases[index].load(mmap=True)
            if self.in_memory:
                image, label = np.array(image), np.array(label)
                self._arrays[index] = (image, label)
            found = (image, label)
        return found

    def _start(self, case: PreparedCase, generator: np.random.Generator) -> tuple[int, ...]:
        shape = case.crop.shape
        # All numbers are drawn whether they are used or not: what one case holds moves no other's place.
        wanted, kind, which = generator.random(3)
        chance = generator.random(len(shape))
        room = [size - window for size, window in zip(shape, self.window, strict=True)]
        start = [int(share * (free + 1)) for share, free in zip(chance, room, strict=True)]
        if wanted < self._foreground_share and case.foreground:
            values = sorted(case.foreground)
            voxels = case.foreground[values[int(kind * len(values))]]
            centre = voxels[int(which * len(voxels))]
            start = [int(voxel) - window // 2 for voxel, window in zip(centre, self.window, strict=True)]
        return tuple(
            min(max(first, 0), free) if free >= 0 else -((-free) // 2)
            for first, free in zip(start, room, strict=True)
        )


def overlap(
    start: Sequence[int], window: Sequence[int], shape: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...], bool]:
    """What of an array of `shape` a window shows, where that lies in the window, and whether it fills it.

    >>> overlap((-1, 2), (4, 4), (9, 5))
    ((slice(0, 3, None), slice(2, 5, None)), (slice(1, 4, None), slice(0, 3, None)), False)
    """
    source, target, whole = [], [], True
    for first, size, length in zip(start, window, shape, strict=True):
        low, high = max(first, 0), min(first + size, length)
        source.append(slice(low, high))
        target.append(slice(low - first, high - first))
        whole &= high - low == size
    return tuple(source), tuple(target), whole


def _cut(array: NDArray[Any], start: tuple[int, ...], window: tuple[int, ...], dtype: type) -> NDArray[Any]:
    """array[..., start : start + window] as `dtype`, with zeros beyond its faces."""
    source, target, whole = overlap(start, window, array.shape[-len(window) :])
    shown: Any = (..., *source)
    if whole:
        return array[shown].astype(dtype)
    patch = np.zeros((*array.shape[: array.ndim - len(window)], *window), dtype=dtype)
    there: Any = (..., *target)
    patch[there] = array[shown]
    return patch
