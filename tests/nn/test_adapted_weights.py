"""Weights of a model in a network for other channels and classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_networks import OURS, halving

from vesal.data.labels import LabelSet
from vesal.errors import VesalError
from vesal.nn.adaptation import CHANCE, MEAN, ZEROS
from vesal.nn.adapted_weights import adapt_weights, described
from vesal.nn.model_file import Package
from vesal.nn.zoo import build_network
from vesal.planning.plan import Normalisation, Plan

SIDES = LabelSet.from_values({"left": 1, "right": 2})


def plan(channels: tuple[str, ...] = ("T1", "T2"), labels: LabelSet = SIDES, **changes: Any) -> Plan:
    how = (Normalisation(scheme="zscore"),) * len(channels)
    return halving((4, 8), (8, 8), channels=channels, normalisation=how, labels=labels, heads=1, **changes)


def model(made: Plan, network: str = "unet") -> Package:
    torch.manual_seed(0)
    weights = {name: torch.randn_like(one) for name, one in build_network(network, made).state_dict().items()}
    return Package(made, network, {}, {}, weights)


def moved(package: Package, made: Plan) -> torch.nn.Module:
    network = build_network(package.network, made)
    network.load_state_dict(adapt_weights(package, made).tensors, strict=False)
    return network.eval()


@pytest.mark.parametrize("network", OURS)
def test_channels_and_classes_in_another_order_give_the_same_network(network: str) -> None:
    package = model(plan(), network)
    other = plan(("t2 ", "T1"), LabelSet.from_values({"Right": 1, "left": 2}))
    image = torch.randn(2, 2, 8, 8)
    with torch.no_grad():
        before = package.build()(image)
        after = moved(package, other)(image[:, [1, 0]])
    torch.testing.assert_close(after[:, [0, 2, 1]], before, rtol=1e-4, atol=1e-5)
    found = adapt_weights(package, other)
    assert found.channels == {"t2 ": "T2", "T1": "T1"}
    assert found.classes == {"Right": "right", "left": "left"}
    assert found.share == 1.0
    assert not found.anew


@pytest.mark.parametrize("network", OURS)
def test_a_new_channel_beside_known_ones_changes_nothing_at_first(network: str) -> None:
    package = model(plan(), network)
    wider = plan(("T1", "FLAIR", "T2"))
    image = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(
            moved(package, wider)(image), package.build()(image[:, [0, 2]]), rtol=1e-4, atol=1e-5
        )
    assert adapt_weights(package, wider).channels == {"T1": "T1", "FLAIR": ZEROS, "T2": "T2"}


def test_where_no_channel_is_known_all_begin_with_the_mean_and_weigh_as_much_together() -> None:
    package = model(plan())
    found = adapt_weights(package, plan(("A", "B", "C")))
    old = package.weights["encoder.0.0.conv.weight"]
    new = found.tensors["encoder.0.0.conv.weight"]
    assert found.channels == dict.fromkeys("ABC", MEAN)
    torch.testing.assert_close(new, (old.sum(dim=1, keepdim=True) / 3).expand_as(new))
    # A single channel is the model's single one, whatever it is called.
    alone = model(plan(("MRI",)))
    same = adapt_weights(alone, plan(("MR",))).tensors["encoder.0.0.conv.weight"]
    torch.testing.assert_close(same, alone.weights["encoder.0.0.conv.weight"])


def test_a_new_class_begins_with_zeros_and_a_shared_one_keeps_its_logits() -> None:
    package = model(plan())
    other = plan(labels=LabelSet.from_values({"tumour": 1, "left": 2}))
    image = torch.randn(1, 2, 8, 8)
    with torch.no_grad():
        before, after = package.build()(image), moved(package, other)(image)
    torch.testing.assert_close(after[:, [0, 2]], before[:, [0, 1]], rtol=1e-4, atol=1e-5)
    assert torch.equal(after[:, 1], torch.zeros_like(after[:, 1]))
    found = adapt_weights(package, other)
    assert found.classes == {"tumour": ZEROS, "left": "left"}
    assert 0.9 < found.share < 1.0


def test_sigmoids_do_not_take_a_softmax_and_their_head_begins_by_chance() -> None:
    found = adapt_weights(model(plan()), plan(labels=SIDES.as_regions()))
    assert found.classes == {"left": CHANCE, "right": CHANCE}
    assert set(found.anew) == {"heads.0.weight", "heads.0.bias"}
    regions = LabelSet.from_values({"left": 1, "right": 2}).as_regions()
    one = adapt_weights(
        model(plan(labels=regions)), plan(labels=LabelSet.from_values({"right": 5}).as_regions())
    )
    assert one.classes == {"right": "right"}
    assert not one.anew


def test_the_foreground_mask_is_matched_with_itself() -> None:
    package = model(plan(foreground_channel=True))
    found = adapt_weights(package, plan(("T2",), foreground_channel=True))
    old, new = (of["encoder.0.0.conv.weight"] for of in (package.weights, found.tensors))
    assert torch.equal(new, old[:, [1, 2]])
    assert found.channels == {"T2": "T2"}


def test_the_record_says_what_is_frozen_and_what_of_the_model_is_left() -> None:
    package = model(plan())
    weights = adapt_weights(package, plan(("T1",), LabelSet.from_values({"left": 1})))
    record = described(package, "m.vesal", weights, freeze_encoder=True)
    assert record.left_channels == ("T2",)
    assert record.left_classes == ("right",)
    # The first convolution takes other channels, so it is trained.
    assert "encoder.0.0.conv.weight" not in record.frozen
    assert "encoder.1.0.conv.weight" in record.frozen
    assert not any(name.startswith(("decoder", "heads", "ups")) for name in record.frozen)
    assert not described(package, "m.vesal", weights).frozen
    assert record.moved + record.adapted == record.tensors == len(package.weights)


def test_a_model_of_which_nothing_fits_is_refused() -> None:
    with pytest.raises(VesalError, match="Nothing of the model fits"):
        adapt_weights(Package(plan(), "unet", {}, {}, {"other": torch.zeros(3)}), plan())
