"""Servers for tests, within the process and as a program, and a client that waits for jobs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from vesal.serve.serve_settings import Limits, ServeSettings

#: Seconds that a job of a test may take, on a busy machine.
PATIENCE_S = 120.0


def settings(state: Path, model: Path, **changes: Any) -> ServeSettings:
    """Of a server with the one model `tiny`."""
    limits = Limits(**{"room_bytes": 0, **changes.pop("limits", {})})
    return ServeSettings(state=state, models={"tiny": model}, device="cpu", limits=limits, **changes)


def send(client: httpx2.Client, *files: tuple[str, bytes], **fields: str) -> httpx2.Response:
    """Post a form with these files, as (name, content)."""
    return client.post("/api/jobs", data=fields, files=[("files", file) for file in files])


def ended(client: httpx2.Client, answer: httpx2.Response) -> dict[str, Any]:
    """The job of an answer, once it has ended."""
    assert answer.status_code == 202, answer.text
    place, deadline = answer.headers["location"], time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        job: dict[str, Any] = client.get(place).json()
        if job["status"] not in ("queued", "running"):
            return job
        time.sleep(0.05)
    raise AssertionError(f"the job has not ended: {job}")


@contextmanager
def serving(state: Path, model: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], httpx2.Client]]:
    """The program on a free port, and a client of it."""
    command = [
        sys.executable,
        "-m",
        "vesal.cli",
        "serve",
        str(model),
        "--port",
        "0",
        "--state",
        str(state),
        *options,
    ]
    with (
        (state.parent / "server.log").open("a") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "listens on http" in line, (state.parent / "server.log").read_text()
        address = next(word for word in line.split() if word.startswith("http"))
        try:
            with httpx2.Client(base_url=address, timeout=60.0) as client:
                yield process, client
        finally:
            process.kill()
