"""Networks that a bundle describes: those that Vesal has, and the reason why others are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from their_bundle import BRATS, SPLEEN, changed, network_of

from vesal.data.labels import LabelSet
from vesal.errors import VesalError
from vesal.nn.monai_bundle.bundle_config import Component
from vesal.nn.monai_bundle.bundle_networks import BundleNetwork, bundle_network, bundle_weights
from vesal.nn.zoo import build_network
from vesal.planning.plan import Normalisation, Plan

pytest.importorskip("monai", reason="MONAI is not installed (extra monai)")


def component(definition: dict[str, Any]) -> Component:
    return Component(
        definition["_target_"], {key: one for key, one in definition.items() if key != "_target_"}
    )


def plan_of(network: BundleNetwork) -> Plan:
    names = {f"class {number}": number for number in range(1, network.outputs)}
    return Plan(
        rules="monai",
        dimension=3,
        spacing_mm=(1.0,) * 3,
        patch=(16,) * 3,
        batch=2,
        stages=network.stages,
        heads=network.heads,
        norm=network.norm,
        activation=network.activation,
        bias=network.bias,
        normalisation=(Normalisation(scheme="none"),) * network.inputs,
        mirror_axes=(),
        channels=tuple(f"channel {number}" for number in range(network.inputs)),
        labels=LabelSet.from_values(names),
        median_shape=(16,) * 3,
    )


@pytest.mark.parametrize(
    "config",
    [
        SPLEEN,
        changed(SPLEEN, network_def__norm="INSTANCE", network_def__kernel_size=5, network_def__up_kernel_size=5),
        changed(SPLEEN, network_def__norm=["INSTANCE", {"affine": True}], network_def__act="RELU"),
        changed(SPLEEN, network_def__strides=[[2, 2, 1], 2], network_def__num_res_units=1),
        BRATS,
        changed(BRATS, network_def__blocks_down=[1, 1], network_def__blocks_up=[1], network_def__norm="BATCH"),
    ],
)  # fmt: skip
def test_a_network_computes_what_monais_does(config: dict[str, Any]) -> None:
    theirs = network_of(config)
    described = bundle_network(component(config["network_def"]))
    plan = plan_of(described)
    order = list(range(described.outputs))
    ours = build_network(described.name, plan)
    ours.load_state_dict(bundle_weights(theirs.state_dict(), plan, described, Path("model.pt"), order))
    image = torch.randn(1, described.inputs, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(ours.eval()(image), theirs(image))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (changed(SPLEEN, network_def__num_res_units=0), "num_res_units = 0"),
        (changed(SPLEEN, network_def__spatial_dims=2), "is 2D; Vesal imports those of 3D"),
        (changed(SPLEEN, network_def__adn_ordering="DNA"), "adn_ordering = DNA, which Vesal's has not"),
        (changed(SPLEEN, network_def__act="ELU"), "the activation elu"),
        (changed(SPLEEN, network_def__act=["LEAKYRELU", {"negative_slope": 0.2}]), "negative_slope"),
        (changed(SPLEEN, network_def__norm="LOCALRESPONSE"), "the norm localresponse"),
        (changed(SPLEEN, network_def__more=1), "has more, which Vesal does not know"),
        (changed(SPLEEN, network_def__channels="4"), "Vesal needs whole numbers"),
        (
            changed(SPLEEN, network_def__in_channels=10**9),
            "in_channels = 1000000000; Vesal needs whole numbers from",
        ),
        (changed(SPLEEN, network_def__out_channels=10**9), "out_channels = 1000000000; Vesal needs"),
        (changed(SPLEEN, network_def__strides=[2]), "3 channels and 1 strides"),
        (changed(SPLEEN, network_def__strides=2), "no list of strides"),
        (changed(SPLEEN, network_def___target_="VNet"), "is VNet, which Vesal does not import"),
        (changed(BRATS, network_def__upsample_mode="deconv"), "upsample_mode = deconv"),
        (changed(BRATS, network_def__blocks_up=[1, 1, 2]), "blocks_up"),
        (changed(BRATS, network_def__norm=["GROUP", {"num_groups": 4}]), "Vesal's has 8 groups"),
    ],
)
def test_what_vesals_network_has_not_is_refused(config: dict[str, Any], reason: str) -> None:
    with pytest.raises(VesalError, match=reason):
        bundle_network(component(config["network_def"]))


def test_weights_of_another_network_are_refused_and_outputs_put_in_order() -> None:
    described = bundle_network(component(BRATS["network_def"]))
    plan, theirs = plan_of(described), network_of(BRATS).state_dict()
    file = Path("model.pt")
    found = bundle_weights(
        {f"module.{name}": one for name, one in theirs.items()}, plan, described, file, [2, 0, 1]
    )
    torch.testing.assert_close(
        found["network.conv_final.2.conv.weight"], theirs["conv_final.2.conv.weight"][[2, 0, 1]]
    )
    torch.testing.assert_close(found["network.convInit.conv.weight"], theirs["convInit.conv.weight"])
    for changes, reason in (
        ({"extra": torch.zeros(1)}, "holds extra, which is not of this network"),
        ({"conv_final.2.conv.bias": torch.zeros(7)}, "differs in conv_final.2.conv.bias"),
    ):
        with pytest.raises(VesalError, match=reason):
            bundle_weights(theirs | changes, plan, described, file, [0, 1, 2])
    del theirs["conv_final.2.conv.bias"]
    with pytest.raises(VesalError, match=r"has no conv_final\.2\.conv\.bias"):
        bundle_weights(theirs, plan, described, file, [0, 1, 2])
    plain = bundle_network(component(SPLEEN["network_def"]))
    with pytest.raises(VesalError, match="cannot change that order"):
        bundle_weights(network_of(SPLEEN).state_dict(), plan_of(plain), plain, file, [1, 0])
