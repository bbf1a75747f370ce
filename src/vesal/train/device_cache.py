"""Prepared cases in the memory of the device that trains, and patches cut there: no loader at all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vesal.preprocessing.patches import PatchSampler, overlap

#: Share of the GPU's free memory that the cases may take; plans leave a quarter (MEMORY_SHARE there).
_MEMORY_SHARE = 0.2


class DeviceCache:
    """All cases of a sampler, cut where it says.

    Images keep the type that they have in the cache (float16 as a rule), so that twice as many fit.

    Args:
        sampler: whose cases are taken, and whose places are cut.
        device: where to.

    Raises:
        VesalError: the prepared files are gone or damaged.
        torch.OutOfMemoryError: they do not fit.
    """

    def __init__(self, sampler: PatchSampler, device: torch.device) -> None:
        self._sampler = sampler
        self._device = device
        self._cases = []
        for case in sampler.cases:
            image, label = case.load(mmap=True)
            self._cases.append(tuple(torch.from_numpy(np.array(of)).to(device) for of in (image, label)))

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """What `PatchSampler.batch` gives for this step, to the bit, on the device."""
        places, window = self._sampler.places(step), self._sampler.window
        cuts = [overlap(at.start, window, self._cases[at.case][1].shape) for at in places]
        empty = torch.empty if all(fills for _, _, fills in cuts) else torch.zeros
        channels = self._cases[0][0].shape[0]
        image = empty((len(places), channels, *window), dtype=torch.float32, device=self._device)
        label = empty((len(places), *window), dtype=torch.uint8, device=self._device)
        for row, (at, (source, target, _)) in enumerate(zip(places, cuts, strict=True)):
            from_image, from_label = self._cases[at.case]
            image[row][:, *target] = from_image[:, *source]
            label[row][target] = from_label[source]
        return (image[:, :, 0], label[:, 0]) if self._sampler.flat else (image, label)


def device_cache(
    sampler: PatchSampler, device: torch.device, wanted: bool | None, tell: Callable[[str], None]
) -> DeviceCache | None:
    """The cases on the device, or None where they are to be cut by the CPU.

    Args:
        sampler: of the cases.
        device: that trains.
        wanted: None where memory decides, and a CPU, whose sampler keeps them itself, is left alone.
        tell: takes one line.
    """
    total = sum(case.nbytes for case in sampler.cases)
    size = f"{total / 1e9:.2f} GB of prepared cases"
    if wanted is False or (wanted is None and device.type != "cuda"):
        return None
    if wanted is None:
        free, _ = torch.cuda.mem_get_info(device)
        if total > _MEMORY_SHARE * free:
            tell(f"{size} stay on the CPU: {free / 1e9:.1f} GB of the GPU's memory are free.")
            return None
    try:
        cases = DeviceCache(sampler, device)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        tell(f"{size} stay on the CPU: the GPU's memory is not enough for them.")
        return None
    if device.type == "cuda":
        tell(f"{size} are kept in the GPU's memory; patches are cut there.")
    return cases
