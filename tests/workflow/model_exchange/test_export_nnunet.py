"""Folders that nnU-Net predicts with: its network, its names, its masks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import their_prediction
import torch
from scipy import ndimage
from test_plans_writer import plan
from their_networks import BATCH, TheirNetwork, dataset_of, kwargs_of, plans_of, write_folder

import vesal
from vesal.errors import UsageError
from vesal.nn.model_file import Package, load_package, save_package
from vesal.nn.zoo import build_network
from vesal.planning.plan import Plan
from vesal.volume.geometry import Geometry
from vesal.volume.volume import Volume
from vesal.workflow.model_exchange.export_nnunet import export_nnunet
from vesal.workflow.model_exchange.import_model import import_model
from vesal.workflow.requests.import_request import ImportRequest


def package_of(made: Plan, network: str = "unet", **more: Any) -> Package:
    """With random weights, norms included."""
    torch.manual_seed(5)
    weights = build_network(network, made).state_dict()
    for name, tensor in weights.items():
        if name.endswith("norm.weight"):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith("bias"):
            tensor.normal_(0.0, 0.2)
    return Package(made, network, {}, {"licence": "CC BY 4.0"}, weights, **more)


def their_network(folder: Path, *, residual: bool = False, fold: int = 0) -> TheirNetwork:
    """As nnU-Net builds it from the folder and loads it: all names have to be there."""
    plans = json.loads((folder / "plans.json").read_text())
    (found,) = plans["configurations"].values()
    kwargs = found["architecture"]["arch_kwargs"]
    norm = BATCH if "BatchNorm" in kwargs["norm_op"] else None
    held = torch.load(folder / f"fold_{fold}" / "checkpoint_final.pth", weights_only=True)
    outputs = held["network_weights"]["decoder.seg_layers.0.weight"].shape[0]
    network = TheirNetwork(kwargs, 1, outputs, residual=residual, norm=norm)
    network.load_state_dict(held["network_weights"])
    return network


@pytest.mark.parametrize("network", ["unet", "residual-unet"])
@pytest.mark.parametrize("changes", [{}, {"bias": True}, {"dimension": 2, "slice_axis": 2}])
def test_nnunet_predicts_the_masks_of_the_model(
    network: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    made = plan(**({"dimension": 3} | changes))
    save_package(tmp_path / "m.vesal", package_of(made, network))
    exported = export_nnunet(tmp_path / "m.vesal", tmp_path / "out")
    assert exported.command.endswith(f"-m {tmp_path / 'out'} -f 0")
    theirs = their_network(tmp_path / "out", residual=network == "residual-unet")
    # Not larger than a window once it is resampled: Vesal's Gaussian lies half a voxel beside nnU-Net's.
    # Smooth: nnU-Net clips what splines overshoot.
    noise = np.random.default_rng(2).normal(80, 200, (16, 8, 20))
    array = ndimage.gaussian_filter(noise, 1.5)[None].astype(np.float32)
    spacing = (0.9, 1.4, 2.1)
    volume = Volume(array, Geometry.from_spacing(array.shape[1:], spacing))
    plans = json.loads((tmp_path / "out" / "plans.json").read_text())
    expected = their_prediction.predict(array, spacing, plans, [theirs])
    found = vesal.load_model(tmp_path / "m.vesal", device="cpu", backend="torch").predict(volume).label.array
    assert len(np.unique(expected)) > 1
    assert np.mean(found == expected) > 0.99


def test_an_imported_model_comes_out_as_it_went_in(tmp_path: Path) -> None:
    plans, networks = plans_of(), {name: TheirNetwork(kwargs_of(3), 1, 3, seed=int(name)) for name in "01"}
    folder = write_folder(tmp_path, plans, dataset_of(), networks)
    import_model(ImportRequest(folder, tmp_path / "m.vesal"))
    exported = export_nnunet(tmp_path / "m.vesal", tmp_path / "out")
    assert exported.command.endswith("-f 0 1")
    assert any("CC BY-SA 4.0" in remark for remark in exported.remarks)
    written = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert written["licence"] == "CC BY-SA 4.0"
    for number, network in enumerate(networks.values()):
        held = torch.load(tmp_path / "out" / f"fold_{number}" / "checkpoint_final.pth", weights_only=True)
        assert all(
            torch.equal(held["network_weights"][name], one) for name, one in network.state_dict().items()
        )
        assert held["inference_allowed_mirroring_axes"] == (0, 1)
    import_model(ImportRequest(tmp_path / "out", tmp_path / "again.vesal"))
    first, again = load_package(tmp_path / "m.vesal"), load_package(tmp_path / "again.vesal")
    assert (again.plan, again.weights_digest) == (first.plan, first.weights_digest)


def test_what_nnunet_cannot_do_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    save_package(tmp_path / "m.vesal", package_of(plan(activation="relu")))
    with pytest.raises(UsageError, match="its networks have leaky ReLU, not relu"):
        export_nnunet(tmp_path / "m.vesal", tmp_path / "out")
    batch = package_of(plan(norm="batch", bias=True), "residual-unet")
    save_package(tmp_path / "b.vesal", batch)
    with pytest.raises(UsageError, match="shortcuts of its residual blocks have no bias"):
        export_nnunet(tmp_path / "b.vesal", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_post_processing_that_stays_behind_is_named_and_files_of_others_stay(tmp_path: Path) -> None:
    steps = {"version": 1, "steps": []}
    save_package(tmp_path / "m.vesal", replace(package_of(plan()), postprocess=steps))
    assert any(
        "Post-processing" in remark
        for remark in export_nnunet(tmp_path / "m.vesal", tmp_path / "out").remarks
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "plans.json").write_text("{}")
    with pytest.raises(UsageError, match=r"plans\.json"):
        export_nnunet(tmp_path / "m.vesal", tmp_path / "mine")
