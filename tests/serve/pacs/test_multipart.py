"""Bodies of several parts come apart wherever the connection cuts them, and are put together a piece at a time."""

from __future__ import annotations

import email
from pathlib import Path

import numpy as np
import pytest

from vesal.serve.pacs.multipart import FilesBody, only_part
from vesal.serve.pacs.retries import Passing

KIND = 'multipart/related; type="application/dicom"; boundary="a b"'
#: Holds what looks like the beginning of the mark.
CONTENT = b"DICM\r\n--a \r\n--\r\n\r\n--a" + bytes(range(256))
BODY = b"preface\r\n--a b\r\nContent-Type: application/dicom\r\n\r\n" + CONTENT + b"\r\n--a b--\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_the_part_is_found_however_the_body_is_cut(size: int) -> None:
    pieces = (BODY[at : at + size] for at in range(0, len(BODY), size))
    assert b"".join(only_part(pieces, KIND)) == CONTENT


def test_a_body_that_ends_early_is_never_taken_for_whole() -> None:
    end = BODY.rindex(b"\r\n--a b--") + len(b"\r\n--a b")
    for cut in range(end):
        with pytest.raises(Passing):
            list(only_part([BODY[:cut]], KIND))


def test_what_is_not_in_parts_is_taken_as_it_is() -> None:
    assert list(only_part([b"a", b"b"], "application/dicom")) == [b"a", b"b"]


def test_an_answer_that_never_begins_a_part_does_not_fill_the_memory() -> None:
    taken = 0

    def endless() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield bytes(1 << 14)

    with pytest.raises(Passing):
        list(only_part(endless(), KIND))  # type: ignore[arg-type]
    assert taken < 10


@pytest.mark.parametrize("size", [1, 5, 1000, -1])
def test_files_become_parts_that_another_reader_understands(size: int, tmp_path: Path) -> None:
    contents = [np.random.default_rng(n).bytes(n) for n in (0, 1, 3000)]
    paths = [tmp_path / str(number) for number in range(3)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    body = FilesBody(paths, "xyz")
    found = b""
    while piece := body.read(size):
        assert size < 0 or len(piece) <= size
        found += piece
    assert len(found) == len(body)
    message = email.message_from_bytes(b'Content-Type: multipart/related; boundary="xyz"\r\n\r\n' + found)
    parts = message.get_payload()
    assert isinstance(parts, list)
    assert [part.get_content_type() for part in parts] == ["application/dicom"] * 3  # type: ignore[union-attr]
    assert found.split(b"--xyz")[3].partition(b"\r\n\r\n")[2][:-2] == contents[2]
