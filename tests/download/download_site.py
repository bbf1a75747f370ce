"""A server on loopback that misbehaves as told."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from vesal.download.catalogue import Options

CONTENT = bytes(range(256)) * 12_000  # 3 MB


OTHER = CONTENT[::-1]


QUICK = Options(waits_s=(0.01,) * 4)


@dataclass
class Site:
    """A server on loopback that misbehaves as told.

    `answers` holds what to do with each next request; when they are used up, the file is served as it should be.
    """

    url: str = ""
    content: bytes = CONTENT
    ranges: bool = True
    sized: bool = True
    answers: list[str] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)

    def md5(self) -> str:
        return hashlib.md5(self.content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        site = self.site
        site.asked.append(dict(self.headers))
        answer = site.answers.pop(0) if site.answers else "serve"
        if answer.isdigit():
            self.send_error(int(answer))
            return
        if answer.startswith("to:"):
            self.send_response(302)
            self.send_header("Location", answer[3:])
            self.end_headers()
            return
        if answer == "change":
            site.content = OTHER
        body, start = site.content, 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and site.ranges:
            start = int(wanted[1])
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if site.sized:
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        piece = body[start:]
        if answer == "break":
            piece = piece[: len(piece) // 3]
        for at in range(0, len(piece), 2**16):
            if answer == "slow":
                # The second half never comes in time, however busy the machine is.
                time.sleep(0.05 if at < len(piece) // 2 else 10)
            self.wfile.write(piece[at : at + 2**16])


def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    # As on a machine behind a proxy: loopback is asked directly.
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    site.url = f"http://127.0.0.1:{server.server_port}/file.tar"
    yield site
    server.shutdown()
    server.server_close()


def add_member(tar: tarfile.TarFile, name: str, data: bytes = b"x", **fields: Any) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))
