"""Pseudonyms stay the same on one machine, differ between machines, and tell nobody's name."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
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


def test_processes_that_begin_together_have_one_salt_and_leave_nothing_else(tmp_path: Path) -> None:
    line = "from vesal.volume.dicom.identity import pseudonym; input(); print(pseudonym('patient', 'P1'))"
    environment = os.environ | {"XDG_CONFIG_HOME": str(tmp_path)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0] for process in started]
    assert len(set(said)) == 1
    assert said[0].startswith("patient-")
    assert [path.name for path in (tmp_path / "vesal").iterdir()] == ["salt"]
