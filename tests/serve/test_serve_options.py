"""Options of the command line become settings."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from vesal.errors import UsageError
from vesal.serve.serve_options import ServeOptions


def test_every_option_arrives(tmp_path: Path) -> None:
    options = ServeOptions(
        port=0, name=("pacs.local",), state=tmp_path, keep_hours=2, max_upload_gb=0.5, max_silence=3, max_queue=7,
        max_minutes=1.5, max_memory_gb=2,
    )  # fmt: skip
    found = options.settings([Path("heart.vesal")], "cpu", "torch")
    assert (found.models, found.port, found.names, found.state) == (
        {"heart": Path("heart.vesal")}, 0, ("pacs.local",), tmp_path,
    )  # fmt: skip
    assert (found.device, found.backend, found.token) == ("cpu", "torch", "")
    limits = found.limits
    assert (limits.kept, limits.upload_bytes, limits.silence_s) == (timedelta(hours=2), 500_000_000, 3)
    assert (limits.queue, limits.job_s, limits.job_bytes) == (7, 90.0, 2_000_000_000)


def test_jobs_lie_in_the_folder_of_states(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    found = ServeOptions().settings([Path("heart.vesal")], "auto", "auto")
    assert found.state == tmp_path / "vesal" / "serve"
    assert found.limits.job_bytes > 0


def test_a_folder_is_absolute_so_that_no_answer_tells_where_it_lies(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    found = ServeOptions(state=Path("state")).settings([Path("heart.vesal")], "auto", "auto")
    assert found.state == tmp_path / "state"


@pytest.mark.parametrize(
    "name", ["keep_hours", "max_upload_gb", "max_silence", "max_minutes", "max_memory_gb"]
)
@pytest.mark.parametrize("value", [0.0, -1.0, 1e12, float("inf"), float("nan")])
def test_a_number_that_allows_nothing_or_no_clock_counts_is_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} is a number above 0"):
        ServeOptions(**{name: value})


@pytest.mark.parametrize("name", ["https://pacs.example", "pacs.example:8443", "pacs.example/vesal"])
def test_more_than_the_name_of_a_host_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="name of a host alone"):
        ServeOptions(name=("pacs.local", name))
