"""The results of all items in order, whatever becomes of some."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_work import AsksHowMany, BoundedWork, LimitOfMemory, Work

from vesal.cpus import cpu_count
from vesal.engine.engine_map import map_by
from vesal.engine.in_process import InProcess
from vesal.engine.local_engine import LocalEngine
from vesal.errors import VesalError
from vesal.memory_limit import limit, limited


def test_results_come_in_the_order_of_the_items_and_failures_are_made_results(tmp_path: Path) -> None:
    items = ["a takes long", "b is refused", "c", "d kills"]
    seen: list[tuple[int, int]] = []
    found = map_by(
        LocalEngine(2),
        Work(tmp_path),
        items,
        lambda item, outcome: (item, outcome.reason[:15]),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert found == ["A", ("b is refused", "it has no voxel"), "C", ("d kills", "its worker died")]
    assert seen == [(done, 4) for done in range(1, 5)]


def test_a_failure_that_all_share_is_raised(tmp_path: Path) -> None:
    with pytest.raises(VesalError, match="The disk is full"):
        map_by(InProcess(), Work(tmp_path), ["a", "b finds a full disk"], lambda _item, _outcome: None)


def test_this_process_is_an_engine_of_one(tmp_path: Path) -> None:
    found = list(InProcess().run(Work(tmp_path), ["a", "b meets a bug"]))
    assert [outcome.result for outcome in found] == ["A", None]
    assert found[1].reason == "KeyError: 'spacing'"
    assert list(InProcess().run(Work(tmp_path, "refused"), [])) == []


def test_workers_keep_to_the_limit_of_memory_of_this_process(tmp_path: Path) -> None:
    for engine in (InProcess(), LocalEngine(1)):
        with limited(9 * 10**9, tmp_path):
            assert map_by(engine, LimitOfMemory(), ["a"], lambda _item, outcome: outcome.reason) == [
                9 * 10**9
            ]
        assert limit() is None
        assert map_by(engine, LimitOfMemory(), ["a"], lambda _item, outcome: outcome.reason) == [None]


def test_work_says_how_many_of_its_items_a_machine_has_room_for(tmp_path: Path) -> None:
    for work, expected in ((BoundedWork(), [3]), (Work(tmp_path), [cpu_count()])):
        with limited(9 * 10**9, tmp_path):
            assert map_by(AsksHowMany(), work, ["abc"], lambda _item, outcome: outcome.reason) == expected
