"""Models from their files."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_model import package, plan

from vesal.errors import UsageError, VesalError
from vesal.infer.predictor import load_model
from vesal.nn.model_file import save_package


def test_what_holds_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no"):
        load_model(tmp_path / "absent.vesal")
    with pytest.raises(UsageError, match="No model"):
        load_model([])


@pytest.mark.parametrize(
    "change",
    [{"foreground_channel": True}, {"image_order": 1}, {"crop_to_nonzero": False}, {"channels": ("CT",)}],
)
def test_models_that_prepare_otherwise_do_not_vote_together(
    tmp_path: Path, change: dict[str, object]
) -> None:
    for name, made in {"one": plan(), "twin": plan(), "other": plan(**change)}.items():
        save_package(tmp_path / f"{name}.vesal", package(made))
    assert len(load_model([tmp_path / "one.vesal", tmp_path / "twin.vesal"], device="cpu").networks) == 2
    with pytest.raises(VesalError, match="cannot vote together"):
        load_model([tmp_path / "one.vesal", tmp_path / "other.vesal"], device="cpu")
