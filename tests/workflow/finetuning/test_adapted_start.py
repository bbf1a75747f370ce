"""What a fine-tuning may begin with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vesal.errors import UsageError, VesalError
from vesal.nn.adapted_weights import has_encoder
from vesal.nn.model_file import load_package, save_package
from vesal.train.recipe import TrainConfig
from vesal.workflow.finetuning import adapted_start
from vesal.workflow.finetuning.adapted_start import check_start


def config(model: Path, **values: object) -> TrainConfig:
    return TrainConfig(steps=1, adapt=True, initial_weights=str(model), **values)  # type: ignore[arg-type]


def test_a_model_of_the_asked_network_is_taken_and_others_are_refused(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained_run / "fold_0" / "model.vesal"
    check_start(config(model, freeze_encoder=True))
    with pytest.raises(UsageError, match="model's network is unet, not residual-unet"):
        check_start(config(model, network="residual-unet"))
    with pytest.raises(UsageError, match="There is no"):
        check_start(config(tmp_path / "gone.vesal"))
    (tmp_path / "no.vesal").write_text("no model")
    with pytest.raises(VesalError, match="not a usable Vesal model"):
        check_start(config(tmp_path / "no.vesal"))
    monkeypatch.setattr(adapted_start, "has_encoder", lambda _network: False)
    with pytest.raises(UsageError, match="leave --freeze-encoder out"):
        check_start(config(model, freeze_encoder=True))
    assert has_encoder("unet")
    assert not has_encoder("monai-unet")


def test_a_model_that_others_gave_a_name_is_a_model_all_the_same(trained_run: Path, tmp_path: Path) -> None:
    package = load_package(trained_run / "fold_0" / "model.vesal")
    save_package(tmp_path / "heart", replace(package, provenance={}))
    check_start(config(tmp_path / "heart"))
