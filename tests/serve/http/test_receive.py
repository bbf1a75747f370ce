"""Forms, cut into pieces at every place: what arrives is what was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Body, FastAPI
from starlette.requests import Request

from vesal.serve.http.receive import SmallBody, receive
from vesal.serve.jobs.uploads import Upload, UploadError
from vesal.serve.serve_settings import Limits

FORM = (
    b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nheart\r\n'
    b'--x\r\nContent-Disposition: form-data; name="files"; filename="one/a.nii"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n\r\n--xnot the end\r\n\r\n"
    b'--x\r\nContent-Disposition: form-data; name="files"; filename="\xc3\xa9.nii"\r\n\r\n\r\n--x--\r\n'
)


def sent(
    pieces: Sequence[bytes],
    upload: Upload,
    kind: str = "multipart/form-data; boundary=x",
    ignored: str = "",
) -> None:
    left = list(pieces)

    async def arriving() -> dict[str, object]:
        if not left:
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.request", "body": left.pop(0), "more_body": True}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", kind.encode())]}
    asyncio.run(receive(Request(scope, arriving), upload, ignored=ignored))


def upload(folder: Path, **limits: object) -> Upload:
    folder.mkdir()
    return Upload(folder, Limits(**{"room_bytes": 0, **limits}))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_the_pieces_do_not_matter(size: int, tmp_path: Path) -> None:
    into = upload(tmp_path / "up")
    sent([FORM[at : at + size] for at in range(0, len(FORM), size)], into)
    assert into.fields == {"model": "heart"}
    assert [file.name for file in into.files] == ["a.nii", "é.nii"]
    assert [file.read_bytes() for file in into.files] == [b"\r\n--xnot the end\r\n", b""]
    assert into.received == len(b"\r\n--xnot the end\r\n")


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_file_of_an_ignored_field_is_passed_over(size: int, tmp_path: Path) -> None:
    form = FORM.replace(b'name="files"; filename="one/a.nii"', b'name="label"; filename="one/a.nii"')
    into = upload(tmp_path / "up")
    sent([form[at : at + size] for at in range(0, len(form), size)], into, ignored="label")
    assert [file.name for file in into.files] == ["é.nii"]
    assert into.fields == {"model": "heart"}


@pytest.mark.parametrize("end", range(1, len(FORM) - 4, 11))
def test_a_form_that_breaks_off_anywhere_is_refused(end: int, tmp_path: Path) -> None:
    with pytest.raises(UploadError):
        sent([FORM[:end]], upload(tmp_path / "up"))


@pytest.mark.parametrize(
    ("pieces", "kind", "reason"),
    [
        ([b"scan"], "application/json", "Send the scan as a form"),
        ([b"scan"], "multipart/form-data", "Send the scan as a form"),
        ([b"no boundary at all"], "multipart/form-data; boundary=x", "damaged"),
        ([b""], "multipart/form-data; boundary=x", "breaks off"),
    ],
)
def test_what_is_no_form_is_refused(pieces: list[bytes], kind: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UploadError, match=reason):
        sent(pieces, upload(tmp_path / "up"), kind)


def test_the_limit_holds_in_the_middle_of_a_file(tmp_path: Path) -> None:
    into = upload(tmp_path / "up", upload_bytes=1000)
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.nii"\r\n\r\n'
    with pytest.raises(UploadError, match="larger than"):
        sent([head, *[bytes(400)] * 100], into)
    assert into.files[0].stat().st_size <= 1000


def test_silence_is_given_up(tmp_path: Path) -> None:
    async def silent() -> dict[str, object]:
        await asyncio.sleep(60)
        raise AssertionError

    scope = {
        "type": "http", "method": "POST", "headers": [(b"content-type", b"multipart/form-data; boundary=x")],
    }  # fmt: skip
    request = Request(scope, silent)
    with pytest.raises(UploadError, match="too slowly") as refused:
        asyncio.run(receive(request, upload(tmp_path / "up", silence_s=0.05, upload_s=0.2)))
    assert refused.value.status == 408


def test_a_boundary_that_no_form_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UploadError, match="The form is damaged"):
        sent([FORM], upload(tmp_path / "up"), f"multipart/form-data; boundary={'x' * 5000}")


def status_of(receive: Callable[[], Awaitable[dict[str, Any]]]) -> int:
    """The answer's to a request with this body, to a route that takes a text."""
    routes = APIRouter(route_class=SmallBody)

    @routes.post("/")
    def post(text: Annotated[str, Body()]) -> str:
        return text

    app, answers = FastAPI(), []
    app.include_router(routes)

    async def send(message: MutableMapping[str, Any]) -> None:
        answers.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b""}
    scope["headers"] = [(b"content-type", b"application/json")]
    asyncio.run(app(scope, receive, send))
    return int(answers[0]["status"])


@pytest.mark.parametrize(("size", "status"), [(100, 200), (10_000_000, 413)])
def test_a_body_that_is_to_be_small_is_not_read_on_when_it_is_large(size: int, status: int) -> None:
    body = b'"' + b"x" * size + b'"'
    left = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    count = len(left)

    async def arriving() -> dict[str, Any]:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    assert status_of(arriving) == status
    assert count - len(left) < 100


def test_a_small_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vesal.serve.http.receive._SMALL_S", 0.01)

    async def silent() -> dict[str, Any]:
        await asyncio.sleep(60)
        raise AssertionError("it was waited for")

    assert status_of(silent) == 408
