"""A server under load: many clients, one request in ten broken; every good one must be right, every bad one answered.

    python -m benchmarks.serve_load MODEL SCAN [--requests 200] [--clients 20]

MODEL is a model file; SCAN a scan for it. The server is `vesal serve`, a process of its own. What is looked at: the
answers, the memory of the server and of the process that segments, and what lies on the disk at the end.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.record import machine, versions

TOKEN = "a token of this benchmark alone"
#: Largest upload that the server takes here (GB), where the scan is not larger than half of it.
LIMIT_GB = 0.02
#: Seconds without a byte.
SILENCE_S = 2.0
_PATIENCE_S = 600.0
_HEAD = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.nii.gz"\r\n\r\n\x1f\x8b'
_STREAMED = {"content-type": "multipart/form-data; boundary=x"}


@dataclass
class Load:
    """What a load found.

    Attributes:
        seconds: of each good request, from sending to the mask.
        answers: kind of a request -> how it was answered -> how often.
        wrong: what was not as it should be.
        server_mb, worker_mb: most memory, in MB.
    """

    seconds: list[float] = field(default_factory=list)
    answers: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    server_mb: float = 0.0
    worker_mb: float = 0.0


class Client:
    """One client, which sends one request after the other.

    Args:
        address: of the server.
        scan: a good one.
    """

    def __init__(self, address: str, scan: Path) -> None:
        self._http = httpx2.Client(
            base_url=address, headers={"authorization": f"Bearer {TOKEN}"}, timeout=_PATIENCE_S
        )
        self._name, self._content = scan.name, scan.read_bytes()
        self._too_large = int(1.5e9 * limit_gb(scan))

    def good(self) -> tuple[float, str]:
        """Seconds, and the digest of the mask."""
        began = time.perf_counter()
        job = self._ended(self._send(self._name, self._content))
        if job["status"] != "finished":
            raise AssertionError(f"{job['status']}: {job['error']}")
        name = next(file["name"] for file in job["results"] if file["kind"] == "nifti")
        mask = self._http.get(f"/api/jobs/{job['id']}/results/{name}").content
        return time.perf_counter() - began, hashlib.sha256(mask).hexdigest()

    def broken(self, kind: str) -> str:
        """How a broken request is answered."""
        return BROKEN[kind](self)

    def truncated(self) -> str:
        return self._failure(self._send("cut.nii.gz", self._content[: len(self._content) // 2]))

    def huge(self) -> str:
        return self._refusal(self._send("huge.nii.gz", bytes(self._too_large)))

    def huge_unannounced(self) -> str:
        def pieces() -> Iterator[bytes]:
            yield _HEAD
            for _ in range(self._too_large >> 20):
                yield bytes(1 << 20)

        return self._refusal(self._stream(pieces()))

    def zip_bomb(self) -> str:
        packed = io.BytesIO()
        with (
            zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("slice.dcm", "w", force_zip64=True) as member,
        ):
            for _ in range(400):
                member.write(bytes(1 << 20))
        return self._failure(self._send("bomb.zip", packed.getvalue()))

    def traversal(self) -> str:
        return self._refusal(self._send("../../../../tmp/evil.nii.gz", self._content))

    def wrong_type(self) -> str:
        return self._refusal(self._send("letter.pdf", b"%PDF-1.7 not a scan"))

    def slow(self) -> str:
        def pieces() -> Iterator[bytes]:
            yield _HEAD
            time.sleep(2 * SILENCE_S)
            yield b"more"

        return self._refusal(self._stream(pieces()))

    def leaves(self) -> str:
        def pieces() -> Iterator[bytes]:
            yield _HEAD
            raise httpx2.WriteError("gone")

        with suppress(httpx2.HTTPError):
            self._stream(pieces())
        return "nobody to answer"

    def wrong_token(self) -> str:
        form = {"files": (self._name, self._content)}
        return self._refusal(
            self._http.post("/api/jobs", files=form, headers={"authorization": "Bearer wrong"})
        )

    def send_good(self) -> httpx2.Response:
        """A good request's answer, before its job has ended."""
        return self._send(self._name, self._content)

    def end_of(self, id_: str) -> str:
        """How a job ended: its status, or the reason of its failure."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            answer = self._http.get(f"/api/jobs/{id_}")
            if answer.status_code != 200:
                return "lost"
            job = answer.json()
            if job["status"] not in ("queued", "running"):
                return str(job["error"] or job["status"])
            time.sleep(0.02)
        return "does not end"

    def has_finished(self) -> bool:
        """Whether any job has."""
        return any(job["status"] == "finished" for job in self._http.get("/api/jobs?most=1000").json())

    def known(self) -> list[str]:
        """All jobs of the server."""
        return [job["id"] for job in self._http.get("/api/jobs?most=1000").json()]

    def _send(self, name: str, content: bytes) -> httpx2.Response:
        return self._http.post("/api/jobs", files={"files": (name, content)})

    def _stream(self, pieces: Iterator[bytes]) -> httpx2.Response:
        return self._http.post("/api/jobs", content=pieces, headers=_STREAMED)

    def _ended(self, answer: httpx2.Response) -> dict[str, Any]:
        assert answer.status_code == 202, answer.text
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            job: dict[str, Any] = self._http.get(answer.headers["location"]).json()
            if job["status"] not in ("queued", "running"):
                return job
            time.sleep(0.05)
        raise AssertionError("a job does not end")

    def _failure(self, answer: httpx2.Response) -> str:
        job = self._ended(answer)
        return f"job {job['status']}: {_plain(job['error'] or '')}"

    def _refusal(self, answer: httpx2.Response) -> str:
        return f"{answer.status_code}: {_plain(answer.json()['error'])}"


BROKEN: dict[str, Callable[[Client], str]] = {
    "truncated": Client.truncated,
    "huge": Client.huge,
    "huge, not announced": Client.huge_unannounced,
    "zip bomb": Client.zip_bomb,
    "path traversal": Client.traversal,
    "wrong type": Client.wrong_type,
    "slow client": Client.slow,
    "client that leaves": Client.leaves,
    "wrong token": Client.wrong_token,
}
#: What each must be answered with.
EXPECTED = {
    "truncated": "job failed", "huge": "413", "huge, not announced": "413", "zip bomb": "job failed",
    "path traversal": "400", "wrong type": "415", "slow client": "408", "client that leaves": "nobody",
    "wrong token": "401",
}  # fmt: skip


def limit_gb(scan: Path) -> float:
    """The largest upload that the server takes (GB), twice the scan or more."""
    return max(LIMIT_GB, 2e-9 * scan.stat().st_size)


def run_load(address: str, pid: int, scan: Path, requests: int, clients: int, *, every: int = 10) -> Load:
    """Send so many requests, every tenth broken, by so many clients at once.

    Args:
        address: of the server.
        pid: its process.
        scan: for its model.
        requests, clients: how many.
        every: so many requests hold a broken one.
    """
    load, lock, kinds = Load(), threading.Lock(), list(BROKEN)
    _, digest = Client(address, scan).good()
    own = threading.local()

    def one(number: int) -> None:
        client = own.__dict__.setdefault("client", Client(address, scan))
        kind = kinds[number // every % len(kinds)] if number % every == 0 else "good"
        try:
            if kind == "good":
                seconds, found = client.good()
                said = "right" if found == digest else "another mask"
            else:
                seconds, said = 0.0, client.broken(kind)
        except Exception as error:
            seconds, said = 0.0, f"{type(error).__name__}: {error}"
        with lock:
            load.answers.setdefault(kind, Counter())[said] += 1
            load.seconds += [seconds] if kind == "good" else []
            if not said.startswith(EXPECTED.get(kind, "right")):
                load.wrong.append(f"{kind}: {said}")

    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(pid, load, ended))
    watcher.start()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, range(requests)))
    ended.set()
    watcher.join()
    return load


def run_kills(model: Path, scan: Path, state: Path, requests: int, clients: int) -> Counter[str]:
    """Send so many requests; kill the process of jobs after a third, the server after two, and start it anew.

    Returns:
        How the accepted jobs ended -> how many; a job that is lost, or there twice, ends in no such way.
    """
    accepted: list[str] = []
    lock, own = threading.Lock(), threading.local()

    def one(address: str) -> None:
        client = own.__dict__.setdefault("client", Client(address, scan))
        # A request that the killed server did not answer was not accepted.
        with suppress(httpx2.HTTPError):
            answer = client.send_good()
            if answer.status_code == 202:
                with lock:
                    accepted.append(answer.json()["id"])

    with served(model, state, limit_gb(scan)) as (address, pid), ThreadPoolExecutor(clients) as pool:
        sent = [pool.submit(one, address) for _ in range(requests)]
        looking = Client(address, scan)
        # At work, and not about to start.
        _wait_for(lambda: len(accepted) >= requests // 3 and looking.has_finished())
        os.kill(_children(pid)[0], signal.SIGKILL)
        _wait_for(lambda: len(accepted) >= 2 * requests // 3 or all(of.done() for of in sent))
        os.kill(pid, signal.SIGKILL)
    ends: Counter[str] = Counter()
    with served(model, state, limit_gb(scan)) as (address, _):
        client = Client(address, scan)
        for id_ in accepted:
            ends[client.end_of(id_)] += 1
        known = client.known()
    # A job may have been accepted whose answer the killed server did not send any more.
    if len(known) != len(set(known)) or not set(accepted) <= set(known):
        ends["there twice, or lost"] += 1
    return ends


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def left_behind(address: str, state: Path) -> list[str]:
    """Remove all jobs as a client does, then what still lies in the server's folder that is not its own."""
    with httpx2.Client(base_url=address, headers={"authorization": f"Bearer {TOKEN}"}) as http:
        while jobs := http.get("/api/jobs?most=1000").json():
            for job in jobs:
                http.delete(f"/api/jobs/{job['id']}")
    deadline = time.monotonic() + 30
    while True:
        found = [
            str(path.relative_to(state))
            for name in ("incoming", "jobs", "sessions")
            for path in (state / name).rglob("*")
        ]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


@contextmanager
def served(model: Path, state: Path, limit: float = LIMIT_GB) -> Iterator[tuple[str, int]]:
    """`vesal serve` with the limits of this benchmark: its address and process."""
    command = [sys.executable, "-m", "vesal.cli", "serve", str(model), "--port", "0", "--state", str(state)]
    command += ["--max-upload-gb", f"{limit:.3f}", "--max-silence", str(SILENCE_S)]
    environment = os.environ | {"VESAL_TOKEN": TOKEN}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield next(word for word in line.split() if word.startswith("http")), process.pid
        finally:
            process.terminate()


def _plain(sentence: str) -> str:
    """Without what differs from one request to the next."""
    return re.sub(r"[0-9a-f]{16,}", "...", sentence)


def _watch(pid: int, load: Load, ended: threading.Event) -> None:
    while not ended.wait(0.05):
        load.server_mb = max(load.server_mb, _mb(pid))
        for child in _children(pid):
            load.worker_mb = max(load.worker_mb, _mb(child))


def _children(pid: int) -> list[int]:
    found = []
    with suppress(OSError):
        for file in Path(f"/proc/{pid}/task").glob("*/children"):
            found += [int(child) for child in file.read_text().split()]
    return found


def _mb(pid: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=20)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        with served(chosen.model, state, limit_gb(chosen.scan)) as (address, pid):
            began = time.perf_counter()
            load = run_load(address, pid, chosen.scan, chosen.requests, chosen.clients)
            took = time.perf_counter() - began
            left = left_behind(address, state)
        killed = run_kills(
            chosen.model, chosen.scan, Path(folder) / "killed", chosen.requests // 2, chosen.clients
        )
    print(machine(), versions(), "", sep="\n")
    print(f"{chosen.requests} requests of {chosen.clients} clients in {took:.0f} s; a good one took "
          f"{statistics.median(load.seconds):.1f} s in the median, {max(load.seconds):.1f} at most.")  # fmt: skip
    print(f"Most memory: server {load.server_mb:.0f} MB, process of jobs {load.worker_mb:.0f} MB.")
    print(f"Left on the disk: {left or 'nothing'}. Not as it should be: {load.wrong or 'nothing'}.")
    print("Process of jobs killed, then the server, and started anew; accepted jobs ended: "
          + ", ".join(f"{count} {how}" for how, count in killed.items()) + ".")  # fmt: skip
    print("", "| request | answer | times |", "|---|---|---|", sep="\n")
    for kind, answers in load.answers.items():
        for answer, count in answers.items():
            print(f"| {kind} | {answer} | {count} |")
    odd = [how for how in killed if how != "finished" and "killed the job" not in how]
    if load.wrong or left or odd:
        sys.exit(json.dumps({"wrong": load.wrong, "left": left, "killed": odd}))


if __name__ == "__main__":
    main()
