"""A small model, scans and windows for it, and a mark for tests that need OpenVINO."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from torch import Tensor

from vesal.data.labels import LabelSet
from vesal.infer.model import Model
from vesal.infer.quality.calibrate import HeldOutScan, calibrate
from vesal.infer.quality.image_features import image_features
from vesal.infer.quality.network_features import Features
from vesal.infer.quality.quality_model import Calibration
from vesal.nn.model_file import Package
from vesal.nn.zoo import build_network
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.volume.geometry import Geometry
from vesal.volume.volume import Volume

CPU = torch.device("cpu")
needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None,
    reason="OpenVINO is not installed (pip install 'vesal[openvino]')",
)
LABELS = LabelSet.from_values({"dim": 3, "bright": 9})


def plan(**changes: object) -> Plan:
    dimension = int(str(changes.get("dimension", 3)))
    stages = tuple(
        Stage(features=f, kernel=(3,) * dimension, stride=(s,) * dimension)
        for f, s in ((8, 1), (16, 2), (16, 2))
    )
    values: dict[str, object] = {
        "dimension": dimension,
        "slice_axis": None if dimension == 3 else 2,
        "spacing_mm": (1.0,) * dimension,
        "patch": (24, 32, 24)[:dimension],
        "batch": 1,
        "stages": stages,
        "normalisation": (Normalisation(scheme="zscore"),),
        "mirror_axes": (0,),
        "channels": ("MRI",),
        "labels": LABELS,
        "median_shape": (40,) * dimension,
    }
    return Plan.model_validate(values | changes)


def package(made: Plan, name: str = "unet", seed: int = 3) -> Package:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build_network(name, made)
        for parameter in network.parameters():
            if parameter.ndim == 1:
                # Norms that scale and shift, gates and shortcuts that do something.
                parameter.data += 0.2 * torch.randn_like(parameter)
    return Package(made, name, {}, {}, network.state_dict())


def scan(seed: int = 0, shape: tuple[int, ...] = (30, 40, 26)) -> Volume:
    array = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    for axis in range(3):
        array = array + np.roll(array, 1, axis) + np.roll(array, 2, axis)
    return Volume(array[None], Geometry.from_spacing(shape, (1.0,) * 3))


def window(made: Plan, count: int = 2) -> Tensor:
    return torch.randn((count, 1, *made.patch), generator=torch.Generator().manual_seed(5))


def calibration_of(model: Model, volume: Volume, fold: int = 0) -> Calibration:
    """A quality model as if it were fitted to scans like this one: its features, each a little off."""
    prepared, windows = model.prepare(volume), model.windows()
    recorder = model.feature_recorder(windows)
    label = model.segment(prepared, windows, recorder=recorder)
    found = model.labels.encode(label.array)
    real = recorder.features(image_features(volume, prepared), found, label.geometry)
    generator = np.random.default_rng(0)

    def off(values: dict[str, float]) -> dict[str, float]:
        return {name: value + generator.normal(0, 0.3) for name, value in values.items()}

    held_out = []
    for number in range(24):
        for artifact in (None, "noise"):
            features = Features(
                {name: off(values) for name, values in real.groups.items()},
                [off(values) for values in real.networks],
                [values + generator.normal(0, 0.3, values.shape) for values in real.encoders],
            )
            dice = {name: float(generator.uniform(0.5, 0.95)) for name in model.labels.classes}
            held_out.append(HeldOutScan(f"case_{number}", fold, artifact, features, dice))
    calibrations, _ = calibrate(held_out, model.labels.classes, 1.3)
    return calibrations[fold]
