"""`vesal view`: the page's server has the files and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pytest
from fastapi.testclient import TestClient

from vesal.serve.view_server import view_app
from vesal.serve.viewed_files import Viewed, prepare_view


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4)), path)
    return path


def test_the_files_are_served_and_no_other(scan: Path, tmp_path: Path) -> None:
    folder = tmp_path / "view"
    folder.mkdir()
    client = TestClient(view_app(prepare_view(Viewed(scan), folder), folder), base_url="http://127.0.0.1")
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


def test_the_program_says_where_to_look_and_ends_on_a_bad_file(scan: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vesal.cli", "view", str(scan), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[2]
        assert (
            httpx.get(f"{address.partition('/#')[0]}/api/view", timeout=60).json()["scan"]["name"] == "scan"
        )
        process.terminate()
    (tmp_path / "bad.nii.gz").write_bytes(b"no scan")
    ran = subprocess.run(
        [*command[:-2], str(tmp_path / "bad.nii.gz")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "bad.nii.gz" in ran.stderr
