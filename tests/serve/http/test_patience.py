"""Connections that ask nothing do not keep others from being served."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI

from vesal.serve.http import patience


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(patience, "_HEADER_S", 0.3)
    monkeypatch.setattr(patience, "most_connections", lambda: 8)
    app = FastAPI()
    app.add_api_route("/health", lambda: "well")
    server = uvicorn.Server(uvicorn.Config(app, http=patience.PatientProtocol, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def ends(one: socket.socket) -> bool:
    one.settimeout(10)
    try:
        return one.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("said", [b"", b"GET /health HTTP/1.1\r\nHost: loc"])
def test_who_asks_nothing_is_sent_away(port: int, said: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(said)
        assert ends(one)


def test_a_second_request_that_does_not_come_to_its_end_is_given_up(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        while b"well" not in answer:
            piece = one.recv(4096)
            assert piece
            answer += piece
        one.sendall(b"GET /hea")
        assert ends(one)


def test_many_connections_leave_room_for_others(port: int) -> None:
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    time.sleep(1)
    assert httpx2.get(f"http://127.0.0.1:{port}/health").status_code == 200
    for one in held:
        one.close()


def test_a_connection_is_kept_for_the_next_request(port: int) -> None:
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(3):
            assert client.get("/health").json() == "well"
            time.sleep(0.1)
