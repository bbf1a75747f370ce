"""Connects a server in a network namespace of its own with this one: sockets keep the namespace they were made in.

    python relay.py IN:PORT[,IN:PORT...] OUT:PATH[,...] -- COMMAND...

Runs within the namespace. IN is the number of an inherited listening socket of the outer namespace, whose connections
go to 127.0.0.1:PORT of the inner one. OUT is a port of the inner loopback, whose connections go to a Unix socket.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable

SIOCSIFFLAGS, IFF_UP_RUNNING = 0x8914, 0x41


def loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        fcntl.ioctl(one, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP_RUNNING))


def forward(listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
    """Accepts for ever, a pair of threads for each connection."""
    while True:
        try:
            one, _ = listener.accept()
        except OSError:
            return
        try:
            other = connect()
        except OSError:
            one.close()
            continue
        for here, there in ((one, other), (other, one)):
            threading.Thread(target=_copy, args=(here, there), daemon=True).start()


def _copy(here: socket.socket, there: socket.socket) -> None:
    try:
        while data := here.recv(1 << 16):
            there.sendall(data)
    except OSError:
        pass
    for one, how in ((there, socket.SHUT_WR), (here, socket.SHUT_RD)):
        with contextlib.suppress(OSError):
            one.shutdown(how)


def unix(path: str) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.connect(path)
    return one


def main() -> int:
    inward, outward, _, *command = sys.argv[1:]
    loopback_up()
    for pair in inward.split(","):
        number, port = map(int, pair.split(":"))
        listener = socket.socket(fileno=number)
        address = ("127.0.0.1", port)
        connect = lambda address=address: socket.create_connection(address)  # noqa: E731
        threading.Thread(target=forward, args=(listener, connect), daemon=True).start()
    for pair in filter(None, outward.split(",")):
        port_text, path = pair.split(":", 1)
        inner = socket.create_server(("127.0.0.1", int(port_text)))
        threading.Thread(target=forward, args=(inner, lambda path=path: unix(path)), daemon=True).start()
    # Ends with whoever started it, and ends the server with itself.
    process = subprocess.Popen(command)
    threading.Thread(target=_end_with_parent, args=(process,), daemon=True).start()
    return process.wait()


def _end_with_parent(process: subprocess.Popen[bytes]) -> None:
    sys.stdin.buffer.read()
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
