"""The largest patch, finest spacing and widest network that compute and memory allow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vesal.cpus import cpu_count
from vesal.errors import UsageError, unknown_name
from vesal.planning.cost import Network
from vesal.planning.plan import total_stride
from vesal.planning.topology import Width, make_stages, rounded_up

#: Operations a second that training of 2D and 3D networks sustains. CPU: of one core; measured on two cores of a
#: virtual machine with the narrow networks, 49e9 in 2D and 25e9 in 3D, less what augmentation and validation take.
#: CUDA: nnU-Net's 128³ patches, 5.4e12 a step, take about a quarter of a second on an A100. MPS: a guess between.
#: They stand in where nothing was measured (`vesal.workflow.training.speed`).
RATES = {"cpu": {2: 40e9, 3: 20e9}, "cuda": {2: 20e12, 3: 20e12}, "mps": {2: 1e12, 3: 1e12}}
_MOST_CORES = 16

#: Steps that a budget of 20 minutes is planned for. More time is shared evenly between more steps and costlier
#: ones: both grow with its square root.
STEPS, _STEPS_BUDGET_S, _STEPS_RANGE = 1000, 1200.0, (200, 20_000)

#: The time that a CPU plan is made for where none is given.
CPU_BUDGET_S = 3600.0

#: Memory that the plan is made for where none is given or looked up (nnU-Net's target).
MEMORY_GB = 8.0

#: Of a GPU's free memory this share is planned for: the rest is for prepared data, workspaces and fragments.
#: More than the 24 GB of nnU-Net's large residual preset (Isensee et al., MICCAI 2024) brought it little.
MEMORY_SHARE = 0.75
MOST_MEMORY_GB = 24.0

#: A whole volume is taken even if its step costs this many times what a step may: whole volumes beat patches.
_WHOLE_SLACK = 2.0

#: The whole volume is the median shape and this much more: room for most of the larger cases.
WHOLE_MARGIN = 1.1

#: A patch covers at least this share of the median volume, or the spacing is coarsened where time is the limit
#: (nnU-Net makes its low-resolution stage by the same number) in steps of 3 %.
COVERAGE = 0.25
_COARSER = 1.03

#: Coarsening ends before the smallest class would have fewer voxels than this in the median case: 4 x 4 x 4.
CLASS_VOXELS = {2: 16, 3: 64}

#: Of voxels in a first patch, of the same length in mm along each axis (nnU-Net).
_FIRST_VOXELS = {2: 2048**2, 3: 256**3}

#: No axis of a patch is cut below this.
_SHORTEST = {2: 32, 3: 16}

#: Items in a batch: at least (nnU-Net), and at most in a 2D plan that time limits.
BATCH = 2
_MOST_SLICES = 8

#: A wider network of slices pays where the time buys so many steps of it (ACDC: 4,400 of a middle one 0.908, 1,150 of
#: a wide one in the same time 0.895).
_SLICE_STEPS = 4000

#: A batch shows at most this share of the data set's voxels (nnU-Net).
_DATASET_SHARE = 0.05

#: Heads of networks that are not nnU-Net's: one auxiliary output helps, more cost time.
FEW_HEADS = 2


@dataclass(frozen=True)
class Limits:
    """What a training step may cost.

    Attributes:
        device: cpu, cuda or mps.
        rate: operations a second that it sustains in training, all that goes with a step included.
        budget_s: what the plan is made for; None where time is no limit.
        steps: that the budget is planned for; 0 without one.
        operations: floating-point operations of a step; infinite without a budget.
        memory_bytes: for network and activations.
    """

    device: str
    rate: float
    budget_s: float | None
    steps: int
    operations: float
    memory_bytes: float

    @classmethod
    def of(
        cls,
        device: str,
        dimension: int,
        budget_s: float | None,
        memory_gb: float | None,
        rate: float | None = None,
    ) -> Limits:
        """From what the user gave, for networks of this dimension.

        Args:
            rate: operations a second of the whole device, measured or given; None takes `RATES`.

        Raises:
            UsageError: an unknown device, or a budget, memory or rate that is not positive.
        """
        kind = device.split(":")[0]
        if kind not in RATES:
            raise unknown_name("device", device, RATES)
        for name, value in (("budget", budget_s), ("memory", memory_gb), ("rate", rate)):
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"The {name} is {value}; give a positive number, or leave it out.")
        if rate is None:
            rate = RATES[kind][dimension] * (min(cpu_count(), _MOST_CORES) if kind == "cpu" else 1)
        memory = (MEMORY_GB if memory_gb is None else memory_gb) * 1e9
        if budget_s is None and kind == "cpu":
            budget_s = CPU_BUDGET_S
        if budget_s is None:
            return cls(kind, rate, None, 0, math.inf, memory)
        low, high = _STEPS_RANGE
        steps = round(min(max(STEPS * math.sqrt(budget_s / _STEPS_BUDGET_S), low), high))
        return cls(kind, rate, budget_s, steps, budget_s * rate / steps, memory)

    def operations_for(self, steps: int) -> float:
        """Of a step, where the budget is to buy so many."""
        return math.inf if self.budget_s is None else self.budget_s * self.rate / steps

    @property
    def bytes_per_number(self) -> int:
        """Of activations: 16 bits where mixed precision is the rule."""
        return 2 if self.device == "cuda" else 4


@dataclass(frozen=True, eq=False)
class CaseSizes:
    """The cases' extents along the network's axes, apart from any spacing.

    Attributes:
        sizes_mm: (cases, axes) of the cropped scans.
        slices: (cases,) how many slices of a 2D plan a case has; ones in 3D.
        smallest_class: mm³ (mm² in 2D: of a slice) of the smallest class in the median case, or None.
    """

    sizes_mm: NDArray[np.float64]
    slices: NDArray[np.float64]
    smallest_class: float | None

    def median(self, spacing_mm: Sequence[float]) -> tuple[int, ...]:
        """Voxels of the median case along each axis at this spacing."""
        sizes = np.median(np.round(self.sizes_mm / np.asarray(spacing_mm)), axis=0)
        return tuple(max(1, round(float(size))) for size in sizes)

    def voxels(self, spacing_mm: Sequence[float]) -> float:
        """Of all cases together."""
        return float((np.prod(self.sizes_mm / np.asarray(spacing_mm), axis=1) * self.slices).sum())


@dataclass(frozen=True)
class NetworkSpec:
    """What is asked of a network beside its size: input channels, outputs, width."""

    channels: int
    outputs: int
    width: Width = "narrow"

    def network(self, size: Sequence[int], spacing_mm: Sequence[float]) -> Network:
        """The network for patches of `size`, enlarged to a multiple of its strides."""
        stages = make_stages(size, spacing_mm, width=self.width)
        heads = max(1, len(stages) - 2)
        heads = heads if self.width == "wide" else min(heads, FEW_HEADS)
        return Network(stages, self.channels, self.outputs, heads, rounded_up(size, stages))


@dataclass(frozen=True)
class Fit:
    """A patch and its network at a spacing.

    Attributes:
        spacing_mm: along the network's axes.
        network: stages, heads, patch.
        width: of the network.
        whole: the patch holds the median case and more.
        coverage: share of the median case that a patch holds.
    """

    spacing_mm: tuple[float, ...]
    network: Network
    width: Width
    whole: bool
    coverage: float


def fit(
    sizes: CaseSizes, spacing_mm: Sequence[float], spec: NetworkSpec, limits: Limits, *, slack: float
) -> Fit:
    """The largest patch that the limits allow at this spacing.

    It begins with the median shape and a margin, in the nearest multiple of the strides that holds the median.
    Where that is too large it begins with a patch of equal sides in mm; then it cuts the axis that is largest
    relative to the median case until the step fits (nnU-Net).

    Args:
        slack: times the allowed operations that a whole volume may cost.
    """
    median = sizes.median(spacing_mm)
    dimension = len(median)
    size = [math.ceil(WHOLE_MARGIN * length) for length in median]
    equal = (_FIRST_VOXELS[dimension] * math.prod(spacing_mm)) ** (1 / dimension)
    first = [min(length, max(1, round(equal / step))) for length, step in zip(size, spacing_mm, strict=True)]
    whole = first == size
    if whole:
        total = total_stride(make_stages(size, spacing_mm, width=spec.width))
        first = [
            max(math.ceil(length / step - 0.5), -(-least // step)) * step
            for length, least, step in zip(size, median, total, strict=True)
        ]
    while True:
        network = spec.network(first, spacing_mm)
        allowed = limits.operations * (slack if whole else 1.0)
        fits = network.step_operations(BATCH) <= allowed
        if fits and network.step_bytes(BATCH, limits.bytes_per_number) <= limits.memory_bytes:
            break
        smaller = _cut(network, median)
        if smaller is None:
            break
        first, whole = smaller, False
    held = [min(1.0, size / length) for size, length in zip(network.patch, median, strict=True)]
    return Fit(tuple(spacing_mm), network, spec.width, whole, math.prod(held))


def best_fit(
    sizes: CaseSizes,
    spacing_mm: Sequence[float],
    spec: NetworkSpec,
    limits: Limits,
    *,
    coarsen: bool,
    coverage: float = COVERAGE,
) -> Fit:
    """The widest network whose patch time does not cut; else the narrow one.

    With `coarsen`, the narrow one at the finest spacing, from the wanted one on, at which its patch covers
    `coverage` of the median case, as long as the smallest class keeps its voxels.
    """
    wider: tuple[Width, ...] = ("wide", "middle")
    for width in wider:
        if (found := _uncut(sizes, spacing_mm, replace(spec, width=width), limits)) is not None:
            return found
    narrow = replace(spec, width="narrow")
    found = fit(sizes, spacing_mm, narrow, limits, slack=_WHOLE_SLACK)
    spacing = list(spacing_mm)
    while coarsen and found.coverage < coverage:
        # Fine axes first, until they are within twice the coarsest; then all (nnU-Net).
        fine = [2 * value < max(spacing) for value in spacing]
        spacing = [
            value * _COARSER if chosen or not any(fine) else value
            for value, chosen in zip(spacing, fine, strict=True)
        ]
        if sizes.smallest_class is not None:
            voxels = sizes.smallest_class / math.prod(spacing)
            if voxels < CLASS_VOXELS[len(spacing)]:
                break
        found = fit(sizes, spacing, narrow, limits, slack=_WHOLE_SLACK)
    return found


def _uncut(sizes: CaseSizes, spacing_mm: Sequence[float], spec: NetworkSpec, limits: Limits) -> Fit | None:
    """The network on the largest patch that the memory allows; None where the time does not pay for that."""
    timeless = replace(limits, operations=math.inf)
    found = fit(sizes, spacing_mm, spec, timeless, slack=1.0)
    if len(spacing_mm) == 2:
        # Slices are small and alike: a wide network that sees few of them, in a step or in all, learns less.
        allowed = limits.operations_for(max(limits.steps, _SLICE_STEPS))
        pays = found.network.step_operations(_MOST_SLICES) <= allowed
    else:
        slack = _WHOLE_SLACK if found.whole else 1.0
        pays = found.network.step_operations(BATCH) <= slack * limits.operations
    return found if pays else None


def batch_size(found: Network, voxels: float, limits: Limits) -> int:
    """Items in a step.

    Args:
        found: with its patch.
        voxels: of the whole data set, prepared.
        limits: of a step.
    """
    most = _DATASET_SHARE * voxels / math.prod(found.patch)
    weights = found.step_bytes(0, limits.bytes_per_number)
    each = found.step_bytes(1, limits.bytes_per_number) - weights
    most = min(most, (limits.memory_bytes - weights) / each, limits.operations / found.step_operations(1))
    if limits.device == "cpu":
        # Where time is short, more steps gain more than larger ones; slices are small, and alike.
        most = min(most, BATCH if len(found.patch) == 3 else _MOST_SLICES)
    return max(BATCH, int(most))


def _cut(network: Network, median: Sequence[int]) -> list[int] | None:
    """A smaller patch: one multiple of the strides less along the axis that is largest relative to the median."""
    shortest = _SHORTEST[len(median)]
    total = total_stride(network.stages)
    free = [
        axis for axis, size in enumerate(network.patch) if size - total[axis] >= min(shortest, median[axis])
    ]
    if not free:
        return None
    longest = max(free, key=lambda axis: (network.patch[axis] / median[axis], network.patch[axis]))
    return [size - total[axis] * (axis == longest) for axis, size in enumerate(network.patch)]
