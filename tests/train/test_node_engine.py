"""The machines of a training share the reading and the preparation of its scans, with the results of one process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import team_work

from vesal import cpus
from vesal.cpus import cpu_count
from vesal.data.fingerprint import Fingerprint
from vesal.engine.engine_map import map_by
from vesal.errors import UsageError, VesalError
from vesal.parallel import no_progress
from vesal.run_files import CASES, FINDINGS, FINGERPRINT, PREPARED, SOURCES
from vesal.train import node_engine
from vesal.train.distributed import ALONE, Team
from vesal.train.node_engine import NodeEngine, engine_of_nodes, serve_node
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training import train
from vesal.workflow.training.devices import train_on_devices


def nothing() -> None:
    """The other node sees what the first one does."""


def silent(_text: str) -> None:
    """No messages."""


class TwoNodes:
    """A team seen from the first process of the first node; the second node works where its results are asked for."""

    nodes = (0, 1)
    rank = 0

    def __init__(self, before: Callable[[], Any] = nothing) -> None:
        self.before = before

    def share(self, value: Any) -> Any:
        self.work = value
        return value

    def receive(self, _rank: int) -> Any:
        self.before()
        return list(self.work.of_node(1, 2))


class SecondNode:
    """A team seen from a process that hears these values of the first one."""

    def __init__(self, heard: list[Any], nodes: tuple[int, ...]) -> None:
        self.heard, self.nodes, self.rank, self.sent = heard, nodes, 1, []

    def share(self, _value: None) -> Any:
        return self.heard.pop(0)

    def send(self, value: Any) -> None:
        self.sent.append(value)


class Upper:
    """Notes which items it is given, and for how many processors."""

    def __init__(self) -> None:
        self.given: list[str] = []
        self.processors: set[int] = set()

    def __call__(self) -> Callable[[str], str]:
        return self.one

    def one(self, item: str) -> str:
        self.given.append(item)
        self.processors.add(cpu_count())
        return item.upper()


def test_results_are_in_the_order_of_the_items_and_each_node_does_every_second() -> None:
    work, seen = Upper(), []
    found = map_by(
        NodeEngine(TwoNodes()), work, "abcde", lambda *_: None, progress=lambda *of: seen.append(of)
    )
    assert found == ["A", "B", "C", "D", "E"]
    assert sorted(work.given[:3]) == ["a", "c", "e"]
    assert seen == [(done, 5) for done in range(1, 6)]
    assert map_by(NodeEngine(TwoNodes()), work, "a", lambda *_: None) == ["A"]
    assert map_by(NodeEngine(TwoNodes()), work, "", lambda *_: None) == []


def test_the_first_process_of_a_node_works_until_it_hears_the_end_and_the_others_only_wait() -> None:
    first = TwoNodes()
    list(NodeEngine(first).run(Upper(), "abcde"))
    for nodes, sent in (((0, 1), [[(1, "B"), (3, "D")]]), ((0, 2), [])):
        team = SecondNode([first.work, "the end"], nodes)
        assert serve_node(team) == "the end"
        assert [sorted(value) for value in team.sent] == sent


def test_a_node_works_with_the_processors_of_all_its_processes() -> None:
    everything, first = cpu_count(), TwoNodes()
    list(NodeEngine(first).run(Upper(), "abcde"))
    first.work.prepare.processors.clear()
    with cpus.kept_to(1):
        serve_node(SecondNode([first.work, "the end"], (0, 1)))
    assert first.work.prepare.processors == {everything}


def test_one_node_needs_no_engine_and_nodes_that_see_everything_have_one(tmp_path: Path) -> None:
    assert engine_of_nodes(ALONE, tmp_path / "cache", [], silent) is None
    assert engine_of_nodes(Team(0, 2), tmp_path / "cache", [], silent) is None
    assert not (tmp_path / "cache").exists()
    # A file that the first one does not see is for others to name.
    assert engine_of_nodes(TwoNodes(), tmp_path / "cache", [tmp_path / "scan"], silent) is not None
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_node_that_does_not_see_the_prepared_scans_is_named_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_engine, "_SEEN_WITHIN_S", 0.0)
    folder = tmp_path / "cache"
    with pytest.raises(
        UsageError, match=r"does not see .*cache, where .* take a folder that all nodes share"
    ):
        engine_of_nodes(TwoNodes(lambda: shutil.rmtree(folder)), folder, [], silent)


def test_runs_that_share_a_cache_do_not_take_each_other_for_a_node_that_sees_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_engine, "_SEEN_WITHIN_S", 0.0)
    folder = tmp_path / "cache"

    def another_run() -> None:
        assert engine_of_nodes(TwoNodes(), folder, [], silent) is not None

    assert engine_of_nodes(TwoNodes(another_run), folder, [], silent) is not None
    assert list(folder.iterdir()) == []


def test_where_a_node_may_not_read_a_scan_the_first_one_reads_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, heard = tmp_path / "scan.nii.gz", []
    scan.touch()

    def forbids() -> None:
        # Root, who may run the tests, may read whatever its mode is.
        monkeypatch.setattr(os, "access", lambda path, _mode: path != scan)

    assert engine_of_nodes(TwoNodes(forbids), tmp_path / "cache", [scan], heard.append) is None
    assert [text.partition(" does not see ")[2].partition(",")[0] for text in heard] == [str(scan)]


def test_where_a_node_does_not_see_a_scan_the_first_one_reads_all(tmp_path: Path) -> None:
    scan, heard = tmp_path / "scan.nii.gz", []
    scan.touch()
    assert engine_of_nodes(TwoNodes(scan.unlink), tmp_path / "cache", [scan], heard.append) is None
    assert [text.partition(" does not see ")[2] for text in heard] == [
        f"{scan}, so the first node alone reads and prepares the scans; it takes less time where all nodes see them."
    ]


# --- trainings that are set up -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def damaged(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scans, of which the sixth one is cut off."""
    data = Path(shutil.copytree(tiny_data, tmp_path_factory.mktemp("damaged") / "data"))
    file = data / "imagesTr" / "tiny_05.nii.gz"
    file.write_bytes(file.read_bytes()[:999])
    return data


@pytest.fixture(scope="module")
def ask(damaged: Path, tiny_plan: Path) -> TrainRequest:
    """For a run of one step, with a folder still to be given."""
    return TrainRequest(damaged, Path("run"), plan_file=tiny_plan, steps=1, device="cpu", quiet=True)


@pytest.fixture(scope="module")
def alone(ask: TrainRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The run of one process, and what it said."""
    heard: list[str] = []
    out = tmp_path_factory.mktemp("alone") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "train_split", team_work.loads)
        patch.setattr(train, "finish_run", team_work.no_report)
        train.train_run(replace(ask, out=out), tell=heard.append)
    return out, heard


def on_two_nodes(work: Any, request: TrainRequest) -> list[str]:
    return train_on_devices(work, replace(request, devices=2), no_progress, silent)


def noted(request: TrainRequest, word: str) -> list[list[str]]:
    """The cases for which each node noted it."""
    texts = [team_work.notes(request, node).read_text() for node in (0, 1)]
    return [
        sorted(line.split()[1] for line in text.splitlines() if line.split()[0] == word) for text in texts
    ]


def contents(run: Path) -> dict[str, bytes]:
    files = [run / name for name in (FINGERPRINT, FINDINGS, CASES, SOURCES)]
    return {path.name: path.read_bytes() for path in [*files, *(run / PREPARED).iterdir()]}


def left_out(heard: list[str]) -> list[str]:
    return [text for text in heard if text.startswith("Left out")]


def test_two_nodes_read_and_prepare_what_one_process_does_each_its_own_cases(
    alone: tuple[Path, list[str]], ask: TrainRequest, tmp_path: Path
) -> None:
    request = replace(ask, out=tmp_path / "run")
    heard = on_two_nodes(team_work.sets_up_as_a_node, request)
    assert contents(request.out) == contents(alone[0])
    cases = [f"tiny_{number:02}" for number in range(7)]
    assert noted(request, "looks") == [cases[0::2], cases[1::2]]
    usable = [case for case in cases if case != "tiny_05"]
    assert noted(request, "reads") == noted(request, "stores") == [usable[0::2], usable[1::2]]
    # The damaged scan is the second node's.
    assert left_out(heard) == left_out(alone[1])
    assert len(left_out(heard)) == 1


def test_a_bug_that_the_second_node_meets_ends_both_with_its_traceback(
    ask: TrainRequest, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)Process 1 of the training failed.*fingerprint\.py.*by zero"):
        on_two_nodes(team_work.meets_a_bug_on_the_second_node, replace(ask, out=tmp_path / "run"))


def test_after_a_kill_what_was_prepared_stays_and_the_nodes_do_what_is_missing(
    alone: tuple[Path, list[str]], ask: TrainRequest, tmp_path: Path
) -> None:
    request = replace(ask, out=tmp_path / "run", resume=True)
    with pytest.raises(VesalError, match=r"ended by the system \(signal 9\)"):
        on_two_nodes(team_work.dies_on_the_second_node, request)
    before = {path: path.stat().st_ino for path in (request.out / PREPARED).glob("[!.]*.json")}
    assert before
    for node in (0, 1):
        team_work.notes(request, node).write_text("")
    on_two_nodes(team_work.sets_up_as_a_node, request)
    assert contents(request.out) == contents(alone[0])
    assert noted(request, "looks") == [[], []]
    record = Fingerprint.model_validate_json((request.out / FINGERPRINT).read_text())
    assert len(before) + sum(map(len, noted(request, "stores"))) == len(record.cases)
    assert before == {path: path.stat().st_ino for path in before}
