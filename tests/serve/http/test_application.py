"""The routes together: every failure is one sentence in JSON, and the page is there with and without its files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from serve_client import settings

from vesal.errors import VesalError
from vesal.serve.http.application import build_app
from vesal.serve.jobs.job_service import JobService
from vesal.serve.viewer_page import add_viewer


@pytest.fixture
def app(tmp_path: Path, trained_run: Path) -> FastAPI:
    chosen = settings(tmp_path / "state", trained_run / "fold_0" / "model.vesal")
    return build_app(chosen, JobService(chosen))


@pytest.fixture
def client(app: FastAPI, tmp_path: Path) -> Iterator[httpx2.Client]:
    def own(kind: str) -> None:
        if kind == "list":
            raise VesalError(f"{tmp_path / 'state' / 'jobs.sqlite'} cannot be used.")
        raise VesalError("It is known.") if kind == "known" else KeyError("/secret")

    app.add_api_route("/fail/{kind}", own)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as found:
        yield found


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/nowhere", 404, "Not Found."),
        ("/api/jobs/0", 404, "There is no such job"),
        ("/api/jobs?most=0", 422, "most: "),
        ("/fail/known", 500, "It is known."),
        ("/fail/list", 500, '"jobs.sqlite cannot be used."'),
        ("/fail/unknown", 500, "an error of its own (KeyError)"),
    ],
)
def test_every_failure_is_a_sentence_and_counted(
    client: httpx2.Client, path: str, status: int, sentence: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert sentence in answer.text
    assert "secret" not in answer.text
    assert f'vesal_refused_total{{status="{status}"}} 1.0' in client.get("/metrics").text


def test_what_the_guard_refuses_is_counted_too(client: httpx2.Client) -> None:
    assert client.get("/api/jobs", headers={"host": "evil.example"}).status_code == 421
    assert 'vesal_refused_total{status="421"} 1.0' in client.get("/metrics").text


def test_a_server_that_has_ended_is_not_ready(app: FastAPI) -> None:
    client = TestClient(app, base_url="http://localhost")
    assert client.get("/ready").status_code == 503
    with client:
        assert client.get("/ready").status_code == 200
        assert client.get("/health").json() == {"status": "ok"}


def test_the_page_is_served_and_without_its_files_says_how_to_build_it(tmp_path: Path) -> None:
    bare, built = FastAPI(), FastAPI()
    add_viewer(bare, tmp_path / "absent")
    assert "make viewer" in TestClient(bare).get("/").text
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<p>viewer")
    (tmp_path / "assets" / "page.js").write_text("run()")
    (tmp_path / "icon.svg").write_text("<svg/>")
    add_viewer(built, tmp_path)
    assert TestClient(built).get("/icon.svg").headers["content-type"].startswith("image/svg+xml")
    assert TestClient(built).get("/").text == "<p>viewer"
    assert TestClient(built).get("/assets/page.js").text == "run()"
    assert TestClient(built).get("/assets/../index.html").status_code == 404


def test_sessions_go_when_they_have_expired_though_nobody_asks(
    app: FastAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vesal.serve.http.application._SWEEP_S", 0.05)
    monkeypatch.setattr("vesal.serve.http.label_sessions._MOST_EXPIRY_S", 0.1)
    with TestClient(app, base_url="http://localhost") as client:
        assert client.put("/session/", files={"files": ("a.nii.gz", b"scan")}).status_code == 200
        deadline = time.monotonic() + 30
        while list((tmp_path / "state" / "sessions").iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_server_that_ends_keeps_no_upload_that_is_no_job(app: FastAPI, tmp_path: Path) -> None:
    with TestClient(app, base_url="http://localhost") as client:
        assert client.put("/session/", files={"files": ("a.nii.gz", b"scan")}).status_code == 200
        (tmp_path / "state" / "incoming" / "begun").mkdir()
    assert not list((tmp_path / "state").glob("*/*"))
