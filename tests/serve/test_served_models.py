"""What a server says about its models."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesal.errors import UsageError, VesalError
from vesal.serve.serve_settings import named_models, read_token
from vesal.serve.served_models import describe_models


def test_a_run_folder_and_its_model_are_described_alike(trained_run: Path) -> None:
    file = trained_run / "fold_0" / "model.vesal"
    found = describe_models({"run": trained_run, "file": file})
    assert found["run"].model_copy(update={"name": ""}) == found["file"].model_copy(update={"name": ""})
    assert found["file"].channels == ("MRI",)
    assert (found["file"].modality, found["file"].regions, found["file"].quality) == ("MR", False, False)
    assert 0 < found["file"].measured["core"] <= 1
    assert all(label.colour.startswith("#") for label in found["file"].labels)


def test_a_model_that_is_none_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "no.vesal").write_text("hello")
    with pytest.raises(VesalError):
        describe_models({"no": tmp_path / "no.vesal"})


def test_models_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="both be the model heart"):
        named_models([Path("a/heart.vesal"), Path("b/heart.vesal")])


def test_a_token_comes_from_a_private_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("0123456789abcdef\n")
    file.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        read_token(file)
    file.chmod(0o600)
    assert read_token(file) == "0123456789abcdef"
    monkeypatch.setenv("VESAL_TOKEN", "fedcba9876543210")
    assert read_token(None) == "fedcba9876543210"
    file.write_text("")
    with pytest.raises(UsageError, match="is empty"):
        read_token(file)
