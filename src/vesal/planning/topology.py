"""The stages of the network: strides, kernels and features, by nnU-Net's rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from vesal.planning.plan import Stage, total_stride

#: An axis is halved while it has at least this many voxels left, so that it keeps half of them (nnU-Net).
HALVED_FROM = 8

#: The last axis to be halved alone needs this many: its bottleneck would be narrow otherwise (nnU-Net).
_ALONE_FROM = 12

#: Spacings within this factor of the smallest count as equal (nnU-Net).
_ALIKE = 2.0

#: The widths of networks, widest first.
Width = Literal["wide", "middle", "narrow"]

#: Features of the first stage. Those of nnU-Net double from stage to stage; the others go on with 32, for the first
#: stage computes most and gains least.
FIRST_FEATURES: dict[Width, int] = {"wide": 32, "middle": 16, "narrow": 8}
_SECOND = 32

#: Features double to this cap, by dimension: nnU-Net's, and a lower one where there is less compute.
_WIDE_CAP = {2: 512, 3: 320}
_CAP = 256

#: In networks of slices with more stages than the first number, where halving an axis saves too little to pay for deep
#: features, the second is the cap. With five stages 256 features gain 0.01 in validation (ACDC).
_DEEP_SLICES, _DEEP_SLICES_CAP = 5, 128


def strides_and_kernels(
    patch: Sequence[int], spacing_mm: Sequence[float]
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """(strides, kernels) of the stages for a patch, which need not be a multiple of the strides yet.

    An axis is halved while it has at least 8 voxels (12 if no other axis is halved with it) and its spacing is less
    than twice the smallest of those that can be halved; its kernel is 1 until its spacing is within a factor of 2 of
    the smallest, then 3.

    >>> strides_and_kernels((40, 56, 40), (1.0, 1.0, 1.0))[0]
    [(1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)]
    >>> strides, kernels = strides_and_kernels((64, 64, 8), (1.0, 1.0, 3.0))
    >>> strides[:3], kernels[:3]
    ([(1, 1, 1), (2, 2, 1), (2, 2, 2)], [(3, 3, 1), (3, 3, 3), (3, 3, 3)])
    """
    size, spacing = list(patch), list(spacing_mm)
    axes = range(len(size))
    kernel = [1] * len(size)
    strides, kernels = [(1,) * len(size)], []
    while True:
        smallest = min(spacing)
        kernel = [
            3 if before == 3 or value < _ALIKE * smallest else 1
            for before, value in zip(kernel, spacing, strict=True)
        ]
        kernels.append(tuple(kernel))
        long = [axis for axis in axes if size[axis] >= HALVED_FROM]
        finest = min((spacing[axis] for axis in long), default=0.0)
        halved = [axis for axis in long if spacing[axis] < _ALIKE * finest]
        if not halved or (len(halved) == 1 and size[halved[0]] < _ALONE_FROM):
            break
        for axis in halved:
            size[axis] = -(-size[axis] // 2)
            spacing[axis] *= 2
        strides.append(tuple(2 if axis in halved else 1 for axis in axes))
    # The bottleneck sees all axes whatever their spacing (nnU-Net).
    if len(kernels) > 1:
        kernels[-1] = (3,) * len(size)
    return strides, kernels


def make_stages(patch: Sequence[int], spacing_mm: Sequence[float], *, width: Width) -> tuple[Stage, ...]:
    """The encoder's stages for a patch.

    >>> [stage.features for stage in make_stages((64, 64, 64), (1.0, 1.0, 1.0), width="middle")]
    [16, 32, 64, 128, 256]
    """
    dimension = len(patch)
    strides, kernels = strides_and_kernels(patch, spacing_mm)
    first = FIRST_FEATURES[width]
    if width == "wide":
        features = [min(first << depth, _WIDE_CAP[dimension]) for depth in range(len(strides))]
    else:
        deep = dimension == 2 and len(strides) > _DEEP_SLICES
        cap = _DEEP_SLICES_CAP if deep else _CAP
        deeper = [min(_SECOND << depth, cap) for depth in range(len(strides) - 1)]
        features = [first, *deeper]
    return tuple(
        Stage(features=count, kernel=kernel, stride=stride)
        for count, kernel, stride in zip(features, kernels, strides, strict=True)
    )


def rounded_up(patch: Sequence[int], stages: Sequence[Stage]) -> tuple[int, ...]:
    """The patch enlarged to multiples of the product of the strides."""
    return tuple(-(-size // step) * step for size, step in zip(patch, total_stride(stages), strict=True))


def named_stages(features: Sequence[int], patch: Sequence[int]) -> tuple[Stage, ...]:
    """Stages of the given features, with kernels of 3, each at half the size of the one before.

    An axis is halved as long as two voxels of the patch are left, which an instance norm needs.

    >>> [stage.stride for stage in named_stages((16, 32, 64), (64, 6))]
    [(1, 1), (2, 2), (2, 1)]
    """
    size = list(patch)
    stages = []
    for depth, count in enumerate(features):
        stride = tuple(2 if depth and length >= 4 else 1 for length in size)
        size = [-(-length // step) for length, step in zip(size, stride, strict=True)]
        stages.append(Stage(features=count, kernel=(3,) * len(size), stride=stride))
    return tuple(stages)
