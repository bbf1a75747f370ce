"""The whole program: `vesal serve` as a process, killed in the middle, and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from serve_client import PATIENCE_S, ended, send, serving

from vesal.engine.memory import memory_of


@pytest.fixture
def model(trained_run: Path, tmp_path: Path) -> Path:
    # A name of its own, for the address of the model.
    path = tmp_path / "tiny.vesal"
    path.write_bytes((trained_run / "fold_0" / "model.vesal").read_bytes())
    return path


@pytest.fixture
def scan(tiny_data: Path) -> Path:
    return tiny_data / "imagesTs" / "tiny_50.nii.gz"


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in {found, *threads} for child in file.read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_a_killed_server_goes_on_with_every_accepted_job_and_each_ends_once(
    model: Path, scan: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    with serving(state, model) as (process, client):
        sent = [send(client, (scan.name, scan.read_bytes())) for _ in range(4)]
        first = ended(client, sent[0])
        workers = children(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
    # The process of jobs does not outlive its server.
    deadline = time.monotonic() + PATIENCE_S
    while any(memory_of(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with serving(state, model) as (_, client):
        jobs = [ended(client, answer) for answer in sent]
        assert [job["status"] for job in jobs] == ["finished"] * 4
        assert jobs[0] == first
        assert len(client.get("/api/jobs").json()) == 4
    assert sorted(path.name for path in (state / "jobs").iterdir()) == sorted(job["id"] for job in jobs)
    assert list((state / "incoming").iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_a_killed_process_of_jobs_fails_its_job_and_no_other(model: Path, scan: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "state", model) as (process, client):
        sent = [send(client, (scan.name, scan.read_bytes())) for _ in range(3)]
        deadline = time.monotonic() + PATIENCE_S
        while not (workers := children(process.pid)):
            assert time.monotonic() < deadline
        os.kill(workers[0], signal.SIGKILL)
        jobs = [ended(client, answer) for answer in sent]
        failed = [job for job in jobs if job["status"] == "failed"]
        assert [job["status"] for job in jobs].count("finished") == 2
        assert len(failed) == 1
        assert client.get("/ready").status_code == 200
        head = client.head("/ready")
        assert (head.status_code, head.content) == (200, b"")


def test_a_server_that_is_told_to_end_goes_on_later(model: Path, scan: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with serving(state, model) as (process, client):
        sent = [send(client, (scan.name, scan.read_bytes())) for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) in (0, -signal.SIGTERM)
    with serving(state, model) as (_, client):
        assert [ended(client, answer)["status"] for answer in sent] == ["finished"] * 2


def test_two_servers_do_not_share_a_folder(model: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "state", model):
        command = [sys.executable, "-m", "vesal.cli", "serve", str(model), "--port", "0"]
        second = subprocess.run(
            [*command, "--state", str(tmp_path / "state")], capture_output=True, text=True, check=False
        )
    assert second.returncode == 2
    assert "Another server uses" in second.stderr


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (["--host", "0.0.0.0"], 2, "give it a token"),
        (["--host", "203.0.113.7", "--token-file", "TOKEN"], 1, "Cannot listen"),
        (["--token-file", "absent"], 2, "cannot be read"),
        (["--keep-hours", "0"], 2, "above 0"),
        (["--device", "gpu"], 2, "not a device"),
    ],
)
def test_wrong_use_is_told(options: list[str], code: int, reason: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef")
    (tmp_path / "token").chmod(0o600)
    options = [str(tmp_path / "token") if option == "TOKEN" else option for option in options]
    command = [
        sys.executable,
        "-m",
        "vesal.cli",
        "serve",
        str(model),
        "--state",
        str(tmp_path / "s"),
        *options,
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert ran.returncode == code, ran.stderr
    assert reason in ran.stderr


def test_a_sender_that_is_silent_or_leaves_is_given_up_and_leaves_nothing(
    model: Path, scan: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    with serving(state, model, "--max-silence", "0.5") as (_, client):
        stopped = threading.Event()

        def slowly() -> Iterator[bytes]:
            yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.nii.gz"\r\n\r\n\x1f\x8b'
            stopped.wait(5)
            yield b"more"

        answer = client.post(
            "/api/jobs", content=slowly(), headers={"content-type": "multipart/form-data; boundary=x"}
        )
        assert answer.status_code == 408

        def leaving() -> Iterator[bytes]:
            yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.nii.gz"\r\n\r\n\x1f\x8b'
            raise httpx2.WriteError("gone")

        with pytest.raises(httpx2.HTTPError):
            client.post(
                "/api/jobs", content=leaving(), headers={"content-type": "multipart/form-data; boundary=x"}
            )
        deadline = time.monotonic() + PATIENCE_S
        while list((state / "incoming").iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert ended(client, send(client, (scan.name, scan.read_bytes())))["status"] == "finished"
