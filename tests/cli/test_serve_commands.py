"""`vesal serve` and `vesal view` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import vesal.serve.server
import vesal.serve.view_server
from vesal.cli import serve_commands
from vesal.cli.app import app
from vesal.errors import UsageError
from vesal.serve.viewed_files import Viewed


def run(*words: str) -> Any:
    return CliRunner().invoke(app, list(words), catch_exceptions=True)


def test_options_of_the_server_and_of_the_archive_arrive(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(vesal.serve.server, "serve", lambda *values: given.extend(values))
    done = run(
        "serve", "heart.vesal", "lung.vesal", "--state", str(tmp_path), "--port", "0", "--max-minutes", "2",
        "--pacs", "https://pacs/dicom-web", "--pacs-model", "lung", "--watch", "thorax",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    settings, pacs, on_ready = given
    assert list(settings.models) == ["heart", "lung"]
    assert (settings.port, settings.limits.job_s) == (0, 120.0)
    assert (pacs.model, pacs.watch.query, pacs.archive.url) == ("lung", "thorax", "https://pacs/dicom-web")
    on_ready("http://127.0.0.1:1")


def test_without_a_model_or_with_a_contradiction_nothing_is_served() -> None:
    assert run("serve").exit_code == 2
    failed = run("serve", "heart.vesal", "--watch", "thorax")
    assert isinstance(failed.exception, UsageError)


def test_what_a_page_would_not_show_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_commands, "is_page", lambda _scan: True)
    for words in (("mask.nii.gz",), ("--truth", "mask.nii.gz"), ("--series", "3")):
        failed = run("view", str(tmp_path), *words, "--no-browser")
        assert isinstance(failed.exception, UsageError)
        assert "opens scans by itself" in str(failed.exception)


def test_what_is_to_be_viewed_arrives_with_the_labels_of_a_model(
    monkeypatch: pytest.MonkeyPatch, trained_run: Path
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(
        vesal.serve.view_server, "view", lambda viewed, **options: given.extend([viewed, options])
    )
    model = trained_run / "fold_0" / "model.vesal"
    done = run("view", "a.nii.gz", "b.nii.gz", "--truth", "c.nii.gz", "--model", str(model), "--no-browser")
    assert done.exit_code == 0, done.output
    viewed, options = given
    assert isinstance(viewed, Viewed)
    assert (viewed.scan, viewed.masks, viewed.truth) == (
        Path("a.nii.gz"),
        (Path("b.nii.gz"),),
        Path("c.nii.gz"),
    )
    assert viewed.labels is not None
    assert viewed.labels.names == ("shell", "core")
    assert (options["port"], options["browser"]) == (0, False)
