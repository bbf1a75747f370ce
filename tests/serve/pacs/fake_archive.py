"""An archive that fails as it is told to: what a real one does once a year, and not when a test needs it."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

#: How a request fails: a status, or 'drop' before the answer, 'short' with half an object, 'cut' with the connection
#: lost within it, 'other' with another object, 'html' with a page.
Failure = int | str


@dataclass
class FakeArchive:
    """What it holds and how it fails.

    Attributes:
        objects: (study, series, instance) -> file.
        failures: the next requests whose method and path begin so fail, each by the first that is left.
        headers: of every answer.
        asked: 'METHOD path?query' of every request.
        authorizations, hosts: their headers.
        refuse: instance -> failure reason of STOW.
        stow_status: of an answer to STOW that refuses one; with `stow_status_always` of each.
        stow_answer: 'json', 'xml' in place of it, or 'nameless' without the identifiers of what was refused.
        ignores_offset: answers every search with all it holds.
        modalities: series -> modality, CT where none stands.
    """

    objects: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    failures: dict[str, list[Failure]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    refuse: dict[str, int] = field(default_factory=dict)
    stow_status: int = 202
    stow_status_always: bool = False
    stow_answer: str = "json"
    ignores_offset: bool = False
    modalities: dict[str, str] = field(default_factory=dict)
    url: str = ""

    def failure(self, line: str) -> Failure | None:
        for begin, left in self.failures.items():
            if line.startswith(begin) and left:
                return left.pop(0)
        return None


@contextlib.contextmanager
def fake_archive(tls: ssl.SSLContext | None = None) -> Iterator[FakeArchive]:
    found = FakeArchive()

    class Handler(_Handler):
        archive = found

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    found.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}/dicom-web"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    archive: FakeArchive
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(lambda failure: self._post(body))

    def _answer(self, act: Callable[[Failure | None], None]) -> None:
        line = f"{self.command} {self.path.removeprefix('/dicom-web')}"
        self.archive.asked.append(line)
        self.archive.authorizations.append(self.headers.get("Authorization", ""))
        self.archive.hosts.append(self.headers["Host"])
        failure = self.archive.failure(line)
        if isinstance(failure, int):
            self._send(failure, b"busy", "text/plain")
        elif failure == "drop":
            self.close_connection = True
            self.connection.close()
        elif failure == "html":
            self._send(200, b"<html>hello</html>", "text/html")
        else:
            act(failure)

    def _get(self, failure: Failure | None) -> None:
        parts = urlsplit(self.path.removeprefix("/dicom-web"))
        names = parts.path.strip("/").split("/")
        query = dict(parse_qsl(parts.query))
        if len(names) == 6:
            self._object((names[1], names[3], names[5]), failure)
            return
        keys = dict.fromkeys(
            key[: 1 + ("studies", "series", "instances").index(names[-1])]
            for key in self.archive.objects
            if all(key[n] == name for n, name in enumerate(names[1::2] if len(names) > 1 else ()))
        )
        rows = [self._row(key) for key in keys]
        if not self.archive.ignores_offset:
            first = int(query.get("offset", 0))
            rows = rows[first : first + int(query.get("limit", 100))]
        self._send(200, json.dumps(rows).encode(), "application/dicom+json")

    def _row(self, key: tuple[str, ...]) -> dict[str, Any]:
        tags = ("0020000D", "0020000E", "00080018")
        row: dict[str, Any] = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in zip(tags, key, strict=False)}
        if len(key) > 1:
            row["00080060"] = {"vr": "CS", "Value": [self.archive.modalities.get(key[1], "CT")]}
        return row

    def _object(self, key: tuple[str, ...], failure: Failure | None) -> None:
        found = self.archive.objects[key]  # type: ignore[index]
        if failure == "other":
            found = next(one for other, one in self.archive.objects.items() if other != key)
        body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + found + b"\r\n--b--\r\n"
        kind = 'multipart/related; type="application/dicom"; boundary=b'
        if failure == "short":
            # All that was announced comes, and the object in it is not whole.
            self._send(200, body[: len(body) // 2], kind)
        elif failure == "cut":
            self._send(200, body, kind, sent=len(body) // 2)
        else:
            self._send(200, body, kind)

    def _post(self, body: bytes) -> None:
        from io import BytesIO

        import pydicom

        boundary = self.headers["Content-Type"].rpartition("boundary=")[2].encode()
        failed = []
        for part in body.split(b"--" + boundary)[1:-1]:
            content = part.partition(b"\r\n\r\n")[2][:-2]
            one = pydicom.dcmread(BytesIO(content), stop_before_pixels=True)
            if (reason := self.archive.refuse.get(one.SOPInstanceUID)) is not None:
                failed.append(
                    {
                        "00081155": {"vr": "UI", "Value": [one.SOPInstanceUID]},
                        "00081197": {"vr": "US", "Value": [reason]},
                    }
                )
                continue
            self.archive.objects[one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID] = content
        if self.archive.stow_answer == "nameless":
            failed = [{key: value for key, value in one.items() if key != "00081155"} for one in failed]
        answer = {"00081198": {"vr": "SQ", "Value": failed}} if failed else {}
        status = self.archive.stow_status if failed or self.archive.stow_status_always else 200
        if self.archive.stow_answer == "xml":
            self._send(status, b"<NativeDicomModel/>", "application/dicom+xml")
        else:
            self._send(status, json.dumps(answer).encode(), "application/dicom+json")

    def _send(self, status: int, body: bytes, kind: str, sent: int | None = None) -> None:
        self.send_response(status)
        for key, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            **self.archive.headers,
        }.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body[:sent])
        if sent is not None:
            self.wfile.flush()
            self.close_connection = True
