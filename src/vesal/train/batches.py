"""Training batches, cut ahead of their use."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from vesal.data.patches import PatchSampler


@dataclass(frozen=True, eq=False)
class Batch:
    """One forward pass.

    Attributes:
        image: (N, C, *patch) float32.
        label: (N, *patch) contiguous uint8.
        annotated: (N, classes) bool, which classes were looked for; None where all were.
    """

    image: Tensor
    label: Tensor
    annotated: Tensor | None


@contextmanager
def prefetched(sampler: PatchSampler, first: int) -> Iterator[Iterator[Batch]]:
    """Batches from number `first` on, two ahead of their use, cut by a thread of their own."""

    def cut(number: int) -> Batch:
        image, label = sampler.batch(number)
        annotated = sampler.annotated(number)
        return Batch(
            torch.from_numpy(image),
            torch.from_numpy(label),
            None if annotated is None else torch.from_numpy(annotated),
        )

    with ThreadPoolExecutor(1) as pool:

        def batches() -> Iterator[Batch]:
            ahead: list[Future[Batch]] = [pool.submit(cut, first + i) for i in range(2)]
            number = first + 2
            while True:
                ready = ahead.pop(0).result()
                ahead.append(pool.submit(cut, number))
                number += 1
                yield ready

        yield batches()
