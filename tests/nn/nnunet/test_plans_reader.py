"""nnU-Net's plans as Vesal's, and what of them is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
from their_networks import cascade_of, dataset_of, kwargs_of, plans_of

from vesal.errors import VesalError
from vesal.nn.nnunet.plans_reader import TheirModel, configuration_of, labels_of
from vesal.planning.plan import Plan

TUMOUR = {"background": 0, "whole": [1, 2, 3], "core": [1, 3], "enhancing": [3]}


def read(
    plans: dict[str, Any], dataset: dict[str, Any] | None = None, configuration: str = "3d_fullres"
) -> Plan:
    model = TheirModel(plans, dataset or dataset_of(), configuration)
    return model.plan(networks=1, mirror_axes=(), heads=2, norm="instance")


def test_a_plan_takes_over_sizes_axes_and_normalisation() -> None:
    plan = read(plans_of(forward=(1, 2, 0)))
    assert (plan.axis_order, plan.as_stored, plan.slice_axis) == ((1, 0, 2), True, None)
    assert (plan.spacing_mm, plan.patch, plan.median_shape) == ((2.0, 1.0, 1.0), (8, 16, 16), (12, 24, 20))
    assert [stage.decoder_convolutions for stage in plan.stages[:-1]] == [1, 1]
    assert [stage.convolutions for stage in plan.stages] == [1, 2, 2]
    assert plan.stages[0].kernel == (1, 3, 3)
    assert plan.normalisation[0].scheme == "zscore"


def test_a_2d_plan_of_volumes_takes_slices_along_the_first_axis_and_one_of_pictures_none() -> None:
    plan = read(plans_of("2d"), configuration="2d")
    assert (plan.dimension, plan.slice_axis, plan.axis_order) == (2, 0, (2, 1, 0))
    pictures = plans_of("2d") | {
        "image_reader_writer": "NaturalImage2DIO", "original_median_spacing_after_transp": [999.0, 1.0, 1.0],
    }  # fmt: skip
    plan = read(pictures, configuration="2d")
    assert (plan.scan_dimension, plan.slice_axis, plan.axis_order) == (2, None, (1, 0))


def test_a_reader_that_turns_scans_is_followed() -> None:
    assert not read(plans_of() | {"image_reader_writer": "NibabelIOWithReorient"}).as_stored


@pytest.mark.parametrize(
    ("scheme", "masked", "expected"),
    [
        ("ZScoreNormalization", True, {"scheme": "zscore_mask"}),
        (
            "CTNormalization",
            False,
            {"scheme": "ct", "lower": 10.0, "upper": 200.0, "mean": 90.0, "std": 40.0},
        ),
        ("NoNormalization", False, {"scheme": "none"}),
        ("RescaleTo01Normalization", False, {"scheme": "minmax"}),
        ("RGBTo01Normalization", False, {"scheme": "window", "lower": 0.0, "upper": 255.0}),
    ],
)
def test_every_scheme_of_normalisation_is_known(scheme: str, masked: bool, expected: dict[str, Any]) -> None:
    plan = read(plans_of(normalization_schemes=[scheme], use_mask_for_norm=[masked]))
    assert plan.normalisation[0].model_dump(exclude_none=True) == expected


def test_plans_as_nnunet_wrote_them_before_it_named_an_architecture_are_read() -> None:
    plans = plans_of()
    found = plans["configurations"]["3d_fullres"]
    kwargs = found.pop("architecture")["arch_kwargs"]
    found |= {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 8,
        "n_conv_per_stage_encoder": kwargs["n_conv_per_stage"],
        "n_conv_per_stage_decoder": kwargs["n_conv_per_stage_decoder"],
        "conv_kernel_sizes": kwargs["kernel_sizes"],
        "pool_op_kernel_sizes": kwargs["strides"],
    }
    assert read(plans) == read(plans_of())


def test_a_configuration_inherits_from_another_but_not_from_itself() -> None:
    plans = plans_of()
    plans["configurations"]["large"] = {"inherits_from": "3d_fullres", "batch_size": 9}
    assert read(plans, configuration="large").batch == 9
    plans["configurations"]["3d_fullres"]["inherits_from"] = "large"
    with pytest.raises(VesalError, match="inherits from itself"):
        configuration_of(plans, "large")
    with pytest.raises(VesalError, match=r"There is no configuration in plans\.json '4d'"):
        configuration_of(plans, "4d")


def test_labels_regions_and_the_ignore_label_are_taken_over() -> None:
    plain = labels_of(dataset_of({"background": 0, "shell": 1, "core": 2, "ignore": 3}))
    assert (plain.names, plain.ignore, plain.outputs) == (("shell", "core"), 3, 3)
    regions = labels_of(dataset_of(TUMOUR, regions_class_order=[2, 1, 3]))
    assert (regions.classes, regions.outputs) == (("whole", "core", "enhancing"), 3)
    assert regions.values == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (dataset_of({"background": 0, "a": 1, "b": 3}), "do not count from 1 on"),
        (dataset_of(TUMOUR, regions_class_order=[1, 2, 3]), "are painted with the values"),
        (
            dataset_of({f"r{n}": [n, n + 1] for n in range(1, 101)}, regions_class_order=[]),
            "100 regions; at most",
        ),
        (dataset_of(TUMOUR | {"whole": [3]}, regions_class_order=[3, 1, 3]), "do not fit together"),
    ],
)
def test_labels_that_vesal_would_write_otherwise_are_refused(dataset: dict[str, Any], message: str) -> None:
    with pytest.raises(VesalError, match=message):
        labels_of(dataset)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"previous_stage": "3d_lowres"}, "second stage of a cascade, which needs its first, 3d_lowres"),
        (
            {"previous_stage": "../3d_lowres"},
            r"previous stage of 3d_fullres as '\.\./3d_lowres', which is no",
        ),
        ({"previous_stage": ["3d_lowres"]}, "which is no configuration"),
        ({"previous_stage": "x" * 300}, "which is no configuration"),
        ({"preprocessor_name": "Mine"}, "prepares scans by Mine"),
        ({"resampling_fn_data": "resample_torch_fornnunet"}, "resamples by resample_torch_fornnunet"),
        ({"resampling_fn_data_kwargs": {"force_separate_z": False}}, "resamples by"),
        ({"normalization_schemes": ["Mine"]}, "normalises by Mine"),
        ({"normalization_schemes": []}, "normalises 0 channels"),
        (
            {"architecture": {"network_class_name": "x.Primus", "arch_kwargs": {}}},
            "network of this model is Primus",
        ),
        ({"patch_size": [7, 16, 16]}, "describes no plan"),
        ({"spacing": None}, "not as nnU-Net v2 writes it"),
        ({"median_image_size_in_voxels": [math.inf, 1, 1]}, "not as nnU-Net v2 writes it"),
    ],
)
def test_what_vesal_does_not_follow_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(VesalError, match=message):
        read(plans_of(**change))


def test_the_second_stage_of_a_cascade_takes_a_channel_a_label_of_the_first() -> None:
    dataset = dataset_of(TUMOUR, regions_class_order=[2, 1, 3])
    plans = cascade_of(spacing=[1.5, 1.0, 1.0])
    first = read(plans, dataset, "3d_lowres")
    model = TheirModel(plans, dataset, "3d_cascade_fullres")
    assert model.previous_stage == "3d_lowres"
    assert TheirModel(plans, dataset, "3d_lowres").previous_stage is None
    given: dict[str, Any] = {"networks": 1, "mirror_axes": (), "heads": 2, "norm": "instance"}
    plan = model.plan(**given, first_stage=first)
    assert (plan.locator, plan.handed_on, plan.spacing_mm) == (first, "mask", (1.5, 1.0, 1.0))
    assert (first.inputs, plan.inputs) == (1, 4)
    other = first.model_copy(update={"channels": ("CT",)})
    with pytest.raises(VesalError, match="3d_lowres, has other channels or labels"):
        model.plan(**given, first_stage=other)
    plans["configurations"]["3d_cascade_fullres"]["resampling_fn_seg"] = "resample_torch_fornnunet"
    with pytest.raises(VesalError, match=r"resamples by resample_torch_fornnunet.*'is_seg': True"):
        model.plan(**given, first_stage=first)


@pytest.mark.parametrize("stages", [10**10, 0, math.inf])
def test_numbers_that_would_fill_the_memory_are_refused(stages: float) -> None:
    kwargs = kwargs_of(3) | {"n_stages": stages, "features_per_stage": 32}
    plans = plans_of(architecture={"network_class_name": "x.PlainConvUNet", "arch_kwargs": kwargs})
    with pytest.raises(VesalError, match=r"stages|not as nnU-Net"):
        read(plans)


@pytest.mark.parametrize(
    "change",
    [
        {"dropout_op": "torch.nn.Dropout3d"},
        {"nonlin": "torch.nn.ReLU"},
        {"norm_op_kwargs": {"eps": 1e-3}},
        {"stem_channels": 3},
    ],
)
def test_layers_that_vesal_has_not_are_refused(change: dict[str, Any]) -> None:
    plans = plans_of(
        architecture={
            "network_class_name": "x.ResidualEncoderUNet",
            "arch_kwargs": kwargs_of(3, residual=True) | change,
        }
    )
    with pytest.raises(VesalError):
        read(plans)
