"""A model as a file for the runtime, compared with torch before it is written."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from small_model import calibration_of, needs_openvino, package, plan, scan

from vesal.errors import UsageError, VesalError
from vesal.infer.exporting import onnx_graph as exporting
from vesal.infer.predictor import load_model
from vesal.infer.runtime.load_exported import load_exported
from vesal.nn.model_file import save_package
from vesal.workflow.deployment import model_export
from vesal.workflow.deployment.model_export import export_model


@pytest.fixture
def _needs_onnx() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="the extra onnx is not installed")


@pytest.mark.usefixtures("_needs_onnx")
def test_a_run_is_compared_on_a_held_out_scan_and_gives_the_predictions_of_the_run(
    trained_run: Path, tmp_path: Path
) -> None:
    done = export_model("onnx", trained_run, tmp_path / "model.vesal")
    assert done.compared.logits < 1e-4
    assert done.compared.scan
    assert done.compared.different == 0
    assert "Predict without torch" in done.text()
    exported, ours = (
        load_exported(tmp_path / "model.vesal"),
        load_model(trained_run, device="cpu", backend="torch", precision="32"),
    )
    assert exported.digest == ours.digest
    assert exported.postprocess == ours.postprocess
    # Made again it is ours to replace; a file of somebody else is not.
    export_model("onnx", trained_run, tmp_path / "model.vesal")
    shutil.copy(trained_run / "plan.json", tmp_path / "other.vesal")
    with pytest.raises(UsageError, match="would be overwritten"):
        export_model("onnx", trained_run, tmp_path / "other.vesal")


@pytest.mark.usefixtures("_needs_onnx")
def test_a_graph_that_differs_from_torch_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_package(tmp_path / "a.vesal", package(plan()))
    other = exporting.onnx_graph(package(plan(), seed=4))
    monkeypatch.setattr(model_export, "onnx_graph", lambda _: other)
    with pytest.raises(VesalError, match="nothing was written"):
        export_model("onnx", tmp_path / "a.vesal", tmp_path / "out" / "model.vesal")
    assert not (tmp_path / "out" / "model.vesal").exists()


@needs_openvino
def test_folds_vote_and_estimate_in_openvinos_two_files_as_in_torch(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for fold in (0, 1):
        save_package(run / f"{fold}.vesal", package(plan(), seed=3 + fold))
        single = load_model(run / f"{fold}.vesal", device="cpu", backend="torch")
        quality = calibration_of(single, scan(), fold).to_dict()
        save_package(run / f"{fold}.vesal", replace(package(plan(), seed=3 + fold), quality=quality))
    done = export_model("openvino", run, tmp_path / "model.xml")
    assert [file.name for file in done.files] == ["model.xml", "model.bin"]
    assert done.graphs == 2
    assert done.compared.scan == ""
    exported = load_exported(tmp_path / "model.xml").predict(scan(1), quality=True)
    ours = load_model(run, device="cpu", backend="torch", precision="32").predict(scan(1), quality=True)
    assert (exported.label.array != ours.label.array).mean() < 1e-4
    assert ours.quality is not None
    assert exported.quality is not None
    assert exported.quality.ood_scores == pytest.approx(ours.quality.ood_scores, abs=0.02)


def test_a_name_of_another_kind_and_the_model_itself_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_export, "require_onnx", lambda: None)
    save_package(tmp_path / "a.vesal", package(plan()))
    for target, name in (("onnx", "model.onnx"), ("onnx", "folder"), ("openvino", "model.vesal")):
        with pytest.raises(UsageError, match="ends in"):
            export_model(target, tmp_path / "a.vesal", tmp_path / name)
    with pytest.raises(UsageError, match="is the model itself"):
        export_model("onnx", tmp_path / "a.vesal", tmp_path / "a.vesal")


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="vesal\\[onnx\\]"):
        export_model("onnx", tmp_path / "a.vesal", tmp_path / "b.vesal")
