"""What is refused of a run's plan before anything is prepared for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vesal.data.labels import LabelSet
from vesal.errors import UsageError
from vesal.layouts.registry import load_dataset
from vesal.planning.plan import Plan
from vesal.run.folder import Run
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training import train
from vesal.workflow.training.train import _refuse_early, train_run


def request(data: Path, out: Path, **values: Any) -> TrainRequest:
    return TrainRequest(data=data, out=out, steps=1, device="cpu", quiet=True, **values)


def test_a_plan_for_other_labels_and_a_cache_that_is_a_file_are_refused_early(
    tiny_data: Path, tiny_plan: Path, tmp_path: Path
) -> None:
    dataset, run = load_dataset(tiny_data), Run(tmp_path / "run")
    _refuse_early(request(tiny_data, run.folder, plan_file=tiny_plan), run, dataset)
    other = Plan.load(tiny_plan).model_copy(update={"labels": LabelSet.from_values({"a": 1})})
    other.save(tmp_path / "other.json")
    with pytest.raises(UsageError, match="other labels or channels"):
        _refuse_early(request(tiny_data, run.folder, plan_file=tmp_path / "other.json"), run, dataset)
    with pytest.raises(UsageError, match="--cache takes a folder"):
        _refuse_early(request(tiny_data, run.folder, cache=tiny_plan), run, dataset)


def test_a_step_that_the_memory_is_far_too_small_for_is_refused(
    tiny_data: Path, tiny_plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "available_memory", lambda: 1000)
    with pytest.raises(UsageError, match=r"A step needs about .* lower plan\.batch \(2\)"):
        train_run(request(tiny_data, tmp_path / "run", plan_file=tiny_plan), tell=lambda _text: None)


def test_channels_are_dropped_from_scans_of_several_alone(
    tiny_data: Path, tiny_plan: Path, tmp_path: Path
) -> None:
    asked = request(tiny_data, tmp_path / "run", plan_file=tiny_plan, settings=("augment.drop_channels=0.2",))
    with pytest.raises(UsageError, match="these have one"):
        train_run(asked, tell=lambda _text: None)
