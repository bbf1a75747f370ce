"""A model as OpenVINO's two files, read again by the runtime, beside torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_model import calibration_of, needs_openvino, package, plan, scan

from vesal.errors import UsageError, VesalError
from vesal.infer.exporting import openvino_files
from vesal.infer.exporting.openvino_files import joined_graphs, require_openvino, write_openvino
from vesal.infer.model import Model
from vesal.infer.quality.encoder_features import encoder_of
from vesal.infer.runtime.exported_model import Exported
from vesal.infer.runtime.load_exported import load_exported
from vesal.infer.runtime.openvino_session import read_openvino


@needs_openvino
def test_voters_and_locator_are_in_one_model_and_give_torchs_logits(tmp_path: Path) -> None:
    coarse = plan(patch=(16, 16, 16), spacing_mm=(2.0, 2.0, 2.0))
    made = plan(locator=coarse, margin_mm=2.0)
    modules = [package(made, seed=seed).build() for seed in (3, 4)]
    calibration = calibration_of(Model(plan(), (modules[0],), torch.device("cpu")), scan())
    voters = [package(made, seed=seed) for seed in (3, 4)]
    for voter in voters:
        object.__setattr__(voter, "quality", {})
    exported = Exported(
        plan=made, network="unet", provenance={}, weights=("a",), graphs=("model", "model_2"), locators=("locator",),
        quality=(calibration,),
    )  # fmt: skip
    path = tmp_path / "model.xml"
    write_openvino(path, exported, joined_graphs(exported, [*voters, package(coarse)]))
    found, networks = read_openvino(path, 1)
    assert found == exported
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.bin", "model.xml"]
    for name, of in zip(("model", "model_2", "locator"), [*voters, package(coarse)], strict=True):
        windows = torch.randn((2, 1, *of.plan.patch), generator=torch.Generator().manual_seed(0))
        module = of.build()
        with torch.inference_mode():
            expected = module(windows).numpy()
        np.testing.assert_allclose(networks[name](windows.numpy()), expected, atol=1e-4 * np.ptp(expected))
        features, encoded = networks[name].encoded(windows[:1].numpy()), encoder_of(module)
        assert encoded is not None
        if name == "locator":
            assert not len(features)
        else:
            np.testing.assert_allclose(features, encoded(windows[:1]), atol=1e-3)
    model = load_exported(path)
    assert model.predict(scan(), quality=True).quality is not None


@needs_openvino
def test_files_that_hold_no_exported_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.xml"
    path.write_text("<net/>")
    with pytest.raises(VesalError, match="no exported Vesal model"):
        load_exported(path)
    with pytest.raises(UsageError, match="is not there"):
        load_exported(tmp_path / "absent.xml")
    with pytest.raises(UsageError, match="OpenVINO's"):
        load_exported(path, backend="onnxruntime")


def test_without_openvino_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_files, "installed", lambda: None)
    with pytest.raises(UsageError, match="vesal\\[openvino\\]"):
        require_openvino()
