"""A run exported in int8, with what that costs and gains."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small_model import needs_openvino

from vesal.data.dataset import Case
from vesal.data.labels import Label, LabelSet
from vesal.errors import UsageError, VesalError
from vesal.infer.predictor import load_model
from vesal.infer.runtime.load_exported import load_exported
from vesal.run.folder import Run
from vesal.workflow.deployment import int8_export
from vesal.workflow.deployment.int8_export import Int8Cases, Int8Cost, calibration_windows, measured
from vesal.workflow.deployment.model_export import export_model

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")


@needs_openvino
def test_int8_is_written_with_what_it_costs_and_refused_where_that_is_much(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8_export, "MOST_LOST", 1.0)
    done = export_model("openvino", trained_run, tmp_path / "model.xml", "int8")
    assert done.int8 is not None
    assert done.int8.cases == len(Int8Cases.of(trained_run).held_out)
    assert done.int8.seconds > 0
    assert "of the mean Dice of" in done.text()
    case = Run(trained_run).dataset().cases[0]
    model = load_exported(tmp_path / "model.xml")
    volume = int8_export._read(model, case)[0]
    whole = load_model(trained_run, device="cpu", backend="torch", precision="32").predict(volume)
    assert np.mean(model.predict(volume).label.array != whole.label.array) < 0.1
    text = (tmp_path / "model.xml").read_text()
    assert "float32_seconds" in text
    monkeypatch.setattr(int8_export, "MOST_LOST", -2.0)
    with pytest.raises(VesalError, match=r"int8 costs .* nothing was written"):
        measured(model, model, Int8Cases.of(trained_run))


def test_ranges_are_found_on_windows_of_training_cases(trained_run: Path) -> None:
    cases = Int8Cases.of(trained_run)
    assert not {case.id for case in cases.calibration} & {case.id for case in cases.held_out}
    model = load_model(trained_run, device="cpu", quality=False)
    asked: list[Case] = list(cases.calibration[:2])
    windows = calibration_windows(int8_export.replace(model, device=None), asked)
    assert len(asked) <= len(windows) <= 8
    assert {window.shape for window in windows} == {(1, 1, *model.plan.patch)}
    assert all(np.ptp(window) > 0 for window in windows)


def test_int8_is_refused_for_onnx_and_of_a_model_file_alone(trained_run: Path, tmp_path: Path) -> None:
    file = next(trained_run.glob("fold_*/model.vesal"))
    with pytest.raises(UsageError, match="int8 is for --to openvino, not onnx"):
        export_model("onnx", trained_run, tmp_path / "a.vesal", "int8")
    with pytest.raises(UsageError, match="name a run folder"):
        export_model("openvino", file, tmp_path / "a.xml", "int8")
    with pytest.raises(UsageError, match="float32, int8"):
        export_model("openvino", trained_run, tmp_path / "a.xml", "int4")


def test_the_cost_is_the_difference_of_the_means() -> None:
    cost = Int8Cost(3, 0.88, 0.9, 0.01, 0.03, 0.04, 2.0, 4.0)
    assert cost.lost == pytest.approx(0.02)
    assert cost.text().startswith("int8 costs 0.0200 (0.0100 to 0.0300) of the mean Dice of 3 held-out cases")


def test_what_int8_alone_finds_in_a_case_without_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = LabelSet(labels=(Label(name="organ", value=1), Label(name="lesion", value=2)))
    truth = np.zeros((4, 4, 4), np.uint8)
    truth[1:3] = 1
    wrong = truth.copy()
    wrong[0, 0] = 2
    monkeypatch.setattr(int8_export, "_read", lambda _model, _case: (None, truth))

    def giving(mask: NDArray[np.uint8]) -> Any:
        return SimpleNamespace(
            labels=labels,
            prepare=lambda _volume: None,
            windows=lambda: None,
            segment=lambda _prepared, _windows: SimpleNamespace(array=mask),
        )

    cases = Int8Cases((), (Case(id="a", patient="a", images=(Path("a.nii"),), label=Path("b.nii")),))
    with pytest.raises(VesalError, match=r"int8 costs 0\.5000 of the mean Dice of 1 held-out case"):
        measured(giving(truth), giving(wrong), cases)
    assert measured(giving(truth), giving(truth), cases).lost == 0
