"""Pseudonyms stay the same on one machine, differ between machines, and tell nobody's name."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from vesal.errors import VesalError
from vesal.volume.dicom.identity import pseudonym, salt_file


def test_a_pseudonym_stays_and_needs_the_salt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "one"))
    first = pseudonym("patient", "P1", "Doe^Jane")
    assert first.startswith("patient-")
    assert len(first) == len("patient-") + 8
    assert "Doe" not in first
    assert pseudonym("patient", "P1", "Doe^Jane") == first
    assert pseudonym("patient", "P1D", "oe^Jane") != first
    assert stat.S_IMODE(salt_file().stat().st_mode) == 0o600
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "other"))
    assert pseudonym("patient", "P1", "Doe^Jane") != first


def test_a_damaged_salt_and_a_place_that_cannot_be_written_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    pseudonym("scan", "1")
    salt_file().write_bytes(b"short")
    with pytest.raises(VesalError, match="is damaged; remove it"):
        pseudonym("scan", "1")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    with pytest.raises(VesalError, match=r"Cannot write .*salt"):
        pseudonym("scan", "1")
