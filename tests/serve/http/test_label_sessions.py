"""Sessions of MONAI Label's clients: they expire, and leave nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesal.serve.http import label_sessions as module
from vesal.serve.http.label_sessions import LabelSessions
from vesal.serve.jobs.uploads import Upload, UploadError
from vesal.serve.serve_settings import Limits


def upload(tmp_path: Path, name: str = "a.nii.gz") -> Upload:
    folder = tmp_path / f"incoming-{name}"
    folder.mkdir()
    made = Upload(folder, Limits(room_bytes=0))
    if name:
        made.begin_file(name)
        made.file_data(b"scan")
        made.end_file()
    return made


def test_a_session_is_copied_as_often_as_it_is_used_and_goes(tmp_path: Path) -> None:
    sessions = LabelSessions(tmp_path / "sessions")
    session = sessions.keep(upload(tmp_path), 0)
    for number in range(2):
        target = Upload(tmp_path / f"use-{number}", Limits(room_bytes=0))
        target.folder.mkdir()
        sessions.copy(session.id, target)
        assert [file.read_bytes() for file in target.files] == [b"scan"]
    sessions.remove(session.id)
    assert list((tmp_path / "sessions").iterdir()) == []
    with pytest.raises(UploadError, match="no such session"):
        sessions.get(session.id)


def test_a_session_that_ends_while_it_is_copied_is_none_any_more(tmp_path: Path) -> None:
    sessions = LabelSessions(tmp_path / "sessions")
    session = sessions.keep(upload(tmp_path), 0)
    session.files[0].unlink()
    with pytest.raises(UploadError, match="no such session") as refused:
        sessions.copy(session.id, upload(tmp_path, "b.nii.gz"))
    assert refused.value.status == 404


def test_a_session_that_nobody_uses_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    sessions = LabelSessions(tmp_path / "sessions")
    session = sessions.keep(upload(tmp_path), 60)
    now[0] = 50.0
    sessions.get(session.id)
    now[0] = 105.0
    sessions.get(session.id)
    now[0] = 166.0
    with pytest.raises(UploadError):
        sessions.get(session.id)
    assert list((tmp_path / "sessions").iterdir()) == []


def test_a_session_needs_a_file(tmp_path: Path) -> None:
    sessions = LabelSessions(tmp_path / "sessions")
    with pytest.raises(UploadError, match="no file"):
        sessions.keep(upload(tmp_path, ""), 0)


def test_what_an_earlier_server_kept_goes(tmp_path: Path) -> None:
    (tmp_path / "sessions" / "old").mkdir(parents=True)
    LabelSessions(tmp_path / "sessions")
    assert list((tmp_path / "sessions").iterdir()) == []
