"""The steps around a bundle's network: those that Vesal follows, and the reason why others are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from their_bundle import BRATS, SPLEEN, changed, metadata_of

from vesal.errors import VesalError
from vesal.nn.monai_bundle.bundle_config import BundleConfig
from vesal.nn.monai_bundle.bundle_steps import Preparation, channel_names, preparation, restoring, sliding
from vesal.planning.plan import Normalisation

STEP = "preprocessing__transforms__{}"
WINDOW = SPLEEN["preprocessing"]["transforms"][4]
ZSCORE = {"_target_": "NormalizeIntensityd", "keys": "image"}
SPACING = SPLEEN["preprocessing"]["transforms"][3]


def of(config: dict[str, Any], **changes: Any) -> BundleConfig:
    return BundleConfig(changed(config, **changes), Path("inference.json"))


def step(number: int, value: Any) -> dict[str, Any]:
    return {STEP.format(number): value}


def test_the_steps_of_published_bundles_are_read() -> None:
    found = preparation(of(SPLEEN), 1)
    window = Normalisation(scheme="window", lower=-57, upper=164)
    assert found == Preparation(True, (1.5, 1.5, 2.0), window)
    assert preparation(of(BRATS), 4) == Preparation(False, None, Normalisation(scheme="zscore_nonzero"))
    assert sliding(of(SPLEEN)).patch == (16, 16, 16)
    assert sliding(of(SPLEEN, inferer__roi_size=32, inferer__overlap=[0.5] * 3)).patch == (32, 32, 32)
    assert not restoring(of(SPLEEN), found, 2).regions
    painted = restoring(of(BRATS), preparation(of(BRATS), 4), 3)
    assert painted.regions
    assert painted.painted == ((2, 4), (0, 1), (1, 2))


def test_a_window_onto_another_range_keeps_its_ends() -> None:
    how = preparation(of(SPLEEN, **step(4, WINDOW | {"b_min": -1, "b_max": 1})), 1).normalisation
    assert how.scheme == "ct"
    assert how.mean is not None
    assert how.std is not None
    assert [round((value - how.mean) / how.std, 6) for value in (-57, 164)] == [-1.0, 1.0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            step(4, {"_target_": "CropForegroundd", "keys": "image", "source_key": "image"}),
            "by CropForegroundd",
        ),
        (
            step(4, {"_target_": "ScaleIntensityd", "keys": "image"}),
            "by ScaleIntensityd, which Vesal does not do",
        ),
        (step(4, WINDOW | {"clip": False}), "does not clip to a window"),
        (step(4, WINDOW | {"b_min": None}), "does not clip to a window"),
        (step(4, WINDOW | {"a_max": 1e-320, "a_min": 0, "b_max": 2}), "beyond all numbers"),
        (step(4, WINDOW | {"b_max": 1e-320}), "beyond all numbers"),
        (step(4, ZSCORE | {"subtrahend": 3.0}), "a mean or a deviation of its own"),
        (step(5, ZSCORE), "normalises intensities a second time"),
        (step(2, WINDOW), "resamples after intensities were normalised"),
        (step(2, SPACING), "or again"),
        (
            step(2, {"_target_": "Orientationd", "keys": "image", "axcodes": "LPS"}),
            "turns scans otherwise than to RAS",
        ),
        (step(3, SPACING | {"mode": 3}), "has mode = 3"),
        (step(3, SPACING | {"padding_mode": "zeros"}), "has padding_mode = zeros"),
        (step(3, SPACING | {"diagonal": True}), "has diagonal = True"),
        (step(3, SPACING | {"scale_extent": True}), "has scale_extent = True"),
        (step(3, SPACING | {"min_pixdim": 1.0}), "has min_pixdim, which Vesal does not follow"),
        (step(3, SPACING | {"pixdim": [1.5, 1.5]}), "three spacings in mm"),
        (step(0, {"_target_": "LoadImaged", "keys": "image", "reader": "PILReader"}), "by a reader"),
        ({"preprocessing": {"_target_": "OneOf", "transforms": []}}, "no Compose"),
    ],
)
def test_preparation_that_vesal_does_not_follow_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(VesalError, match=reason):
        preparation(of(SPLEEN, **changes), 1)


def test_channels_that_share_a_mean_are_refused() -> None:
    config = of(BRATS, **step(1, ZSCORE))
    assert preparation(config, 1).normalisation.scheme == "zscore"
    with pytest.raises(VesalError, match="all channels by one mean"):
        preparation(config, 4)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"inferer": {"_target_": "SimpleInferer"}}, "predicts by SimpleInferer"),
        ({"inferer__roi_size": [16, 16]}, "three sizes above 0"),
        ({"inferer__roi_size": [16, 16, -1]}, "three sizes above 0"),
        ({"inferer__overlap": [0.5, 0.5, 0.25]}, "one for all axes"),
        ({"inferer__overlap": 1.0}, "0 to under 1"),
        ({"inferer__overlap": [[0.5]] * 3}, "one for all axes"),
        ({"inferer__overlap": []}, "one for all axes"),
        ({"inferer__mode": "gaussian", "inferer__sigma_scale": 0.25}, "another sigma_scale"),
        ({"inferer__padding_mode": "replicate"}, "pads small scans by other values than 0"),
        ({"inferer__process_fn": "x"}, "has process_fn"),
    ],
)
def test_windows_that_vesal_does_not_move_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(VesalError, match=reason):
        sliding(of(SPLEEN, **changes))


POST = "postprocessing__transforms__{}"
STEPS = SPLEEN["postprocessing"]["transforms"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {POST.format(1): STEPS[2], POST.format(2): STEPS[1]},
            "in this order; Vesal interpolates probabilities",
        ),
        ({POST.format(1): STEPS[1] | {"nearest_interp": True}}, "takes masks back by the nearest voxel"),
        ({POST.format(1): STEPS[3]}, "leaves masks on another grid"),
        (
            {POST.format(0): {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}},
            "neither by softmax",
        ),
        ({POST.format(0): STEPS[3]}, "neither by softmax and argmax"),
        (
            {POST.format(3): {"_target_": "KeepLargestConnectedComponentd", "keys": "pred"}},
            "masks by KeepLargest",
        ),
        ({POST.format(2): STEPS[3]}, "without AsDiscreted"),
    ],
)
def test_masks_that_are_made_otherwise_are_refused(changes: dict[str, Any], reason: str) -> None:
    config = of(SPLEEN, **changes)
    with pytest.raises(VesalError, match=reason):
        restoring(config, preparation(config, 1), 2)


@pytest.mark.parametrize(
    "function",
    [
        "$lambda x: x",
        "$__import__('os').system('true')",
        "$lambda x: torch.where(x[[0]] > 0.5, 1, 0)",
        "$lambda x: torch.where(x[[0]] > 0, x, 0)",
        "$lambda x: torch.where(x[[0]] > 0, 1, 2)",
        "$lambda x, y: torch.where(x[[0]] > 0, 1, 0)",
        "@function",
        "$lambda x: torch.where(" + "-" * 2000 + "x > 0, 1, 0)",
    ],
)
def test_a_function_that_paints_otherwise_is_refused(function: str) -> None:
    config = of(
        BRATS, postprocessing__transforms__3={"_target_": "Lambdad", "keys": "pred", "func": function}
    )
    with pytest.raises(VesalError, match="Vesal runs nothing of a bundle"):
        restoring(config, preparation(config, 4), 3)


def test_regions_without_a_painter_are_refused_but_for_one() -> None:
    steps = [one for one in BRATS["postprocessing"]["transforms"] if one["_target_"] != "Lambdad"]
    config = of(BRATS, postprocessing__transforms=steps)
    assert restoring(config, preparation(config, 4), 1).painted == ((0, 1),)
    with pytest.raises(VesalError, match="3 regions into one file"):
        restoring(config, preparation(config, 4), 3)


def test_names_of_channels_are_metadatas_or_none() -> None:
    metadata = metadata_of(["T1", "T2"], ["background", "liver"])
    assert channel_names(metadata, "inputs", 2) == ["T1", "T2"]
    assert channel_names({}, "outputs", 2) is None
    with pytest.raises(VesalError, match="names 2 channels of the outputs and the network has 3"):
        channel_names(metadata, "outputs", 3)
