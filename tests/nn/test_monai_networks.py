"""MONAI's networks as the plan describes them: the very ones, or a refusal that says how to fix the plan."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from vesal.data.labels import LabelSet
from vesal.errors import UsageError, VesalError
from vesal.nn.model_file import Package, load_package, save_package
from vesal.nn.zoo import NETWORKS, build_network, count_trainable
from vesal.planning.plan import Normalisation, Plan, Stage

needs_monai = pytest.mark.skipif(
    importlib.util.find_spec("monai") is None or importlib.util.find_spec("einops") is None,
    reason="MONAI is not installed: pip install 'vesal[monai]'",
)

MONAI = sorted(name for name in NETWORKS if name.startswith("monai-"))
SWIN = (12, 12, 24, 48, 96, 192)


def make_plan(features: tuple[int, ...] = (4, 8, 16), axes: int = 2, **changes: Any) -> Plan:
    stages = tuple(
        Stage(features=count, kernel=(3,) * axes, stride=(1 + (level > 0),) * axes)
        for level, count in enumerate(features)
    )
    patch = (2 ** len(features),) * axes
    return Plan(
        **{
            "dimension": axes,
            "spacing_mm": (1.0,) * axes,
            "patch": patch,
            "batch": 2,
            "stages": stages,
            "normalisation": (Normalisation(scheme="zscore"),),
            "mirror_axes": (),
            "channels": ("MRI",),
            "labels": LabelSet.from_values({"background": 0, "organ": 1}),
            "median_shape": patch,
            **changes,
        }
    )


def changed(plan: Plan, level: int, **values: Any) -> Plan:
    """The plan with another stage."""
    stages = list(plan.stages)
    stages[level] = stages[level].model_copy(update=values)
    return plan.model_copy(update={"stages": tuple(stages)})


@needs_monai
def test_the_u_net_of_the_heart_tutorial_is_monais_own_weight_for_weight() -> None:
    from monai.networks.nets import UNet

    plan = make_plan((16, 32, 64, 128, 256), 3, norm="batch", activation="prelu")
    ours = build_network("monai-unet", plan)
    theirs = UNet(3, 1, 2, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2, norm="batch", act="prelu")
    shapes = {f"network.{key}": value.shape for key, value in theirs.state_dict().items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == shapes
    count = sum(parameter.numel() for parameter in theirs.parameters())
    assert count_trainable("monai-unet", plan) == count == 4_808_917


@needs_monai
def test_the_dynamic_u_net_has_as_many_weights_as_our_own_of_the_same_plan() -> None:
    plan = make_plan((4, 8, 12, 12), 3, heads=3)
    assert count_trainable("monai-dynunet", plan) == count_trainable("unet", plan)
    one_head = plan.model_copy(update={"heads": 1})
    assert count_trainable("monai-dynunet", one_head) == count_trainable("unet", one_head)


@needs_monai
def test_the_transformer_is_built_in_three_dimensions() -> None:
    plan = make_plan(SWIN, 3)
    with torch.no_grad():
        logits = build_network("monai-swin-unetr", plan).eval()(torch.randn(1, 1, 30, 32, 7))
    assert logits.shape == (1, 2, 30, 32, 7)


@needs_monai
@pytest.mark.parametrize("name", MONAI)
@pytest.mark.parametrize("norm", ["instance", "batch", "group", "none"])
def test_every_norm_is_built_where_the_network_has_a_choice(name: str, norm: str) -> None:
    plan = make_plan(SWIN if "swin" in name else (4, 8, 16), norm=norm)
    if "attention" in name:
        plan = plan.model_copy(update={"activation": "relu"})
        if norm != "batch":
            with pytest.raises(UsageError, match=f"batch norm alone, not {norm}; set plan.norm to batch"):
                build_network(name, plan)
            return
    kinds = {type(module).__name__ for module in build_network(name, plan).modules()}
    wanted = {"instance": "InstanceNorm2d", "batch": "BatchNorm2d", "group": "GroupNorm", "none": ""}[norm]
    norms = {"InstanceNorm2d", "BatchNorm2d", "GroupNorm"} & kinds
    assert norms - ({"InstanceNorm2d"} if "attention" in name else set()) == ({wanted} - {""})


@pytest.mark.parametrize("name", MONAI)
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pooling": True}, "no max pooling; set plan.pooling to false"),
        ({"norm": "layer"}, "no norm 'layer'; set plan.norm to one of instance, batch"),
        ({"activation": "swish"}, "no activation 'swish'; set plan.activation to one of leaky_relu"),
    ],
)
def test_words_that_a_network_has_not_are_refused_with_the_fix(name: str, changes: dict, reason: str) -> None:
    with pytest.raises(UsageError, match=f"The network {name} .*{reason}"):
        build_network(name, make_plan(**changes))


@needs_monai
@pytest.mark.parametrize(
    ("name", "plan", "reason"),
    [
        ("monai-unet", make_plan((4,)), "needs 2 stages and the plan has 1"),
        ("monai-unet", changed(make_plan(), 0, kernel=(1, 3)), "one kernel for all stages; choose monai-dyn"),
        ("monai-unet", changed(make_plan(), 0, convolutions=1), "equally many convolutions"),
        ("monai-unet", changed(make_plan(), 0, stride=(2, 1)), "keeps the resolution in its first stage"),
        ("monai-dynunet", make_plan((4, 8)), "needs 3 stages"),
        ("monai-dynunet", make_plan(bias=True), "set plan.bias to false"),
        ("monai-dynunet", changed(make_plan(), 1, convolutions=3), "set plan.convolutions to 2"),
        ("monai-dynunet", changed(make_plan(), 1, kernel=(2, 3)), "even kernel"),
        ("monai-attention-unet", make_plan(norm="batch"), "set plan.activation to relu"),
        ("monai-segresnet", make_plan((4, 8, 12)), r"set plan.features to, for example, \[4, 8, 16\]"),
        ("monai-segresnet", changed(make_plan(), 2, stride=(2, 1)), "halves every axis"),
        ("monai-swin-unetr", make_plan((10, 20)), r"features to, for example, \[12, 12, 24, 48, 96, 192\]"),
        ("monai-swin-unetr", make_plan(SWIN, activation="relu"), "set plan.activation to leaky_relu"),
    ],
)
def test_stages_that_a_network_cannot_have_are_refused_with_the_fix(
    name: str, plan: Plan, reason: str
) -> None:
    with pytest.raises(UsageError, match=f"The network {name} .*{reason}"):
        build_network(name, plan)


@pytest.mark.parametrize("name", MONAI)
def test_without_monai_the_error_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks", None)
    plan = make_plan(SWIN if "swin" in name else (4, 8, 16))
    if "attention" in name:
        plan = plan.model_copy(update={"norm": "batch", "activation": "relu"})
    with pytest.raises(UsageError, match=rf"{name} needs MONAI, .*pip install 'vesal\[monai\]'"):
        count_trainable(name, plan)


@needs_monai
def test_a_model_that_needs_monai_is_refused_without_it_and_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, path = make_plan(), tmp_path / "model.vesal"
    weights = build_network("monai-unet", plan).state_dict()
    save_package(path, Package(plan=plan, network="monai-unet", recipe={}, provenance={}, weights=weights))
    monkeypatch.setitem(sys.modules, "monai.networks", None)
    with pytest.raises(
        VesalError, match=r"network monai-unet needs a library .*pip install 'vesal\[monai\]'"
    ):
        load_package(path)


def test_the_zoo_imports_no_monai() -> None:
    import subprocess

    code = (
        "import sys, vesal.nn.zoo; assert not {name for name in sys.modules if name.split('.')[0] == 'monai'}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
