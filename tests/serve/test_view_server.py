"""`vesal view`: the page's server has the files and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import nibabel as nib
import numpy as np
import pytest
from fastapi.testclient import TestClient

from vesal.serve.view_server import view, view_app
from vesal.serve.viewed_files import Viewed, prepare_view


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4)), path)
    return path


def test_the_files_are_served_and_no_other(scan: Path, tmp_path: Path) -> None:
    folder = tmp_path / "view"
    folder.mkdir()
    client = TestClient(
        view_app(prepare_view(Viewed(scan), folder), folder, "key"), base_url="http://127.0.0.1"
    )
    assert client.get("/open/key", follow_redirects=False).headers["location"] == "/#view=1"
    shown = client.get("/api/view").json()
    content = client.get(shown["scan"]["url"]).content
    np.testing.assert_array_equal(
        nib.Nifti1Image.from_bytes(content).get_fdata(), np.arange(60).reshape(3, 4, 5)
    )
    for path in (
        "/api/view/files/../scan.nii.gz",
        "/api/view/files/%2e%2e/scan.nii.gz",
        "/api/view/files/0/",
    ):
        assert client.get(path).status_code == 404
    assert client.get("/api/view", headers={"host": "evil.example"}).status_code == 421


def test_who_does_not_know_the_key_sees_nothing(scan: Path, tmp_path: Path) -> None:
    folder = tmp_path / "view"
    folder.mkdir()
    app = view_app(prepare_view(Viewed(scan), folder), folder, "key")
    for cookies in ({}, {"vesal-view-80": "kex"}, {"vesal-view-81": "key"}):
        client = TestClient(app, base_url="http://127.0.0.1", cookies=cookies)
        for path in ("/api/view", "/api/view/files/0/scan.nii", "/open/kex", "/open/%C3%A9"):
            assert client.get(path, follow_redirects=False).status_code == 401
    cookie = (
        TestClient(app, base_url="http://127.0.0.1:81")
        .get("/open/key", follow_redirects=False)
        .headers["set-cookie"]
    )
    assert cookie.startswith("vesal-view-81=key;")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie


def test_the_address_that_the_browser_is_given_opens_once(scan: Path, tmp_path: Path) -> None:
    # It stands in the list of processes, which all users of the machine may read.
    folder = tmp_path / "view"
    folder.mkdir()
    app = view_app(prepare_view(Viewed(scan), folder), folder, "key", once="given")
    first, second = (TestClient(app, base_url="http://127.0.0.1") for _ in range(2))
    assert first.get("/open/given", follow_redirects=False).status_code == 303
    assert first.get("/api/view").status_code == 200
    assert second.get("/open/given", follow_redirects=False).status_code == 401
    assert second.get("/open/", follow_redirects=False).status_code == 404
    assert second.get("/open/key", follow_redirects=False).status_code == 303


def test_the_browser_is_given_another_address_than_is_printed(
    scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    monkeypatch.setattr("webbrowser.open", given.append)
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    view(Viewed(scan), on_ready=given.append)
    printed, opened = given
    assert printed != opened
    assert printed.rpartition("/")[0] == opened.rpartition("/")[0]


@contextmanager
def viewing(scan: Path, temporary: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program, and the address that it printed."""
    command = [sys.executable, "-m", "vesal.cli", "view", str(scan), "--no-browser"]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().split()[2]


def test_the_program_leaves_nothing_of_a_scan_however_it_ends(scan: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    # Who closes a terminal hangs up.
    for end in (signal.SIGHUP, signal.SIGKILL, signal.SIGTERM):
        with viewing(scan, temporary) as (process, address):
            with httpx2.Client(timeout=60) as client:
                client.get(address)
                found = client.get(f"{address.partition('/open/')[0]}/api/view").json()
            assert found["scan"]["name"] == "scan"
            assert len(list(temporary.iterdir())) == 1
            process.send_signal(end)
        # What a killed one left goes with the next start.
        assert len(list(temporary.iterdir())) == (end is signal.SIGKILL)


def test_the_program_ends_on_a_bad_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vesal.cli", "view"]
    (tmp_path / "bad.nii.gz").write_bytes(b"no scan")
    ran = subprocess.run(
        [*command, str(tmp_path / "bad.nii.gz")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "bad.nii.gz" in ran.stderr
