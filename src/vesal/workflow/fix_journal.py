"""What a fixing has done so far: one line a case, so that a stopped one goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vesal.audit.apply_fixes import Change
from vesal.errors import UsageError, VesalError
from vesal.files import sweep, write_text

_NAME = "fixing.jsonl"


@dataclass(frozen=True)
class Entry:
    """One finished case.

    Attributes:
        made_of: sizes and times of its files, and what was to be done.
        files: place below the folder -> bytes; None where the case was left out.
        changes: what became of its faults.
    """

    made_of: Any
    files: Mapping[str, int] | None
    changes: tuple[Change, ...]


class FixJournal:
    """fixing.jsonl in the fixed folder.

    Attributes:
        folder: the fixed copy's.
        entries: finished cases by id, whose files are there, whole.
    """

    def __init__(self, out: Path, head: Mapping[str, Any]) -> None:
        self.folder = out
        self._path = out / _NAME
        self._head = dict(head)
        self.entries: dict[str, Entry] = {}

    @classmethod
    def open(cls, out: Path, head: Mapping[str, Any], *, resume: bool) -> FixJournal:
        """Begin in a new or empty folder, or go on in one that was begun with the same head.

        Raises:
            UsageError: the folder is not empty, or was begun with other data.
        """
        journal = cls(out, head)
        there = out.exists() and (not out.is_dir() or any(out.iterdir()))
        if there and not (resume and journal._path.is_file()):
            raise UsageError(
                f"{out} is not empty; add --resume to go on with a fixing in it, or choose another folder."
            )
        if there:
            sweep(out)
            journal._read()
        # Written anew, so that the next line does not go on with one that a killed process was writing.
        lines = [json.dumps(journal._head), *(journal._line(name) for name in journal.entries)]
        write_text(journal._path, "".join(f"{line}\n" for line in lines))
        return journal

    def _read(self) -> None:
        lines = self._path.read_text(encoding="utf-8").splitlines()
        try:
            known = json.loads(lines[0])
        except (ValueError, IndexError) as error:
            raise UsageError(f"{self._path} is no record of a fixing; choose another folder.") from error
        wanted = json.loads(json.dumps(self._head))
        if known != wanted:
            other = next(
                (name for name in wanted if not isinstance(known, dict) or known.get(name) != wanted[name]),
                "data",
            )
            raise UsageError(
                f"The fixing in {self.folder} was begun with another {other}; give the same or choose another folder."
            )
        for line in lines[1:]:
            try:
                value = json.loads(line)
                changes = tuple(Change.model_validate(change) for change in value["changes"])
                entry = Entry(value["made_of"], value["files"], changes)
                if self._whole(entry):
                    self.entries[value["case"]] = entry
            except (ValueError, KeyError, TypeError, ValidationError):
                continue  # the line that a killed process was writing

    def _whole(self, entry: Entry) -> bool:
        try:
            return all(
                (self.folder / name).stat().st_size == size for name, size in (entry.files or {}).items()
            )
        except OSError:
            return False

    def add(self, name: str, entry: Entry) -> None:
        """A case is done.

        Raises:
            VesalError: the folder cannot be written.
        """
        self.entries[name] = entry
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(self._line(name) + "\n")
        except OSError as error:
            raise VesalError(
                f"Cannot write {self._path}: {error.strerror or error}; free some space and add --resume."
            ) from error

    def drop(self, name: str) -> None:
        """Remove the files of a case that is to be made anew or not at all."""
        entry = self.entries.pop(name, None)
        for file in (entry.files or {}) if entry is not None else ():
            (self.folder / file).unlink(missing_ok=True)

    def _line(self, name: str) -> str:
        entry = self.entries[name]
        return json.dumps(
            {
                "case": name,
                "made_of": entry.made_of,
                "files": None if entry.files is None else dict(entry.files),
                "changes": [change.model_dump(mode="json") for change in entry.changes],
            }
        )


def stamps(files: Sequence[Path]) -> list[list[int]]:
    """Size and time of change of each file; nothing where it is not there."""
    found = []
    for file in files:
        try:
            status = file.stat()
            found.append([status.st_size, status.st_mtime_ns])
        except OSError:
            found.append([])
    return found
