"""Workers of a cluster, beside what every engine promises (test_outcome): a head and two nodes on this machine."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from engine_work import Work

from vesal.engine import ray_engine
from vesal.engine.outcome import Outcome
from vesal.engine.ray_engine import RayEngine, connected
from vesal.errors import UsageError, VesalError

ray = pytest.importorskip("ray", reason="the extra cluster is not installed")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Any:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    # The head computes nothing.
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        yield made
    finally:
        made.shutdown()


def test_a_node_that_is_lost_takes_nothing_with_it(cluster: Any, tmp_path: Path) -> None:
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    engine = RayEngine(address=cluster.address)
    items = [f"item{number} takes long" for number in range(14)]
    found = {}
    with closing(engine.run(Work(tmp_path), items)) as running:
        for outcome in running:
            found[outcome.number] = outcome
            if len(found) == 4:
                cluster.remove_node(nodes[0], allow_graceful=False)
    assert found.keys() == set(range(14))
    assert not any(outcome.failed for outcome in found.values())
    assert len(list(tmp_path.glob("began-*"))) == 2
    assert max(outcome.tries for outcome in found.values()) == 2
    assert sum(outcome.tries for outcome in found.values()) == 15
    assert not ray.is_initialized()


def test_nothing_is_reported_to_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    with connected(RayEngine(workers=1)) as found:
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        assert found.is_initialized()


def test_a_cluster_that_is_not_there_is_said_to_be_so() -> None:
    with pytest.raises(UsageError, match=r"No cluster of Ray answers at 127\.0\.0\.1:1"):
        list(RayEngine(address="127.0.0.1:1").run(Work(Path()), ["a"]))


class SlowCluster:
    """Of Ray what the engine asks: a cluster that has room for a worker, or not, which takes several looks to begin."""

    def __init__(self, room: bool) -> None:
        self.room, self.looks = room, 0

    def remote(self, **_: Any) -> Any:
        calls = {
            name: SimpleNamespace(remote=lambda *_, name=name: name) for name in ("here", "begin", "work")
        }
        return lambda _kind: SimpleNamespace(remote=lambda *_: SimpleNamespace(**calls))

    def wait(self, calls: list[str], **_: Any) -> tuple[list[str], list[str]]:
        self.looks += 1
        there = {"here", "work", *(["begin"] if self.looks > 6 else [])} if self.room else set()
        return [call for call in calls if call in there], []

    def get(self, call: str) -> Any:
        return Outcome(0, "A") if call == "work" else None


def test_a_worker_that_has_its_place_may_take_long_to_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_engine, "_ROOM_S", -1.0)
    pool = ray_engine._Actors(RayEngine(), SlowCluster(room=True), None, ["a"], 1)
    found: list[Outcome] = []
    while not pool.waiting.over:
        found += pool.step()
    assert [outcome.result for outcome in found] == ["A"]
    with pytest.raises(VesalError, match="had no room for a worker"):
        list(ray_engine._Actors(RayEngine(), SlowCluster(room=False), None, ["a"], 1).step())
