"""What a server says about its models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vesal.errors import VesalError
from vesal.nn.model_file import load_package, save_package
from vesal.workflow.deployment.served_models import describe_models, model_digest


def test_a_run_folder_and_its_model_are_described_alike(trained_run: Path) -> None:
    file = trained_run / "fold_0" / "model.vesal"
    found = describe_models({"run": trained_run, "file": file})
    assert found["run"].model_copy(update={"name": ""}) == found["file"].model_copy(update={"name": ""})
    assert found["file"].channels == ("MRI",)
    assert (found["file"].modality, found["file"].regions, found["file"].quality) == ("MR", False, False)
    assert 0 < found["file"].measured["core"] <= 1
    assert all(label.colour.startswith("#") for label in found["file"].labels)


def test_the_digest_is_another_where_results_are_others_by_the_same_weights(
    trained_run: Path, tmp_path: Path
) -> None:
    file = trained_run / "fold_0" / "model.vesal"
    package = load_package(file)
    plan = package.plan.model_copy(update={"overlap": package.plan.overlap / 2})
    save_package(tmp_path / "other.vesal", replace(package, plan=plan))
    described = describe_models({"one": file, "other": tmp_path / "other.vesal"})
    assert described["one"].digest == described["other"].digest  # of the weights alone
    assert model_digest(trained_run) == model_digest(file) != model_digest(tmp_path / "other.vesal")


def test_a_model_that_is_none_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "no.vesal").write_text("hello")
    with pytest.raises(VesalError):
        describe_models({"no": tmp_path / "no.vesal"})
