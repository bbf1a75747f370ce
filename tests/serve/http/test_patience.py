"""Connections that ask nothing do not keep others from being served."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI, Response

from vesal.serve.http import patience


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[uvicorn.Server]:
    monkeypatch.setattr(patience, "_HEADER_S", 0.3)
    monkeypatch.setattr(patience, "_TAKEN_S", 0.3)
    monkeypatch.setattr(patience, "most_connections", lambda: 8)
    app = FastAPI()
    app.add_api_route("/health", lambda: "well")
    app.add_api_route("/bytes/{count}", lambda count: Response(bytes(int(count))))
    config = uvicorn.Config(
        app, http=patience.PatientProtocol, log_config=None, timeout_keep_alive=0, timeout_graceful_shutdown=1
    )
    made = uvicorn.Server(config)
    with socket.socket() as listening:
        # Small, so that little fits between the two ends.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=made.run, args=([listening],))
        thread.start()
        while not made.started:
            thread.join(0.01)
        yield made
        made.should_exit = True
        thread.join()


@pytest.fixture
def port(server: uvicorn.Server) -> int:
    return int(server.servers[0].sockets[0].getsockname()[1])


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


@pytest.mark.parametrize("count", [50_000, 3_000_000])
def test_who_takes_no_answer_is_sent_away(server: uvicorn.Server, port: int, count: int) -> None:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        one.connect(("127.0.0.1", port))
        one.sendall(f"GET /bytes/{count} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        deadline = time.monotonic() + 5
        while not server.server_state.total_requests:
            time.sleep(0.01)
        while server.server_state.connections:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_who_takes_an_answer_slowly_gets_all_of_it(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(b"GET /bytes/3000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        taken, began = 0, time.monotonic()
        while piece := one.recv(1 << 16):
            taken += len(piece)
            time.sleep(0.02)
    assert taken > 3_000_000
    assert time.monotonic() - began > 0.6


def test_a_connection_is_kept_for_the_next_request(port: int) -> None:
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(3):
            assert client.get("/health").json() == "well"
            time.sleep(0.1)
