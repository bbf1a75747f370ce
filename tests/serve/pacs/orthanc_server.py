"""A real Orthanc for tests: in a temporary folder, on loopback, and where that works in a network of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from relay import forward

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
RELAY = Path(__file__).with_name("relay.py")
#: Within the namespace of its own.
HTTP, DICOM, NODE = 8042, 4242, 11112
START_S = 60

needs_orthanc = pytest.mark.skipif(
    shutil.which("Orthanc") is None or not PLUGIN.exists(),
    reason="Orthanc with DICOMweb (Debian: orthanc orthanc-dicomweb) is not installed",
)


@dataclass(frozen=True)
class Orthanc:
    """Where it listens, seen from the test.

    Attributes:
        url: of DICOMweb.
        rest: of its own interface.
        dicom_port: its title is ORTHANC.
    """

    url: str
    rest: str
    dicom_port: int

    def get(self, path: str) -> Any:
        with urlopen(f"{self.rest}{path}", timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, body: bytes) -> Any:
        with urlopen(Request(f"{self.rest}{path}", data=body, method="POST"), timeout=60) as answer:
            return json.load(answer)

    def delete_all(self) -> None:
        for study in self.get("/studies"):
            with urlopen(Request(f"{self.rest}/studies/{study}", method="DELETE"), timeout=60):
                pass

    def add(self, *paths: Path) -> None:
        for path in paths:
            self.post("/instances", path.read_bytes())

    def instances(self) -> dict[str, str]:
        """SOP instance UID -> Orthanc's own identifier."""
        return {row["MainDicomTags"]["SOPInstanceUID"]: row["ID"] for row in self.get("/instances?expand")}

    def file(self, instance: str) -> bytes:
        with urlopen(f"{self.rest}/instances/{self.instances()[instance]}/file", timeout=60) as answer:
            found: bytes = answer.read()
        return found

    def send(self, node: str, study: str) -> None:
        """By C-STORE to one of its `modalities`."""
        (found,) = (one for one in self.get("/studies?expand")
                    if one["MainDicomTags"]["StudyInstanceUID"] == study)  # fmt: skip
        self.post(f"/modalities/{node}/store", found["ID"].encode())


@contextlib.contextmanager
def running(folder: Path, node_port: int = 0, **options: Any) -> Iterator[Orthanc]:
    """An Orthanc until the block ends.

    Args:
        folder: where its files lie.
        node_port: of a DICOM node of the test with the title VESAL, which it knows as the modality `vesal`.
        options: of its configuration.
    """
    apart = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode == 0
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        http, dicom = (one.getsockname()[1] for one in listeners)
        inner = (HTTP, DICOM) if apart else (http, dicom)
        node = NODE if apart and node_port else node_port
        configuration = {
            "Name": "test",
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "HttpPort": inner[0],
            "DicomPort": inner[1],
            "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "DicomModalities": {"vesal": ["VESAL", "127.0.0.1", node]} if node else {},
            "DicomAlwaysAllowStore": True,
            "StableAge": 1,
        } | options
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        command = ["Orthanc", str(folder / "orthanc.json")]
        if apart:
            outward = stack.enter_context(_outward(node_port)) if node else ""
            pairs = ",".join(f"{one.fileno()}:{port}" for one, port in zip(listeners, inner, strict=True))
            relay = [
                "unshare",
                "-rn",
                sys.executable,
                str(RELAY),
                pairs,
                f"{NODE}:{outward}" if outward else "",
            ]
            command = [*relay, "--", *command]
        else:
            for one in listeners:
                one.close()
        log = stack.enter_context((folder / "log").open("wb"))
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[one.fileno() for one in listeners] if apart else [],
        )
        stack.callback(_end, process)
        if apart:
            for one in listeners:
                one.close()
        found = Orthanc(f"http://127.0.0.1:{http}/dicom-web", f"http://127.0.0.1:{http}", dicom)
        _await(found, process, folder / "log")
        yield found


def _await(orthanc: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it answers: it tells nobody that it has begun."""
    until = time.monotonic() + START_S
    while True:
        try:
            orthanc.get("/system")
            return
        except (URLError, OSError):
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"Orthanc did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    if "unshare" not in str(process.args):
        process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _outward(port: int) -> Iterator[str]:
    """A Unix socket whose connections go to a port of this namespace."""
    folder = tempfile.mkdtemp(prefix="relay-")  # paths of sockets are short
    path = os.path.join(folder, "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        connect = lambda: socket.create_connection(("127.0.0.1", port))  # noqa: E731
        threading.Thread(target=forward, args=(listener, connect), daemon=True).start()
        try:
            yield path
        finally:
            shutil.rmtree(folder)
