"""The process of jobs may die, hang or grow: its job fails with the reason, and the next one is computed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vesal.serve.jobs import supervisor as module
from vesal.serve.jobs.job import Job, JobOptions
from vesal.serve.jobs.supervisor import Ended, JobOrder, Supervisor
from vesal.serve.serve_settings import Limits


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    monkeypatch.setattr(module, "_MODULE", "fake_worker")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    limits = Limits(job_s=60.0, job_bytes=300 << 20, room_bytes=0)
    made = Supervisor(limits, "cpu", "auto", tmp_path)
    yield made
    made.stop()


def order(what: str, id_: str = "a") -> JobOrder:
    options = JobOptions(series=(what,))
    job = Job(id=id_, model="heart", options=options, created=datetime.now(UTC))
    return JobOrder(job, Path("model"), (), Path("results"), Path("root"))


def worker_of(ended: Ended) -> str:
    assert ended.outcome is not None, ended.error
    return ended.outcome.notes[0]


def test_one_process_computes_all_jobs(supervisor: Supervisor) -> None:
    first, second = (worker_of(supervisor.compute(order("finish", id_))) for id_ in "ab")
    assert first == second
    assert supervisor.restarts == 1


def test_a_failure_is_given_in_the_worker_s_words(supervisor: Supervisor) -> None:
    assert supervisor.compute(order("fail")) == Ended(error="It is no scan.", refused=True)


@pytest.mark.parametrize(
    ("what", "reason"),
    [("die", "where memory is short"), ("exit", "exit status 3"), ("eat", "more than the 0.315 GB")],
)
def test_a_process_that_dies_or_grows_fails_its_job_alone(
    supervisor: Supervisor, what: str, reason: str
) -> None:
    assert reason in str(supervisor.compute(order(what)).error)
    assert worker_of(supervisor.compute(order("finish", "b")))
    assert supervisor.restarts == 2


def test_what_a_killed_process_unpacked_goes(supervisor: Supervisor, tmp_path: Path) -> None:
    assert "where memory is short" in str(supervisor.compute(order("unpack and die")).error)
    assert not (tmp_path / "temporary").exists()


def test_the_process_holds_no_secret_of_the_server(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = ("VESAL_TOKEN", "VESAL_PACS_TOKEN", "VESAL_PACS_PASSWORD")
    for name in secrets:
        monkeypatch.setenv(name, "secret")
    ended = supervisor.compute(order("finish"))
    assert ended.outcome is not None
    assert not {*secrets} & {*ended.outcome.notes[1:]}
    assert "TMPDIR" in ended.outcome.notes


def test_a_job_that_hangs_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supervisor: Supervisor
) -> None:
    supervisor.compute(order("finish"))  # it has started
    object.__setattr__(supervisor, "_limits", Limits(job_s=0.5, job_bytes=1 << 40, room_bytes=0))
    began = time.monotonic()
    assert "longer than the 0.5 s" in str(supervisor.compute(order("hang", "b")).error)
    assert time.monotonic() - began < 30


def test_a_cancelled_job_ends_at_once_and_has_no_result(supervisor: Supervisor) -> None:
    found: list[Ended] = []
    thread = threading.Thread(target=lambda: found.append(supervisor.compute(order("hang"))))
    thread.start()
    deadline = time.monotonic() + 60
    while (running := supervisor.running) is None or running.share == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert running.stage == "Working"
    supervisor.cancel("another")  # does nothing
    assert thread.is_alive()
    supervisor.cancel("a")
    thread.join(30)
    assert found == [Ended()]
    assert supervisor.running is None


def test_what_is_no_message_is_passed_over(supervisor: Supervisor) -> None:
    assert worker_of(supervisor.compute(order("print")))


def test_a_process_that_does_not_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MODULE", "no_such_module")
    made = Supervisor(Limits(room_bytes=0), "cpu", "auto", tmp_path)
    assert "does not start" in str(made.compute(order("finish")).error)
    assert "no_such_module" in (tmp_path / "worker.log").read_text()
    made.stop()


def test_a_process_that_died_while_nobody_used_it_fails_no_job(supervisor: Supervisor) -> None:
    first = int(worker_of(supervisor.compute(order("finish"))))
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{first}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert int(worker_of(supervisor.compute(order("finish", "b")))) != first


def test_what_processes_printed_does_not_grow_for_ever(supervisor: Supervisor, tmp_path: Path) -> None:
    (tmp_path / "worker.log").write_bytes(b"old\n" * 2_000_000)
    supervisor.compute(order("finish"))
    assert (tmp_path / "worker.log.1").stat().st_size == 8_000_000
    assert (tmp_path / "worker.log").stat().st_size < 100_000
