"""Small networks that name their weights as nnU-Net's do, and whole folders of such models, written without nnU-Net."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

CONVOLUTION: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
UPSAMPLING: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
POOLING: dict[int, Any] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
INSTANCE: dict[int, Any] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
BATCH: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


@dataclass(frozen=True)
class Kind:
    """What convolutions are followed by, and whether they have biases."""

    norm: Any
    bias: bool


class Convolved(nn.Module):
    def __init__(
        self,
        size: tuple[int, int],
        kernel: Sequence[int],
        stride: Sequence[int],
        *,
        kind: Kind,
        bias: bool = True,
        act: bool = True,
    ) -> None:
        super().__init__()
        dimension = len(kernel)
        padding = [(side - 1) // 2 for side in kernel]
        self.conv = CONVOLUTION[dimension](
            *size, tuple(kernel), tuple(stride), padding, bias=bias and kind.bias
        )
        self.norm = kind.norm[dimension](size[1], eps=1e-5, affine=True)
        self.all_modules = nn.Sequential(self.conv, self.norm, *([nn.LeakyReLU(0.01)] * act))

    def forward(self, x: Tensor) -> Tensor:
        return self.all_modules(x)


class Stacked(nn.Module):
    def __init__(
        self,
        count: int,
        size: tuple[int, int],
        kernel: Sequence[int],
        stride: Sequence[int],
        kind: Kind,
    ) -> None:
        super().__init__()
        ones = [1] * len(kernel)
        rest = [Convolved((size[1], size[1]), kernel, ones, kind=kind) for _ in range(count - 1)]
        self.convs = nn.Sequential(Convolved(size, kernel, stride, kind=kind), *rest)

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(x)


class Block(nn.Module):
    def __init__(
        self, size: tuple[int, int], kernel: Sequence[int], stride: Sequence[int], kind: Kind
    ) -> None:
        super().__init__()
        ones = [1] * len(kernel)
        self.conv1 = Convolved(size, kernel, stride, kind=kind)
        self.conv2 = Convolved((size[1], size[1]), kernel, ones, kind=kind, act=False)
        steps: list[nn.Module] = []
        if list(stride) != ones:
            steps.append(POOLING[len(kernel)](tuple(stride), tuple(stride)))
        if size[0] != size[1]:
            steps.append(Convolved(size, ones, ones, kind=kind, bias=False, act=False))
        self.skip = nn.Sequential(*steps)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(self.conv2(self.conv1(x)) + self.skip(x), 0.01)


class Blocks(nn.Module):
    def __init__(self, blocks: list[Block]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class Encoder(nn.Module):
    def __init__(self, kwargs: dict[str, Any], channels: int, residual: bool, kind: Kind) -> None:
        super().__init__()
        features, kernels, strides = (
            kwargs[name] for name in ("features_per_stage", "kernel_sizes", "strides")
        )
        stages: list[nn.Module] = []
        if residual:
            self.stem = Stacked(1, (channels, features[0]), kernels[0], strides[0], kind)
            channels = features[0]
        for level, (width, kernel, stride) in enumerate(zip(features, kernels, strides, strict=True)):
            if residual:
                count = kwargs["n_blocks_per_stage"][level]
                ones = [1] * len(kernel)
                more = [Block((width, width), kernel, ones, kind) for _ in range(count - 1)]
                stages.append(Blocks([Block((channels, width), kernel, stride, kind), *more]))
            else:
                count = kwargs["n_conv_per_stage"][level]
                stages.append(nn.Sequential(Stacked(count, (channels, width), kernel, stride, kind)))
            channels = width
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x) if hasattr(self, "stem") else x
        skips = []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        return skips


class Decoder(nn.Module):
    def __init__(self, encoder: Encoder, kwargs: dict[str, Any], outputs: int, kind: Kind) -> None:
        super().__init__()
        self.encoder = encoder
        features, kernels, strides = (
            kwargs[name] for name in ("features_per_stage", "kernel_sizes", "strides")
        )
        dimension = len(kernels[0])
        self.stages, self.transpconvs, self.seg_layers = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for place in range(1, len(features)):
            below, width, step = features[-place], features[-place - 1], tuple(strides[-place])
            self.transpconvs.append(UPSAMPLING[dimension](below, width, step, step, bias=kwargs["conv_bias"]))
            count = kwargs["n_conv_per_stage_decoder"][place - 1]
            ones = [1] * dimension
            self.stages.append(Stacked(count, (2 * width, width), kernels[-place - 1], ones, kind))
            self.seg_layers.append(CONVOLUTION[dimension](width, outputs, 1, 1, 0, bias=True))

    def forward(self, skips: list[Tensor]) -> Tensor:
        x = skips[-1]
        for place, (stage, up) in enumerate(zip(self.stages, self.transpconvs, strict=True)):
            x = stage(torch.cat((up(x), skips[-place - 2]), 1))
        return self.seg_layers[-1](x)


class TheirNetwork(nn.Module):
    """With random weights, norms and running statistics included; in eval mode."""

    def __init__(
        self,
        kwargs: dict[str, Any],
        channels: int,
        outputs: int,
        *,
        residual: bool = False,
        norm: Any = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        kind = Kind(norm or INSTANCE, kwargs["conv_bias"])
        torch.manual_seed(seed)
        self.encoder = Encoder(kwargs, channels, residual, kind)
        self.decoder = Decoder(self.encoder, kwargs, outputs, kind)
        for name, tensor in self.state_dict().items():
            if name.endswith(("norm.weight", "running_var")):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith(("bias", "running_mean")):
                tensor.normal_(0.0, 0.2)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


def kwargs_of(
    dimension: int, *, residual: bool = False, features: Sequence[int] = (4, 8, 8), decoder: int = 1
) -> dict[str, Any]:
    """`arch_kwargs` of a small network whose first stages are flat along the first axis, as of thick slices."""
    count = len(features)
    kernels = [
        [1 if axis == 0 and level == 0 and dimension == 3 else 3 for axis in range(dimension)]
        for level in range(count)
    ]
    strides = [
        [1 if level == 0 or (axis == 0 and level == 1 and dimension == 3) else 2 for axis in range(dimension)]
        for level in range(count)
    ]
    blocks = "n_blocks_per_stage" if residual else "n_conv_per_stage"
    return {
        "n_stages": count,
        "features_per_stage": list(features),
        "conv_op": f"torch.nn.modules.conv.Conv{dimension}d",
        "kernel_sizes": kernels,
        "strides": strides,
        blocks: [1, *([2] * (count - 1))],
        "n_conv_per_stage_decoder": [decoder] * (count - 1),
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimension}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }  # fmt: skip


def plans_of(
    configuration: str = "3d_fullres",
    *,
    residual: bool = False,
    forward: Sequence[int] = (0, 1, 2),
    **changes: Any,
) -> dict[str, Any]:
    """`plans.json` of a small data set, axes (z, y, x); `changes` are of the configuration."""
    dimension = 2 if configuration == "2d" else 3
    name = "unet.ResidualEncoderUNet" if residual else "unet.PlainConvUNet"
    found = {
        "data_identifier": "nnUNetPlans_" + configuration,
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [8, 16, 16][-dimension:],
        "median_image_size_in_voxels": [12.0, 24.0, 20.0][-dimension:],
        "spacing": [2.0, 1.0, 1.0][-dimension:],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {
            "is_seg": False,
            "order": 1,
            "order_z": 0,
            "force_separate_z": None,
        },
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.{name}",
            "arch_kwargs": kwargs_of(dimension, residual=residual),
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": False,
    } | changes
    return {
        "dataset_name": "Dataset099_Tiny",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [2.0, 1.0, 1.0],
        "original_median_shape_after_transp": [12, 24, 20],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": list(forward),
        "transpose_backward": np.argsort(forward).tolist(),
        "configurations": {configuration: found},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            channel: {"mean": 90.0, "std": 40.0, "percentile_00_5": 10.0, "percentile_99_5": 200.0}
            for channel in ("0", "1")
        },
    }


def cascade_of(
    *,
    lowres: dict[str, Any] | None = None,
    cascade: dict[str, Any] | None = None,
    residual: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """`plans.json` of a cascade, as nnU-Net's planner writes it: three configurations, of which the last inherits.

    Args:
        lowres, cascade: changes of the first and the second stage.
        residual: both stages are residual encoders.
        more: as of `plans_of`, of 3d_fullres.
    """
    plans = plans_of(residual=residual, **more)
    changes = {"spacing": [4.0, 2.0, 2.0], "patch_size": [4, 8, 8], **(lowres or {})}
    kept = ("normalization_schemes", "use_mask_for_norm")
    changes = {name: more[name] for name in kept if name in more} | changes
    low = plans_of("3d_lowres", residual=residual, **changes)["configurations"]["3d_lowres"]
    plans["configurations"] |= {
        "3d_lowres": low | {"next_stage": "3d_cascade_fullres"},
        "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
        | (cascade or {}),
    }
    return plans


def dataset_of(labels: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """`dataset.json`."""
    return {
        "channel_names": {"0": "MRI"},
        "labels": labels or {"background": 0, "shell": 1, "core": 2},
        "numTraining": 4,
        "file_ending": ".nii.gz",
        "licence": "CC BY-SA 4.0",
        "reference": "Tiny University",
    } | more


def write_folder(
    folder: Path,
    plans: dict[str, Any],
    dataset: dict[str, Any],
    networks: dict[str, nn.Module],
    *,
    mirror_axes: tuple[int, ...] | None = (0, 1),
    checkpoint: str = "final",
    configuration: str | None = None,
    **more: Any,
) -> Path:
    """A folder TRAINER__PLANS__CONFIGURATION as nnU-Net's trainer leaves it.

    Args:
        networks: name of a fold -> its network.
        configuration: of the plans; their only one if None.
        more: goes into every checkpoint.
    """
    if configuration is None:
        (configuration,) = plans["configurations"]
    folder /= f"nnUNetTrainer__nnUNetPlans__{configuration}"
    for name, network in networks.items():
        (folder / f"fold_{name}").mkdir(parents=True, exist_ok=True)
        held = {
            "network_weights": network.state_dict(),
            "optimizer_state": {"state": {}, "param_groups": [{"lr": np.float64(0.01)}]},
            "grad_scaler_state": None,
            "logging": {"mean_fg_dice": [np.float64(0.5), np.float32(0.6)], "array": np.arange(3)},
            "_best_ema": np.float64(0.55),
            "current_epoch": 2,
            "init_args": {
                "plans": plans,
                "configuration": configuration,
                "fold": name,
                "dataset_json": dataset,
                "device": torch.device("cpu"),
            },
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": mirror_axes,
        }
        torch.save(held | more, folder / f"fold_{name}" / f"checkpoint_{checkpoint}.pth")
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    return folder


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)
