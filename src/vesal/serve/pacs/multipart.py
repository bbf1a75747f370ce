"""Bodies of several parts (RFC 2046) that are never whole in memory: one object read from one, many written as one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from vesal.serve.pacs.retries import Passing

#: Longer headers of a part are none.
_MOST_HEADER = 1 << 16


def only_part(pieces: Iterable[bytes], content_type: str) -> Iterator[bytes]:
    """The first part of a body, in pieces; of a body that is none of several parts, all of it.

    Args:
        pieces: of the body, of any length.
        content_type: of the answer, which names the boundary.

    Raises:
        Passing: the body ends before the part does, or is none.

    >>> body = [b"--x\\r\\nA: b\\r\\n\\r", b"\\nDICM\\r\\n--", b"x--\\r\\n"]
    >>> b"".join(only_part(body, 'multipart/related; type="application/dicom"; boundary=x'))
    b'DICM'
    """
    if not content_type.lower().startswith("multipart/"):
        yield from pieces
        return
    found = re.search(r'boundary=(?:"([^"]+)"|([^;\s]+))', content_type, re.IGNORECASE)
    if found is None:
        raise Passing("answers in several parts without saying how they are divided")
    mark = b"--" + (found[1] or found[2]).encode("latin-1")
    stream = iter(pieces)
    yield from _content(stream, _after_header(stream, mark), b"\r\n" + mark)


def _after_header(stream: Iterator[bytes], mark: bytes) -> bytes:
    """What has been read of the part's content when its header is over."""
    held = b""
    for piece in stream:
        held += piece
        begin = held.find(mark)
        # The header may be empty: then the line of the mark is followed by an empty one.
        end = held.find(b"\r\n\r\n", begin + len(mark)) if begin >= 0 else -1
        if end >= 0:
            return held[end + 4 :]
        if len(held) > _MOST_HEADER:
            break
    raise Passing("sent an object whose beginning is not what DICOMweb sends")


def _content(stream: Iterator[bytes], held: bytes, end: bytes) -> Iterator[bytes]:
    """Pieces up to the mark; what may be its beginning is held back."""
    while True:
        at = held.find(end)
        if at >= 0:
            yield held[:at]
            # What follows is read, so that the connection can be used again.
            for _ in stream:
                pass
            return
        sure = len(held) - len(end) + 1
        if sure > 0:
            yield held[:sure]
            held = held[sure:]
        try:
            held += next(stream)
        except StopIteration:
            raise Passing("sent an object that ends too early") from None


class FilesBody:
    """Files as the parts of one body, read as it is sent.

    >>> FilesBody([], "x").read(), len(FilesBody([], "x"))
    (b'--x--\\r\\n', 7)
    """

    def __init__(self, files: Sequence[Path], boundary: str) -> None:
        """The boundary must be in none of the files: one drawn by chance is not."""
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        self._pieces: list[bytes | Path] = []
        for path in files:
            self._pieces += [head, path, b"\r\n"]
        self._pieces.append(f"--{boundary}--\r\n".encode())
        self._length = sum(len(one) if isinstance(one, bytes) else one.stat().st_size for one in self._pieces)
        self._next = 0
        self._held = b""
        self._open: BinaryIO | None = None

    def __len__(self) -> int:
        return self._length

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size`; b'' at the end."""
        found = []
        while size and (piece := self._piece(size)):
            found.append(piece)
            size -= len(piece) if size > 0 else 0
        return b"".join(found)

    def close(self) -> None:
        """Close the file that is being read."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _piece(self, size: int) -> bytes:
        while True:
            if self._held:
                cut = len(self._held) if size < 0 else size
                piece, self._held = self._held[:cut], self._held[cut:]
                return piece
            if self._open is not None:
                if piece := self._open.read(size if size > 0 else 1 << 20):
                    return piece
                self.close()
            if self._next >= len(self._pieces):
                return b""
            following = self._pieces[self._next]
            self._next += 1
            if isinstance(following, bytes):
                self._held = following
            else:
                self._open = following.open("rb")
