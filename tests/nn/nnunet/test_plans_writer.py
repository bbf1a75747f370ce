"""Plans as nnU-Net's files, and models that nnU-Net cannot predict with."""

from __future__ import annotations

from typing import Any

import pytest
from their_networks import dataset_of, plans_of

from vesal.data.labels import LabelSet
from vesal.errors import UsageError
from vesal.nn.nnunet.plans_reader import TheirModel
from vesal.nn.nnunet.plans_writer import (
    allowed_mirroring,
    dataset_json,
    differences,
    plans_json,
    require_expressible,
)
from vesal.planning.plan import Normalisation, Plan, Stage

LABELS = LabelSet.from_values({"background": 0, "shell": 1, "core": 2})
SIDES = LabelSet.from_values({"background": 0, "kidney_left": 1, "kidney_right": 2})


def plan(dimension: int = 3, **changes: Any) -> Plan:
    """Of Vesal's own kind."""
    stages = tuple(
        Stage(features=4 * level, kernel=(3,) * dimension, stride=(level,) * dimension) for level in (1, 2)
    )
    given: dict[str, Any] = {
        "dimension": dimension,
        "spacing_mm": (1.0, 1.5, 2.0)[:dimension],
        "patch": (16, 8, 24)[:dimension],
        "batch": 2,
        "stages": stages,
        "normalisation": (Normalisation(scheme="zscore"),),
        "mirror_axes": tuple(range(dimension)),
        "channels": ("MRI",),
        "labels": LABELS,
        "median_shape": (20, 10, 30)[:dimension],
    }
    return Plan(**(given | changes))


def read(made: Plan, network: str = "unet") -> Plan:
    plans = plans_json(made, network, "Dataset001_Vesal")
    (configuration,) = plans["configurations"]
    return TheirModel(plans, dataset_json(made), configuration).plan(
        networks=1, mirror_axes=made.mirror_axes, heads=made.heads, norm=made.norm
    )


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("configuration", ["3d_fullres", "2d"])
def test_a_plan_of_nnunets_comes_back_as_it_was(configuration: str, residual: bool) -> None:
    plans = plans_of(configuration, residual=residual, forward=(1, 0, 2), use_mask_for_norm=[True])
    model = TheirModel(plans, dataset_of(), configuration)
    made = model.plan(networks=1, mirror_axes=(0, 1), heads=2, norm="instance")
    require_expressible(made, model.network)
    assert read(made, model.network) == made


def test_nnunet_sees_a_scan_of_vesals_along_the_same_axes_turned_to_ras() -> None:
    plans = plans_json(plan(), "unet", "Dataset001_Vesal")
    # nnU-Net's arrays are along z, y, x.
    assert (plans["transpose_forward"], plans["image_reader_writer"]) == ([2, 1, 0], "NibabelIOWithReorient")
    found = plans["configurations"]["3d_fullres"]
    assert (found["spacing"], found["patch_size"]) == ([1.0, 1.5, 2.0], [16, 8, 24])
    assert found["resampling_fn_data_kwargs"]["force_separate_z"] is False
    # Coronal slices: S first, then the other axes in their order, which are x and z.
    slices = plans_json(plan(2, slice_axis=1), "unet", "Dataset001_Vesal")
    assert slices["transpose_forward"] == [1, 2, 0]
    pictures = plans_json(plan(2, pixel_mm=(0.5, 0.5)), "unet", "Dataset001_Vesal")
    assert (pictures["image_reader_writer"], pictures["transpose_forward"]) == ("NaturalImage2DIO", [0, 2, 1])
    assert pictures["configurations"]["2d"]["spacing"] == [2.0, 3.0]


@pytest.mark.parametrize(
    ("how", "scheme", "masked"),
    [
        (Normalisation(scheme="zscore_nonzero"), "ZScoreNormalization", True),
        (Normalisation(scheme="minmax"), "RescaleTo01Normalization", False),
        (Normalisation(scheme="none"), "NoNormalization", False),
        (Normalisation(scheme="window", lower=0, upper=255), "RGBTo01Normalization", False),
        (Normalisation(scheme="window", lower=-100, upper=300), "CTNormalization", False),
    ],
)
def test_every_normalisation_has_one_of_nnunets(how: Normalisation, scheme: str, masked: bool) -> None:
    plans = plans_json(plan(normalisation=(how,)), "unet", "Dataset001_Vesal")
    found = plans["configurations"]["3d_fullres"]
    assert (found["normalization_schemes"], found["use_mask_for_norm"]) == ([scheme], [masked])
    if how.lower == -100:
        # (x - mean) / std of nnU-Net's is (x - lower) / (upper - lower).
        expected = {"percentile_00_5": -100, "percentile_99_5": 300, "mean": -100, "std": 400}
        assert plans["foreground_intensity_properties_per_channel"]["0"] == expected


def test_regions_are_written_with_the_order_in_which_they_are_painted() -> None:
    labels = LabelSet.from_values(
        {"core": 1, "oedema": 2, "enhancing": 4},
        regions={
            "whole": ["core", "oedema", "enhancing"],
            "core": ["core", "enhancing"],
            "et": ["enhancing"],
        },
    )
    found = dataset_json(plan(labels=labels))
    assert found["labels"] == {"background": 0, "whole": [1, 2, 4], "core": [1, 4], "et": [4]}
    assert found["regions_class_order"] == [2, 1, 4]


def test_only_axes_that_vesal_mirrors_are_mirrored() -> None:
    assert allowed_mirroring(plan()) == (0, 1, 2)
    assert allowed_mirroring(plan(labels=SIDES)) == (1, 2)
    assert allowed_mirroring(plan(mirror_axes=())) is None


def test_what_nnunet_prepares_a_little_otherwise_is_named() -> None:
    assert differences(plan()) == []
    other = plan(normalisation=(Normalisation(scheme="zscore_nonzero"),), crop_to_nonzero=False)
    assert len(differences(other)) == 2


@pytest.mark.parametrize(
    ("changes", "network", "reason"),
    [
        ({}, "attention-unet", "no network attention-unet"),
        ({"norm": "group"}, "unet", "instance or batch norm"),
        ({"activation": "gelu"}, "unet", "leaky ReLU"),
        ({"pooling": True}, "unet", "max pooling"),
        ({"locator": plan(), "margin_mm": 1.0}, "unet", "no stage that finds the place"),
        ({"foreground_channel": True}, "unet", "foreground channel"),
        ({"blocks": True}, "unet", "splines"),
        ({"labels": LabelSet.from_values({"background": 0, "a": 1, "b": 7})}, "unet", r"these are \[1, 7\]"),
        ({"labels": LABELS.as_regions()}, "unet", "regions of one label each"),
    ],
)
def test_what_nnunet_cannot_do_is_refused(changes: dict[str, Any], network: str, reason: str) -> None:
    require_expressible(plan(), "unet")
    with pytest.raises(UsageError, match=reason):
        require_expressible(plan(**changes), network)
