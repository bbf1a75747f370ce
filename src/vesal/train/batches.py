"""Training batches: cut on the CPU, or on the device that trains, and augmented, ahead of their use."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vesal.augment.policy import Policy
from vesal.augment.random_parameters import to_device
from vesal.nn.cpu.threads import compute_alone
from vesal.parallel import read_ahead
from vesal.preprocessing.patches import PatchSampler, overlap

#: Batches that are made ahead of their use.
_AHEAD = 2

#: Share of the GPU's free memory that the cases may take; plans leave a quarter (MEMORY_SHARE there).
_MEMORY_SHARE = 0.2


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

    def tensors(self) -> list[Tensor]:
        """All that there are."""
        return [tensor for tensor in (self.image, self.label, self.annotated) if tensor is not None]


class DeviceCache:
    """All prepared cases of a sampler in the memory of the device that trains, cut there.

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


def cases_on_device(
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


@dataclass(frozen=True, eq=False)
class BatchMaker:
    """Batches by number; each is a function of seed and number alone.

    Attributes:
        sampler: draws the places, and cuts them where the cases are not on the device.
        policy: the augmentation.
        device: that trains.
        seed: of the augmentation.
        accumulation: batches of one optimizer step.
        device_cache: the cases on the device, if they are there.
        memory_format: of the images; None leaves it.
    """

    sampler: PatchSampler
    policy: Policy
    device: torch.device
    seed: int = 0
    accumulation: int = 1
    device_cache: DeviceCache | None = None
    memory_format: torch.memory_format | None = None

    def cut(self, number: int) -> Batch:
        """The patches as they are: on the device if the cases are, else on the CPU."""
        known = self._annotated(number)
        if self.device_cache is not None:
            return Batch(*self.device_cache.batch(number), known)
        image, label = (torch.from_numpy(array) for array in self.sampler.batch(number))
        if self.device.type == "cuda":
            # Only from pinned memory a copy runs beside the computation.
            image, label = image.pin_memory(), label.pin_memory()
        return Batch(image, label, known)

    def vary(self, batch: Batch, number: int) -> Batch:
        """The batch of that number on the device, augmented."""
        image, label = to_device(batch.image, self.device), to_device(batch.label, self.device)
        place = divmod(number, self.accumulation)
        entropy = np.random.SeedSequence([self.seed, *place]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(entropy >> np.uint64(1)))
        parameters = self.policy.draw(image.shape[0], tuple(image.shape[2:]), generator)
        image, label = parameters.apply(image, label)
        annotated = batch.annotated
        if annotated is not None and parameters.mirror is not None:
            # Where a left organ becomes a right one, so does what was looked for.
            annotated = self._annotated(number, parameters.mirror.swapped)
        annotated = None if annotated is None else to_device(annotated, self.device)
        if self.memory_format is not None:
            # Not contiguous(): of a single channel it changes nothing.
            image = image.to(memory_format=self.memory_format)
        return Batch(image, label, annotated)

    def _annotated(self, number: int, mirrored: Collection[int] = ()) -> Tensor | None:
        found = self.sampler.annotated(number, mirrored)
        return None if found is None else torch.from_numpy(found)


@contextlib.contextmanager
def prefetched(maker: BatchMaker, first: int, step: int = 1) -> Iterator[Iterator[Batch]]:
    """Batches from number `first` on, every `step`-th, ready to train on.

    A thread works two batches ahead: it cuts and augments them. Where a GPU trains, in a stream of its own beside that
    of the network; where the CPU trains, by itself, for operations as small as these lose more by threads that wait for
    each other than they gain.
    """
    if maker.device.type != "cuda":

        def alone(number: int) -> Batch:
            compute_alone()
            return maker.vary(maker.cut(number), number)

        with contextlib.closing(read_ahead(alone, itertools.count(first, step), _AHEAD)) as batches:
            yield batches
        return
    stream = torch.cuda.Stream(maker.device)

    def make(number: int) -> tuple[Batch, torch.cuda.Event]:
        with torch.cuda.stream(stream):
            batch = maker.vary(maker.cut(number), number)
            made = torch.cuda.Event()
            made.record(stream)
        return batch, made

    def join(batch: Batch, made: torch.cuda.Event) -> Batch:
        training = torch.cuda.current_stream(maker.device)
        training.wait_event(made)
        for tensor in batch.tensors():
            # Their memory may be given away once both streams are through with them.
            tensor.record_stream(training)
        return batch

    with contextlib.closing(read_ahead(make, itertools.count(first, step), _AHEAD)) as ready:
        yield itertools.starmap(join, ready)
