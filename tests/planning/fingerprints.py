"""Fingerprints of made-up data sets of the usual kinds."""

from __future__ import annotations

import math

import numpy as np

from vesal.data.fingerprint import CaseRecord, ChannelStatistics, Fingerprint
from vesal.data.labels import LabelSet

LABELS = LabelSet.from_values({"background": 0, "organ": 1, "tumour": 2})


def record(number: int, shape, spacing, *, crop=None, voxels=None, channels=1, samples=()) -> CaseRecord:
    one = ChannelStatistics(
        minimum=0, maximum=9, mean=4, std=2, percentiles=(0, 4, 9), foreground_samples=tuple(samples)
    )
    ndim = len(shape)
    return CaseRecord(
        id=f"case_{number}",
        patient=f"case_{number}",
        shape=shape,
        spacing_mm=spacing,
        axis_codes="RAS"[: ndim if ndim == 3 else 0],
        affine=tuple(map(tuple, np.diag([*spacing, 1.0]).tolist())),
        ras_shape=shape,
        ras_spacing_mm=spacing,
        crop_shape=crop or shape,
        label_shape=shape,
        label_distance_mm=0.0,
        voxels=voxels or {"organ": math.prod(shape) // 4, "tumour": math.prod(shape) // 8},
        undeclared=(),
        nan_voxels=0,
        image_digest=str(number),
        voxel_volume_mm3=math.prod(spacing),
        channels=(one,) * channels,
    )


def prints(shape, spacing, *, cases: int = 10, names: tuple[str, ...] = ("MRI",), **more) -> Fingerprint:
    records = tuple(record(i, shape, spacing, channels=len(names), **more) for i in range(cases))
    return Fingerprint(dataset="set", channels=names, cases=records)


HIPPOCAMPUS = prints((35, 50, 36), (1.0, 1.0, 1.0), cases=200)
HEART = prints((320, 320, 120), (1.25, 1.25, 1.37), cases=12)
SHORT_AXIS = prints((223, 255, 10), (1.5625, 1.5625, 10.0), cases=80)
PROSTATE = prints((320, 320, 15), (0.625, 0.625, 4.0), names=("T2", "ADC"))
ABDOMEN = prints((512, 512, 400), (0.8, 0.8, 1.0), names=("CT",), samples=(-50.0, 20.0, 40.0, 60.0, 300.0))
PHOTOS = prints((480, 640), (1.0, 1.0), names=("red", "green", "blue"))

KINDS = {
    "hippocampus": HIPPOCAMPUS,
    "heart": HEART,
    "short-axis": SHORT_AXIS,
    "prostate": PROSTATE,
    "abdomen": ABDOMEN,
    "photos": PHOTOS,
    "one-case": prints((60, 70, 80), (1.0, 1.0, 1.0), cases=1),
    "tiny": prints((5, 6, 7), (1.0, 1.0, 1.0), cases=2),
}
