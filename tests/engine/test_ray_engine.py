"""Workers of a cluster, beside what every engine promises (test_outcome): a head and two nodes on this machine."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from engine_work import Work

from vesal.engine.ray_engine import RayEngine, connected
from vesal.errors import UsageError

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
