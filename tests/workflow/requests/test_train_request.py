"""What a training is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesal.errors import UsageError
from vesal.workflow.requests.train_request import OverfitRequest, TrainRequest


def test_a_request_names_data_and_folder_and_leaves_the_rest_to_the_recipe() -> None:
    request = TrainRequest(Path("data"), Path("run"))
    assert (request.recipe, request.device, request.layout) == (None, "auto", "auto")
    assert request.overrides == {}
    chosen = (request.budget, request.steps, request.epochs, request.seed, request.dimension, request.fold)
    assert chosen == (None,) * 6


def test_requests_do_not_share_their_overrides() -> None:
    TrainRequest(Path("data"), Path("run")).overrides["steps"] = 1
    assert TrainRequest(Path("data"), Path("run")).overrides == {}


def test_overfitting_has_one_length() -> None:
    assert OverfitRequest(Path("data"), steps=5).budget is None
    with pytest.raises(UsageError, match="choose one"):
        OverfitRequest(Path("data"), steps=5, budget="1m")
