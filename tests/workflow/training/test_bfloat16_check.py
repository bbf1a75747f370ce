"""After a training masks decide whether the model predicts in bfloat16, and the model file keeps the decision."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vesal.errors import UsageError
from vesal.infer.backends import openvino, registry
from vesal.infer.predictor import load_model
from vesal.nn.model_file import load_package, save_package
from vesal.planning.plan import Plan
from vesal.run.folder import Run
from vesal.train.recipe import TrainConfig
from vesal.train.state import TrainJob
from vesal.workflow.training import bfloat16_check
from vesal.workflow.training.bfloat16_check import check_bfloat16


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A processor that computes bfloat16, whatever this one does, and no OpenVINO, which would look itself."""
    for module in (bfloat16_check, registry):
        monkeypatch.setattr(module, "computes_bfloat16", lambda: True)
    monkeypatch.setattr(openvino, "installed", lambda: None)
    return monkeypatch


def fold_of(run: Path, copy: Path, **changes: Any) -> TrainJob:
    """A trained fold, as if nothing had been compared yet."""
    shutil.copytree(run, copy)
    plan, config = Plan.load(copy / "plan.json"), TrainConfig.load(copy / "config.yaml")
    folds = Run(copy).folds()
    assert folds is not None
    cases = {case.id: case for case in load_dataset_of(copy)}
    held_out: Any = [cases[name] for name in folds.validation(0)]
    values: dict[str, Any] = {"plan": plan, "config": config, "train": [], "validation": held_out}
    values |= {"folder": copy / "fold_0", "device": torch.device("cpu"), "title": "fold 0", "provenance": {}}
    job = TrainJob(**(values | changes))
    package = load_package(job.model_file)
    save_package(job.model_file, package.__class__(**(vars(package) | {"bfloat16": None})))
    return job


def load_dataset_of(run: Path) -> Any:
    return Run(run).dataset().cases


def test_masks_that_agree_are_noted_in_the_model_file_which_then_decides(
    trained_run: Path, tmp_path: Path, processor: pytest.MonkeyPatch
) -> None:
    job = fold_of(trained_run, tmp_path / "run")
    told: list[str] = []
    found = check_bfloat16(job, load_dataset_of(tmp_path / "run"), 10.0, told.append)
    assert found is not None
    assert found.agrees
    assert set(found.dice) == {"shell", "core"}
    assert found.backends == ("torch in bfloat16",)
    assert told == [found.sentence]
    assert load_model(job.model_file, device="cpu").backend == "torch in bfloat16"
    assert load_model(job.model_file, device="cpu", precision="32").backend == "torch"
    # It is not compared again.
    assert check_bfloat16(job, load_dataset_of(tmp_path / "run"), 10.0, told.append) is None
    processor.setattr(registry, "computes_bfloat16", lambda: False)
    assert load_model(job.model_file, device="cpu").backend == "torch"
    with pytest.raises(UsageError, match="This processor does not predict in bfloat16"):
        load_model(job.model_file, device="cpu", precision="bf16")


def test_a_network_whose_masks_differ_in_bfloat16_stays_in_float32(
    trained_run: Path, tmp_path: Path, processor: pytest.MonkeyPatch
) -> None:
    real = registry.Bfloat16Network.__call__

    def coarse(self: registry.Bfloat16Network, batch: Tensor) -> Tensor:
        """As a network of which bfloat16 leaves too few digits: a voxel to the side."""
        return real(self, batch).roll(1, dims=2)

    job = fold_of(trained_run, tmp_path / "run")
    processor.setattr(registry.Bfloat16Network, "__call__", coarse)
    found = check_bfloat16(job, load_dataset_of(tmp_path / "run"), 10.0, lambda _: None)
    assert found is not None
    assert not found.agrees
    assert min(found.dice.values()) < 0.99
    assert load_model(job.model_file, device="cpu").backend == "torch"
    # Whoever asks for it gets it.
    assert load_model(job.model_file, device="cpu", precision="bf16").backend == "torch in bfloat16"


def test_a_processor_without_bfloat16_changes_nothing(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = fold_of(trained_run, tmp_path / "run")
    before = job.model_file.read_bytes()
    monkeypatch.setattr(bfloat16_check, "computes_bfloat16", lambda: False)
    assert check_bfloat16(job, load_dataset_of(tmp_path / "run"), 10.0, pytest.fail) is None
    assert job.model_file.read_bytes() == before


def test_a_long_comparison_ends_after_its_first_scan(
    trained_run: Path, tmp_path: Path, processor: pytest.MonkeyPatch
) -> None:
    every = load_dataset_of(trained_run)
    job = fold_of(trained_run, tmp_path / "run", validation=list(every))
    assert bfloat16_check.compare(job, every, 0.0).cases == 1
    assert bfloat16_check.compare(job, every[:4], float("inf")).cases == 4
