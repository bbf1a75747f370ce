"""Model files of several networks: some vote, and one may find where the others look."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as save_tensors

import vesal
from vesal.errors import VesalError
from vesal.nn.model_file import Package, load_package, save_package
from vesal.nn.zoo import build_network
from vesal.planning.plan import Plan


@pytest.fixture
def package(tiny_plan: Path) -> Package:
    """Of three networks."""
    plan = Plan.load(tiny_plan)
    weights = []
    for seed in range(3):
        torch.manual_seed(seed)
        weights.append(build_network("unet", plan).state_dict())
    return Package(plan, "unet", {}, {}, weights[0], more_weights=tuple(weights[1:]))


def read_zip(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_all_come_back_in_order(package: Package, tmp_path: Path) -> None:
    save_package(tmp_path / "three.vesal", package)
    found = load_package(tmp_path / "three.vesal")
    assert len(found.voters) == 3
    for before, after in zip(package.voters, found.voters, strict=True):
        assert not after.more_weights
        assert all(torch.equal(before.weights[name], after.weights[name]) for name in before.weights)
    assert found.weights_digest == package.weights_digest
    assert found.weights_digest != replace(package, more_weights=()).weights_digest
    assert found.weights_digest != replace(package, more_weights=package.more_weights[::-1]).weights_digest


def test_their_mean_is_predicted(package: Package, tmp_path: Path) -> None:
    save_package(tmp_path / "three.vesal", package)
    model = vesal.load_model(tmp_path / "three.vesal", device="cpu", backend="torch")
    assert len(model.networks) == 3
    assert len(model.packages) == 1
    image = (
        np.random.default_rng(0).normal(size=(package.plan.inputs, *package.plan.patch)).astype(np.float32)
    )
    found = model.logits(image, model.windows())
    with torch.inference_mode():
        each = [voter.build()(torch.from_numpy(image)[None])[0] for voter in package.voters]
    torch.testing.assert_close(found, torch.stack(each).mean(dim=0), rtol=1e-3, atol=1e-4)


def test_weights_of_another_network_are_refused_wherever_they_stand(package: Package, tmp_path: Path) -> None:
    with pytest.raises(VesalError, match="weights"):
        save_package(tmp_path / "no.vesal", replace(package, more_weights=({"a": torch.zeros(1)},)))
    save_package(tmp_path / "three.vesal", package)
    members = read_zip(tmp_path / "three.vesal")
    members["weights_3.safetensors"] = members["weights_3.safetensors"][:-8]
    with pytest.raises(VesalError, match="is damaged"):
        load_package(write_zip(tmp_path / "cut.vesal", members))


def located(package: Package, **changes: Any) -> Package:
    """The first of them, with a locator."""
    coarse = package.plan.model_copy(update={"spacing_mm": (4.0, 4.0, 4.0)})
    both = {"locator": coarse.model_dump(), "margin_mm": 12.5}
    plan = Plan.model_validate(package.plan.model_dump() | both)
    alone = replace(package, plan=plan, more_weights=(), locator_weights=package.more_weights[0])
    return replace(alone, **changes)


def test_a_model_of_two_stages_comes_back_with_both(package: Package, tmp_path: Path) -> None:
    before = located(package)
    save_package(tmp_path / "two.vesal", before)
    after = load_package(tmp_path / "two.vesal")
    assert after.plan == before.plan
    assert after.locator is not None
    assert before.locator is not None
    assert after.locator.plan == before.plan.locator
    x = torch.randn(1, package.plan.inputs, *package.plan.patch)
    assert torch.equal(after.locator.build()(x), before.locator.build()(x))
    assert after.weights_digest == before.weights_digest != replace(package, more_weights=()).weights_digest


def test_a_locator_is_one_network_whatever_votes_beside_it(package: Package) -> None:
    voting = located(package, more_weights=package.more_weights, bfloat16={"agreed": True})
    assert voting.locator is not None
    assert len(voting.voters) == 3
    assert len(voting.locator.voters) == 1
    assert voting.locator.bfloat16 is None


def test_stages_without_their_weights_and_weights_without_their_stage_are_refused(
    package: Package, tmp_path: Path
) -> None:
    two = located(package)
    for wrong in (replace(two, locator_weights=None), replace(package, locator_weights=two.locator_weights)):
        with pytest.raises(VesalError, match="not both there"):
            save_package(tmp_path / "no.vesal", wrong)
    save_package(tmp_path / "two.vesal", two)
    members = read_zip(tmp_path / "two.vesal")
    other = save_tensors({"some.weight": torch.zeros(2)})
    with pytest.raises(VesalError, match="weights"):
        load_package(write_zip(tmp_path / "other.vesal", members | {"locator.safetensors": other}))
    del members["locator.safetensors"]
    with pytest.raises(VesalError, match="not both there"):
        load_package(write_zip(tmp_path / "half.vesal", members))
