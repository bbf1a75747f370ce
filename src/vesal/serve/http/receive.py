"""What comes from the network: a form of files, to the disk piece by piece, and bodies that are to be small."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from fastapi import Response
from fastapi.routing import APIRoute
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from vesal.serve.jobs.uploads import Upload, UploadError, too_large

#: What is still read of an upload that was refused, so that its sender sees why before the connection closes.
_DRAINED_BYTES = 64 << 20
_DRAINED_S = 10.0
#: Of a body that is to be small, and seconds without a byte of it.
_SMALL_BYTES, _SMALL_S = 1 << 16, 20.0


class SmallBody(APIRoute):
    """A route with a body that is given up when it is large or does not come: FastAPI reads any into the memory."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, whose request ends there."""
        handle = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            return await handle(Request(request.scope, _bounded(request.receive)))

        return bounded


def _bounded(receive: Receive) -> Receive:
    left = _SMALL_BYTES

    async def received() -> Message:
        nonlocal left
        try:
            message = await asyncio.wait_for(receive(), _SMALL_S)
        except TimeoutError as error:
            raise HTTPException(408, "The request came too slowly; send it again") from error
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(
                413, f"The request is larger than the {_SMALL_BYTES:,} bytes that it may have"
            )
        return message

    return received


async def receive(request: Request, upload: Upload, *, ignored: str = "") -> None:
    """Write the files of a request into an upload, but those of the field `ignored`.

    Raises:
        UploadError: the form is none, breaks a limit, or stops coming.
    """
    stream = request.stream()
    try:
        await _receive(request, stream, upload, ignored)
    except UploadError:
        await _drain(stream)
        raise
    finally:
        upload.close()


async def _receive(request: Request, stream: AsyncIterator[bytes], upload: Upload, ignored: str) -> None:
    limits = upload.limits
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise UploadError("Send the scan as a form (multipart/form-data) with the field 'files'.", 415)
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limits.upload_bytes + (1 << 20):
        raise UploadError(too_large(limits), 413)
    try:
        form = _Form(upload, options[b"boundary"], ignored)
        async with asyncio.timeout(limits.upload_s):
            while piece := await asyncio.wait_for(_next(stream), limits.silence_s):
                form.parser.write(piece)
        form.parser.finalize()
    except TimeoutError as error:
        raise UploadError("The upload came too slowly and was given up; send it again.", 408) from error
    except ClientDisconnect as error:
        raise UploadError("The upload broke off.") from error
    except FormParserError as error:
        raise UploadError(f"The form is damaged ({error}); send it again.") from error
    except OSError as error:
        raise UploadError(f"The upload cannot be stored ({error.strerror or error}).", 507) from error
    if not form.ended:
        raise UploadError("The form breaks off before its end; send it again.")


async def _next(stream: AsyncIterator[bytes]) -> bytes:
    """The next bytes; none at the end."""
    async for piece in stream:
        if piece:
            return piece
    return b""


async def _drain(stream: AsyncIterator[bytes]) -> None:
    left = _DRAINED_BYTES
    try:
        async with asyncio.timeout(_DRAINED_S):
            while left > 0 and (piece := await _next(stream)):
                left -= len(piece)
    except (TimeoutError, ClientDisconnect, RuntimeError):
        # Whoever sent it is gone, or sends for ever.
        return


class _Form:
    """Hands the parts of a form to an upload.

    Attributes:
        parser: is written to.
        ended: the form is whole.
    """

    def __init__(self, upload: Upload, boundary: bytes, ignored: str = "") -> None:
        self._upload = upload
        self._header: bytearray = bytearray()
        self._value: bytearray = bytearray()
        self._name, self._is_file, self._ignored = "", False, ignored
        self.ended = False
        self.parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._form_end,
            },
        )

    def _begin(self) -> None:
        self._name, self._is_file = "", False
        self._file_name = ""

    def _header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
            if (file_name := options.get(b"filename")) is not None:
                self._is_file, self._file_name = True, file_name.decode("utf-8", "replace")
        self._header.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        if self._is_file and self._name != self._ignored:
            self._upload.begin_file(self._file_name)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file and self._name == self._ignored:
            return
        if self._is_file:
            self._upload.file_data(memoryview(data)[start:end])
        else:
            self._upload.field_data(data[start:end])

    def _end(self) -> None:
        if self._is_file and self._name == self._ignored:
            return
        if self._is_file:
            self._upload.end_file()
        else:
            self._upload.end_field(self._name)

    def _form_end(self) -> None:
        self.ended = True
