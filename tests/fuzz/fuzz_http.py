"""The HTTP API as a target: a request as it stands on the wire, answered in this process, without a network and without
a job that is computed.

An answer is one of the server's own, whatever the request: what gets out of a route is a defect.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from vesal.serve.http.application import build_app
from vesal.serve.jobs.job_service import JobService
from vesal.serve.serve_settings import Limits, ServeSettings

#: What a server reads before it asks the application: a name, and a value without control characters.
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")
#: So many sessions are kept before the server begins anew.
_MOST_SESSIONS = 20
_MODEL = "m.vesal"


@dataclass
class _Server:
    """A server whose jobs nobody computes, and the loop that it answers in."""

    settings: ServeSettings
    runner: asyncio.Runner

    def __post_init__(self) -> None:
        shutil.rmtree(self.settings.state, ignore_errors=True)
        self.service = JobService(self.settings)
        for name in ("incoming", "jobs"):
            (self.settings.state / name).mkdir()
        self.app = build_app(self.settings, self.service)

    def end(self) -> None:
        self.service.stop()

    def tidy(self) -> None:
        for job in self.service.newest(100):
            self.service.cancel(job.id)
            self.service.remove(job.id)
        assert not list((self.settings.state / "incoming").iterdir()), "an upload stays"


_SERVERS: dict[Path, _Server] = {}


def answered(path: Path) -> int:
    """The status of the answer to the request in a file; 0 where no server would take it for one."""
    scope, body = _parsed(path.read_bytes())
    if scope is None:
        return 0
    folder = path.parent
    if folder not in _SERVERS:
        limits = Limits(room_bytes=0, silence_s=1.0, upload_s=2.0)
        settings = ServeSettings(folder / "server", {"tiny": folder / _MODEL}, device="cpu", limits=limits)
        runner = _SERVERS[folder].runner if folder in _SERVERS else asyncio.Runner()
        _SERVERS[folder] = _Server(settings, runner)
    server = _SERVERS[folder]
    status = server.runner.run(_asked(server.app, scope, body))
    server.tidy()
    if len(list((folder / "server" / "sessions").iterdir())) > _MOST_SESSIONS:
        server.end()
        _SERVERS[folder] = _Server(server.settings, server.runner)
    return status


def _parsed(data: bytes) -> tuple[dict[str, Any] | None, bytes]:
    """What a server makes of the bytes of a request."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    words = re.fullmatch(rb"([A-Z]{1,10}) (/[\x21-\x7e]*) HTTP/1.1", first)
    headers = [_HEADER.fullmatch(line) for line in lines]
    if words is None or not all(headers):
        return None, b""
    target, _, query = words[2].partition(b"?")
    found = [(one[1].lower(), one[2]) for one in headers if one is not None]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": words[1].decode(),
        "scheme": "http",
        "path": unquote(target.decode()),
        "raw_path": target,
        "root_path": "",
        "query_string": query,
        "headers": [(b"host", b"localhost"), *found],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 80),
    }, body


async def _asked(app: Callable[..., Any], scope: dict[str, Any], body: bytes) -> int:
    """The status of the answer; the client leaves when it has sent everything."""
    half = len(body) // 2
    pieces = [
        {"type": "http.request", "body": body[:half], "more_body": True},
        {"type": "http.request", "body": body[half:], "more_body": False},
    ]
    status = 0

    async def receive() -> dict[str, Any]:
        return pieces.pop(0) if pieces else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    await app(scope, receive, send)
    return status


def requests(folder: Path, model: bytes, scan: bytes) -> Sequence[bytes]:
    """A request of each kind; the model is put beside it."""
    (folder / _MODEL).write_bytes(model)
    return [
        _form(
            "POST /api/jobs",
            scan,
            model=b"tiny",
            to=b"nifti,dicom-seg",
            threshold=b"0.5",
            fill_slices=b"true",
        ),
        _form("POST /api/jobs", scan, series=b"1.2.3\n1.2.4"),
        _form("PUT /session/?expiry=10", scan),
        _form("POST /infer/tiny?image=a&output=json", scan, params=b'{"device": "cpu"}'),
        _form("POST /infer/tiny?session_id=0&output=dicom_seg", None, params=b"{}"),
        *(
            f"{line} HTTP/1.1\r\nAccept: */*\r\n\r\n".encode()
            for line in (
                "GET /api/jobs?most=5",
                "GET /api/jobs/0123456789abcdef0123456789abcdef",
                "GET /api/jobs/0/results/a.nii.gz",
                "DELETE /api/jobs/0",
                "GET /session/0",
                "DELETE /session/0",
                "GET /info/",
                "GET /auth/token/valid",
                "GET /assets/..%2f..%2fa.js",
                "GET /metrics",
            )
        ),
        b"POST /auth/token HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nOrigin: http://localhost\r\n"
        b"Authorization: Bearer a\r\n\r\nusername=a&password=b%20c",
    ]


def _form(line: str, scan: bytes | None, **fields: bytes) -> bytes:
    parts = [
        b'Content-Disposition: form-data; name="%b"\r\n\r\n%b' % (k.encode(), v) for k, v in fields.items()
    ]
    if scan is not None:
        parts.append(
            b'Content-Disposition: form-data; name="files"; filename="a.nii"\r\nContent-Type: application/x\r\n\r\n'
            + scan
        )
    body = b"".join(b"--cut\r\n%b\r\n" % part for part in parts) + b"--cut--\r\n"
    head = (
        f"{line} HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=cut\r\nContent-Length: {len(body)}"
    )
    return head.encode() + b"\r\n\r\n" + body
