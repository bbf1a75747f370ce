"""Who predicts, as it is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from vesal.engine.local_engine import LocalEngine
from vesal.engine.ray_engine import RayEngine
from vesal.errors import UsageError
from vesal.workflow.requests import engine_options
from vesal.workflow.requests.engine_options import CohortOptions, EngineOptions, parse_shard


def test_the_engine_is_made_as_it_is_asked_for() -> None:
    assert EngineOptions().make() is None
    assert EngineOptions("local", 3, 2, worker_ram=4 * 10**9).make() == LocalEngine(3, 2, 4 * 10**9)
    asked = EngineOptions("ray", None, 1, 0.5, None, "auto")
    assert asked.make() == RayEngine("auto", None, 1, 0.5, None)
    workers = EngineOptions("local").make()
    assert isinstance(workers, LocalEngine)
    assert workers.workers >= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "rays"}, "perhaps ray"),
        ({"workers": 2}, "--workers belongs to an engine"),
        ({"worker_ram": 2}, "--worker-ram belongs to an engine"),
        ({"shard": (1, 2)}, "--shard belongs to an engine"),
        ({"engine": "local", "ray_address": "auto"}, "--ray-address is for --engine ray"),
        ({"engine": "local", "gpus_per_worker": 1.0}, "--gpus-per-worker is for --engine ray"),
        ({"engine": "ray", "gpus_per_worker": -1.0}, "0 or more"),
        ({"engine": "ray", "gpus_per_worker": 1.5}, "a whole number"),
        ({"engine": "ray", "gpus_per_worker": float("nan")}, "a whole number"),
        ({"engine": "ray", "gpus_per_worker": float("inf")}, "a whole number"),
        ({"engine": "local", "worker_ram": 4}, "--worker-ram 0 MB is less than the program itself takes"),
    ],
)
def test_what_does_not_fit_together_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        CohortOptions(**options)


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "a/4", "1/b"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--shard takes a part"):
        parse_shard(text)


def test_the_workers_of_a_machine_share_its_limit_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    held = 10**9
    monkeypatch.setattr(engine_options, "held_bytes", lambda: held)
    assert EngineOptions().share(9 * 10**9) == 9 * 10**9
    assert EngineOptions("ray", 3).share(9 * 10**9) == 9 * 10**9
    assert EngineOptions("local", 3).share(None) is None
    share = EngineOptions("local", 3).share(9 * 10**9)
    assert share is not None
    # This process, and that of which the workers are copies, take their part.
    assert 3 * share + 2 * held <= 9 * 10**9
    assert share > 2 * 10**9
    with pytest.raises(
        UsageError, match=r"4 GB leaves 125 MB for each of 16 workers, .* \(1 GB\); allow more"
    ):
        EngineOptions("local", 16).share(4 * 10**9)
    with pytest.raises(UsageError, match=r"1\.5 GB leaves 0 MB for each of 3 workers"):
        EngineOptions("local", 3).share(15 * 10**8)
