"""nnU-Net's weights under Vesal's names: the same network, number for number, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from their_networks import BATCH, INSTANCE, TheirNetwork, dataset_of, kwargs_of, plans_of

from vesal.errors import VesalError
from vesal.nn.model_file import Package
from vesal.nn.nnunet.plans_reader import TheirModel
from vesal.nn.nnunet.weight_names import from_nnunet, heads_of, is_batch_norm, to_nnunet
from vesal.planning.plan import Plan


def plan_and_name(configuration: str, residual: bool, norm: str = "instance") -> tuple[Plan, str]:
    model = TheirModel(plans_of(configuration, residual=residual), dataset_of(), configuration)
    return model.plan(networks=1, mirror_axes=(0, 1), heads=2, norm=norm), model.network


@pytest.mark.parametrize("configuration", ["3d_fullres", "2d"])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_an_imported_network_gives_the_logits_of_nnunets(
    configuration: str, residual: bool, norm: str
) -> None:
    dimension = 2 if configuration == "2d" else 3
    kwargs = kwargs_of(dimension, residual=residual)
    norms: Any = {"instance": INSTANCE, "batch": BATCH}[norm]
    theirs = TheirNetwork(kwargs, 1, 3, residual=residual, norm=norms)
    weights = dict(theirs.state_dict())
    assert (is_batch_norm(weights), heads_of(weights)) == (norm == "batch", 2)
    plan, name = plan_and_name(configuration, residual, norm)
    package = Package(plan, name, {}, {}, from_nnunet(weights, plan, name, "x.pth"))
    image = torch.randn(2, 1, *plan.patch, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(package.build()(image), theirs(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("residual", [False, True])
def test_weights_come_back_under_all_of_nnunets_names(residual: bool) -> None:
    theirs = TheirNetwork(kwargs_of(3, residual=residual), 1, 3, residual=residual).state_dict()
    plan, name = plan_and_name("3d_fullres", residual)
    back = to_nnunet(from_nnunet(theirs, plan, name, "x.pth"), plan, name)
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[key], one) for key, one in theirs.items())


def test_names_of_a_compiled_or_distributed_network_are_read_too() -> None:
    theirs = TheirNetwork(kwargs_of(3), 1, 3).state_dict()
    plan, name = plan_and_name("3d_fullres", residual=False)
    plain = from_nnunet(theirs, plan, name, "x.pth")
    wrapped = from_nnunet(
        {f"module._orig_mod.{key}": one for key, one in theirs.items()}, plan, name, "x.pth"
    )
    assert all(torch.equal(plain[key], one) for key, one in wrapped.items())


def test_weights_of_another_network_are_refused_with_what_differs() -> None:
    plan, name = plan_and_name("3d_fullres", residual=False)
    theirs = dict(TheirNetwork(kwargs_of(3), 1, 3).state_dict())
    other = dict(theirs)
    del other["decoder.seg_layers.1.weight"]
    other["encoder.attention.weight"] = torch.ones(1)
    with pytest.raises(
        VesalError, match=r"has no decoder.seg_layers.1.weight; it holds encoder.attention.weight"
    ):
        from_nnunet(other, plan, name, "x.pth")
    wide = TheirNetwork(kwargs_of(3, features=(6, 8, 8)), 1, 3).state_dict()
    with pytest.raises(VesalError, match="differs in"):
        from_nnunet(wide, plan, name, str(Path("x.pth")))


def test_heads_that_a_network_lacks_are_zeros_for_nnunet() -> None:
    plan, name = plan_and_name("3d_fullres", residual=False)
    weights = from_nnunet(TheirNetwork(kwargs_of(3), 1, 3).state_dict(), plan, name, "x.pth")
    one = plan.model_copy(update={"heads": 1})
    back = to_nnunet({key: of for key, of in weights.items() if not key.startswith("heads.1")}, one, name)
    assert not back["decoder.seg_layers.0.weight"].any()
    assert back["decoder.seg_layers.1.weight"].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_conv_per_stage": [1, 2, 10**9]}, "convolutions; get both again"),
        ({"features_per_stage": [10**12, 8, 8]}, "a network that cannot be built"),
    ],
)
def test_plans_of_a_network_that_no_file_can_hold_are_refused_before_it_is_built(
    change: dict[str, Any], message: str
) -> None:
    theirs = TheirNetwork(kwargs_of(3), 1, 3).state_dict()
    plans = plans_of()
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"] |= change
    model = TheirModel(plans, dataset_of(), "3d_fullres")
    plan = model.plan(networks=1, mirror_axes=(), heads=2, norm="instance")
    with pytest.raises(VesalError, match=message):
        from_nnunet(theirs, plan, model.network, "x.pth")
