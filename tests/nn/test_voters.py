"""Model files of several networks that vote."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

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
    with zipfile.ZipFile(tmp_path / "three.vesal") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["weights_3.safetensors"] = members["weights_3.safetensors"][:-8]
    with zipfile.ZipFile(tmp_path / "cut.vesal", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(VesalError, match="is damaged"):
        load_package(tmp_path / "cut.vesal")
