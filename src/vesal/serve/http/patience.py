"""Connections that ask nothing: closed after a while, so that they cannot keep others from being served.

uvicorn waits for a request without end, and each connection holds a file of the process. Once these are used up nobody
is answered any more, whoever has the token.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

#: Seconds from the first byte, or from the connection where none comes, to the end of a request's header.
_HEADER_S = 20.0
#: Connections at the same time, and files that are left for all else.
_MOST, _OTHERS = 512, 128


class PatientProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, with an end to its patience."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Somebody connected; is sent away where too many have."""
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            transport.abort()
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._calm()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """A request was answered; from here on uvicorn's own patience with an idle connection counts."""
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._calm()
        elif self._late is None:
            self._late = self.loop.call_later(_HEADER_S, self._give_up)

    def _calm(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if not self.transport.is_closing():
            self.transport.abort()


def most_connections() -> int:
    """At the same time: as many as leave files for jobs, uploads and the list of jobs."""
    try:
        import resource
    except ImportError:  # Windows
        return _MOST
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST if files == resource.RLIM_INFINITY else max(16, min(_MOST, files - _OTHERS))
