"""A plan of Vesal's as nnU-Net's `plans.json` and `dataset.json`: nnU-Net then prepares and predicts as Vesal does."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from vesal.errors import UsageError
from vesal.nn.nnunet.plans_reader import painted_alike
from vesal.planning.axes import lateral_axis, mirror_axes
from vesal.planning.plan import Normalisation, Plan

#: Vesal's networks that nnU-Net has, its names of them and of the number of their convolutions.
NETWORKS = {
    "unet": ("unet.PlainConvUNet", "n_conv_per_stage"),
    "residual-unet": ("unet.ResidualEncoderUNet", "n_blocks_per_stage"),
}
TRAINER = "nnUNetTrainer"
_NORMS = {"instance": "instancenorm.InstanceNorm", "batch": "batchnorm.BatchNorm"}


def configuration_name(plan: Plan) -> str:
    """What nnU-Net calls such a configuration."""
    return "2d" if plan.dimension == 2 else "3d_fullres"


def require_expressible(plan: Plan, network: str) -> None:
    """Find out whether nnU-Net can do what a plan asks for.

    Raises:
        UsageError: it cannot, and why.
    """
    if reason := next(itertools.chain(_other_networks(plan, network), _other_steps(plan)), None):
        raise UsageError(f"nnU-Net cannot predict with this model: {reason}.")


def _other_networks(plan: Plan, network: str) -> Iterator[str]:
    if network not in NETWORKS:
        yield f"it has no network {network}, only {' and '.join(NETWORKS)}"
    if plan.norm not in _NORMS:
        yield f"its networks have {' or '.join(_NORMS)} norm, not {plan.norm}"
    if plan.activation != "leaky_relu":
        yield f"its networks have leaky ReLU, not {plan.activation}"
    if plan.pooling:
        yield "its networks go down by strides, not by max pooling"


def _other_steps(plan: Plan) -> Iterator[str]:
    if plan.takes_masks:
        yield "a folder of its holds one stage of a cascade, and this model both; take the folders it was imported from"
    elif plan.locator is not None:
        yield "it has no stage that finds the place first; train with plan.locate=false"
    if plan.foreground_channel:
        yield "it knows no foreground channel"
    if plan.blocks:
        yield "it resamples by splines, not by blocks"
    if plan.labels.background != 0:
        yield f"its background is 0, not {plan.labels.background}"
    values = [label.value for label in plan.labels.labels]
    if not plan.labels.regions and values != list(range(1, len(values) + 1)):
        yield f"its labels count from 1 on, and these are {values}"
    if plan.labels.regions:
        if all(len(region.members) == 1 for region in plan.labels.regions):
            yield "it takes regions of one label each for plain classes"
        if not painted_alike(plan.labels, _painted(plan)):
            yield "it paints regions one over the other, and labels that several regions share cannot be had so"


def plans_json(plan: Plan, network: str, name: str) -> dict[str, Any]:
    """`plans.json`; the plan is expressible.

    Args:
        plan: of the model.
        network: its name in `vesal.nn.zoo.NETWORKS`.
        name: of the data set.
    """
    forward = _transpose_forward(plan)
    spacing = list(plan.spacing_mm)
    if plan.scan_dimension == 2:
        # nnU-Net reads every picture with pixels of 1.
        spacing = [step / pixel for step, pixel in zip(spacing, plan.pixel_mm or (1.0, 1.0), strict=True)]
    sizes = [1] * (3 - plan.dimension) + list(plan.median_shape)
    first = 999.0 if plan.scan_dimension == 2 else max(spacing)
    properties = {str(number): _properties(how) for number, how in enumerate(plan.normalisation)}
    return {
        "dataset_name": name,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [first] * (3 - plan.dimension) + spacing,
        "original_median_shape_after_transp": sizes,
        "image_reader_writer": _reader(plan),
        "transpose_forward": forward,
        "transpose_backward": np.argsort(forward).tolist(),
        "configurations": {configuration_name(plan): _configuration(plan, network, spacing)},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": properties,
    }


def dataset_json(plan: Plan) -> dict[str, Any]:
    """`dataset.json`; the plan is expressible."""
    labels = plan.labels
    values = labels.by_name
    found: dict[str, Any] = {
        "channel_names": {str(number): name for number, name in enumerate(plan.channels)},
        "labels": {"background": 0, **values},
        "numTraining": 0,
        "file_ending": ".png" if plan.scan_dimension == 2 else ".nii.gz",
    }
    if labels.regions:
        regions = {region.name: [values[member] for member in region.members] for region in labels.regions}
        found |= {"labels": {"background": 0, **regions}, "regions_class_order": _painted(plan)}
    return found


def allowed_mirroring(plan: Plan) -> tuple[int, ...] | None:
    """Network axes along which nnU-Net may average over mirrored copies; None for none."""
    axes = plan.mirror_axes
    if plan.rules != "nnunet":
        lateral = lateral_axis(plan) if plan.labels.swaps else None
        axes = tuple(axis for axis in mirror_axes(plan) if axis != lateral)
    return axes or None


def differences(plan: Plan) -> list[str]:
    """Where nnU-Net prepares a little otherwise than this plan says, a sentence each."""
    found = []
    if any(how.scheme == "zscore_nonzero" for how in plan.normalisation):
        found.append("nnU-Net's z-score also takes zeros that lie within the body, which Vesal's leaves out.")
    if not plan.crop_to_nonzero:
        found.append("nnU-Net crops every scan to what is not zero, which this plan does not.")
    return found


def _configuration(plan: Plan, network: str, spacing: list[float]) -> dict[str, Any]:
    schemes = [_scheme(how) for how in plan.normalisation]
    apart = None if plan.rules == "nnunet" else False
    given = {"order_z": 0, "force_separate_z": apart}
    name, _ = NETWORKS[network]
    found: dict[str, Any] = {
        "data_identifier": f"nnUNetPlans_{configuration_name(plan)}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": plan.batch,
        "patch_size": list(plan.patch),
        "median_image_size_in_voxels": [float(size) for size in plan.median_shape],
        "spacing": spacing,
        "normalization_schemes": [scheme for scheme, _ in schemes],
        "use_mask_for_norm": [masked for _, masked in schemes],
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.{name}",
            "arch_kwargs": _arch_kwargs(plan, network),
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": False,
    }
    for function, seg, order in (
        ("data", False, plan.image_order),
        ("seg", True, 1),
        ("probabilities", False, 1),
    ):
        found[f"resampling_fn_{function}"] = "resample_data_or_seg_to_shape"
        found[f"resampling_fn_{function}_kwargs"] = {"is_seg": seg, "order": order, **given}
    return found


def _arch_kwargs(plan: Plan, network: str) -> dict[str, Any]:
    stages = plan.stages
    return {
        "n_stages": len(stages),
        "features_per_stage": [stage.features for stage in stages],
        "conv_op": f"torch.nn.modules.conv.Conv{plan.dimension}d",
        "kernel_sizes": [list(stage.kernel) for stage in stages],
        "strides": [list(stage.stride) for stage in stages],
        NETWORKS[network][1]: [stage.convolutions for stage in stages],
        "n_conv_per_stage_decoder": [stage.decoder_convolutions for stage in reversed(stages[:-1])],
        "conv_bias": plan.bias,
        "norm_op": f"torch.nn.modules.{_NORMS[plan.norm]}{plan.dimension}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def _reader(plan: Plan) -> str:
    if plan.scan_dimension == 2:
        return "NaturalImage2DIO"
    return "SimpleITKIO" if plan.as_stored else "NibabelIOWithReorient"


def _transpose_forward(plan: Plan) -> list[int]:
    """Of nnU-Net's arrays, whose axes are z, y, x, onto the network's."""
    order = list(plan.axis_order or range(plan.scan_dimension))
    if plan.scan_dimension == 2:
        return [0, *(2 - axis for axis in order)]
    if plan.slice_axis is not None:
        order.insert(0, order.pop(plan.slice_axis))
    return [2 - axis for axis in order]


def _scheme(how: Normalisation) -> tuple[str, bool]:
    """(nnU-Net's scheme, within the mask of what is not zero)."""
    if how.scheme == "window" and (how.lower, how.upper) == (0.0, 255.0):
        return "RGBTo01Normalization", False
    names = {
        "zscore": "ZScoreNormalization",
        "zscore_nonzero": "ZScoreNormalization",
        "zscore_mask": "ZScoreNormalization",
        "ct": "CTNormalization",
        "window": "CTNormalization",
        "minmax": "RescaleTo01Normalization",
        "none": "NoNormalization",
    }
    return names[how.scheme], how.scheme in ("zscore_nonzero", "zscore_mask")


def _properties(how: Normalisation) -> dict[str, float]:
    """What nnU-Net's CT scheme takes; a window is its clipping with other numbers after it."""
    if how.lower is None or how.upper is None:
        return {}
    mean, std = (how.mean, how.std) if how.scheme == "ct" else (how.lower, how.upper - how.lower)
    assert mean is not None
    assert std is not None
    return {"percentile_00_5": how.lower, "percentile_99_5": how.upper, "mean": mean, "std": std}


def _painted(plan: Plan) -> list[int]:
    """The value in the files that stands for each region."""
    alone = np.eye(len(plan.labels.regions), dtype=bool)
    return [int(value) for value in plan.labels.decode(plan.labels.paint(alone))]
