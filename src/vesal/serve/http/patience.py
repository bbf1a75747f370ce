"""Connections that ask nothing, or take no answer: closed after a while, so that they cannot keep others from being
served.

uvicorn waits for a request, and for its answer to be taken, without end, and each connection holds a file of the
process. Once these are used up nobody is answered any more, whoever has the token.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

#: Seconds from the first byte, or from the connection where none comes, to the end of a request's header.
_HEADER_S = 20.0
#: Of an answer that waits, so many bytes must be taken in so many seconds.
_TAKEN_BYTES, _TAKEN_S = 1 << 14, 60.0
#: Connections at the same time, and files that are left for all else.
_MOST, _OTHERS = 512, 128


class PatientProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, with an end to its patience."""

    _late: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

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
        self._taken()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """More waits to be taken than is kept."""
        super().pause_writing()
        self._await_taking()

    def resume_writing(self) -> None:
        """Most of it was taken."""
        super().resume_writing()
        self._taken()

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
        if self.transport.is_closing():
            # Until the rest of the last answer is taken.
            self._await_taking()
        else:
            self.transport.abort()

    def _await_taking(self) -> None:
        if self._stuck is None:
            waiting = self.transport.get_write_buffer_size()
            self._stuck = self.loop.call_later(_TAKEN_S, self._end_unless_taken, waiting)

    def _end_unless_taken(self, before: int) -> None:
        self._stuck = None
        if before - self.transport.get_write_buffer_size() >= _TAKEN_BYTES:
            self._await_taking()
        else:
            self.transport.abort()

    def _taken(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None


def most_connections() -> int:
    """At the same time: as many as leave files for jobs, uploads and the list of jobs."""
    try:
        import resource
    except ImportError:  # Windows
        return _MOST
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST if files == resource.RLIM_INFINITY else max(16, min(_MOST, files - _OTHERS))
