"""Networks of recipes: name, dimension and parameter count of every recipe's network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vesal.data.fingerprint import CaseRecord, ChannelStatistics, Fingerprint, fingerprint
from vesal.data.labels import LabelSet
from vesal.errors import UsageError
from vesal.layouts.registry import load_dataset
from vesal.nn.zoo import count_trainable
from vesal.parallel import Progress
from vesal.planning.planner import make_plan
from vesal.record import Record
from vesal.train.recipe import load_recipe, recipe_names


def _typical(
    name: str,
    channels: tuple[str, ...],
    values: dict[str, int],
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    regions: Mapping[str, tuple[str, ...]] | None = None,
) -> tuple[Fingerprint, LabelSet]:
    """The data set that a recipe was written for, as far as its network depends on it: one scan, in RAS axes."""
    labels = LabelSet.from_values({"background": 0, **values}, regions=regions or {})
    statistics = ChannelStatistics(
        minimum=0.0,
        maximum=1.0,
        mean=0.5,
        std=0.25,
        percentiles=(0.0, 0.5, 1.0),
        foreground_samples=(0.0, 1.0),
    )
    record = CaseRecord(
        id="typical",
        patient="typical",
        shape=shape,
        spacing_mm=spacing_mm,
        axis_codes="RAS",
        affine=tuple(map(tuple, np.diag([*spacing_mm, 1.0]).tolist())),
        ras_shape=shape,
        ras_spacing_mm=spacing_mm,
        crop_shape=shape,
        label_shape=shape,
        label_distance_mm=0.0,
        voxels=dict.fromkeys(labels.names, math.prod(shape) // 20),
        undeclared=(),
        nan_voxels=0,
        image_digest="",
        voxel_volume_mm3=math.prod(spacing_mm),
        channels=(statistics,) * len(channels),
    )
    return Fingerprint(dataset=name, channels=channels, cases=(record,)), labels


_HEART = _typical("MSD Task02_Heart", ("MRI",), {"left atrium": 1}, (320, 320, 110), (1.25, 1.25, 1.37))
_BRATS = _typical(
    "BraTS 2021",
    ("FLAIR", "T1", "T1ce", "T2"),
    {"necrotic core": 1, "oedema": 2, "enhancing tumour": 4},
    (138, 170, 140),
    (1.0, 1.0, 1.0),
    {
        "whole tumour": ("necrotic core", "oedema", "enhancing tumour"),
        "tumour core": ("necrotic core", "enhancing tumour"),
        "enhancing tumour": ("enhancing tumour",),
    },
)

#: Recipe -> the data of its origin.
TYPICAL_DATA: dict[str, tuple[Fingerprint, LabelSet]] = {
    "auto": _typical(
        "MSD Task04_Hippocampus", ("MRI",), {"anterior": 1, "posterior": 2}, (35, 50, 36), (1.0, 1.0, 1.0)
    ),
    "heart-monai": _HEART,
    "heart-unet3d": _HEART,
    "lung-attention-2d": _typical(
        "MSD Task06_Lung", ("CT",), {"cancer": 1}, (512, 512, 252), (0.79, 0.79, 1.24)
    ),
    "acdc-robust": _typical(
        "ACDC", ("MRI",), {"RV": 1, "Myo": 2, "LV": 3}, (216, 256, 9), (1.5625, 1.5625, 10.0)
    ),
    "brats-nvidia": _BRATS,
}


class NetworkRow(Record):
    """A recipe's network.

    Attributes:
        recipe, network: names.
        dimension: 2 or 3.
        parameters: trainable; None where it needs a library that is not installed.
        data: that it was counted for.
        remark: why there is no count, or where the sizes come from.
    """

    recipe: str
    network: str
    dimension: int
    parameters: int | None
    data: str
    remark: str = ""


def list_networks(data: Path | None = None, *, progress: Progress | None = None) -> list[NetworkRow]:
    """A row a recipe: for the data set in the folder `data`, or for the data of each recipe's origin."""
    given: tuple[Fingerprint, LabelSet] | None = None
    if data is not None:
        dataset = load_dataset(data)
        given = fingerprint(dataset, progress=progress), dataset.labels
    rows = []
    for name in recipe_names():
        config = load_recipe(name)
        record, labels = given or TYPICAL_DATA[name]
        plan = make_plan(record, labels, config.plan, budget_s=config.budget_s)
        try:
            parameters, remark = count_trainable(config.network, plan), ""
        except UsageError as error:
            # An extra that is not installed: the other rows are still of use.
            parameters, remark = None, str(error)
        rows.append(
            NetworkRow(
                recipe=name,
                network=config.network,
                dimension=plan.dimension,
                parameters=parameters,
                data=record.dataset,
                remark=remark,
            )
        )
    return rows
