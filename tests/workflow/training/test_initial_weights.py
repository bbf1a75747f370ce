"""A training that begins with given weights (--from)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vesal.errors import UsageError, VesalError
from vesal.nn.model_file import load_package
from vesal.run.folder import Run
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training.train import train_run


def test_a_training_begins_with_the_weights_of_a_model_file_and_of_a_state_dict(
    trained_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    model = trained_run / "fold_0" / "model.vesal"
    before = load_package(model).weights
    torch.save({"state_dict": before}, tmp_path / "w.pth")
    for name, file in (("a", model), ("b", tmp_path / "w.pth"), ("c", trained_run / "fold_0" / "last.ckpt")):
        messages: list[str] = []
        request = TrainRequest(
            data=tiny_data,
            out=tmp_path / name,
            from_file=file,
            plan_file=trained_run / "plan.json",
            steps=1,
            # So small a step that the weights stay where they begin.
            settings=("lr=1e-12", "ema=null", "optimizer=adam"),
            device="cpu",
            quiet=True,
        )
        train_run(request, tell=messages.append)
        assert any("tensors taken (100.0% of the weights)" in text for text in messages)
        package = load_package(tmp_path / name / "fold_all" / "model.vesal")
        assert "tensors taken" in package.provenance["initial_weights"]
        if name != "c":
            assert all(torch.allclose(before[key], one, atol=1e-8) for key, one in package.weights.items())


def test_held_out_scans_that_the_model_learned_from_are_named(
    trained_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    folds = Run(trained_run).folds()
    assert folds is not None
    for fold in (0, 1):
        messages: list[str] = []
        request = TrainRequest(
            data=tiny_data,
            out=tmp_path / f"{fold}",
            from_file=trained_run / "fold_0" / "model.vesal",
            plan_file=trained_run / "plan.json",
            folds_file=trained_run / "folds.json",
            fold=fold,
            steps=1,
            device="cpu",
            quiet=True,
        )
        train_run(request, tell=messages.append)
        told = [text for text in messages if "their scores are too good" in text]
        package = load_package(tmp_path / f"{fold}" / f"fold_{fold}" / "model.vesal")
        assert ("their scores are too good" in package.provenance["initial_weights"]) == bool(told)
        assert [name for name in folds.validation(fold) if name in "".join(told)] == (
            list(folds.validation(1)) if fold == 1 else []
        )


def test_a_file_without_weights_is_refused_before_anything_is_written(
    tiny_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "w.pth").write_text("no weights")
    for file, kind in ((tmp_path / "w.pth", VesalError), (tmp_path / "absent.pth", UsageError)):
        with pytest.raises(kind):
            train_run(
                TrainRequest(data=tiny_data, out=tmp_path / "run", from_file=file, device="cpu", quiet=True)
            )
    assert not (tmp_path / "run").exists()
