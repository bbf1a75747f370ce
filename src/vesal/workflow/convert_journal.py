"""What a conversion has done so far: one line a case, so that a stopped one goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vesal.convert.records import Written
from vesal.errors import UsageError, VesalError
from vesal.files import sweep, write_text

_NAME = "conversion.jsonl"


class Journal:
    """conversion.jsonl in the folder of a conversion: its options first, then a line for each finished case.

    Attributes:
        written: finished cases by id whose files are there, whole, and made of the sources as they are now.
        head: the options.
    """

    def __init__(self, out: Path, head: dict[str, Any]) -> None:
        self._path = out / _NAME
        self._stamps: dict[str, list[list[int]]] = {}
        self.head = head
        self.written: dict[str, Written] = {}

    @staticmethod
    def is_in(out: Path) -> bool:
        """Whether a conversion was begun in a folder."""
        return (out / _NAME).is_file()

    @staticmethod
    def refuse_filled(out: Path) -> None:
        """Refuse a folder in which something is, and which no conversion has begun."""
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UsageError(
                f"{out} is not empty; add --resume to go on with a conversion in it, or choose another folder."
            )

    @classmethod
    def begin(cls, out: Path, head: dict[str, Any]) -> Journal:
        """A new conversion.

        Raises:
            UsageError: the folder is not empty.
        """
        cls.refuse_filled(out)
        journal = cls(out, head)
        write_text(journal._path, json.dumps(head) + "\n")
        return journal

    @classmethod
    def resume(cls, out: Path, head: dict[str, Any], *, chosen: Sequence[str]) -> Journal:
        """Go on with a conversion.

        Args:
            out: its folder.
            head: the options; they have to be those that it was begun with.
            chosen: names of entries of `head` that were drawn or decided then, and are taken from there.

        Raises:
            UsageError: it was begun with other options.
        """
        path = out / _NAME
        sweep(out)
        lines = path.read_text(encoding="utf-8").splitlines()
        try:
            known = json.loads(lines[0])
            if not isinstance(known, dict):
                raise ValueError
        except (ValueError, IndexError) as error:
            raise UsageError(f"{path} is no record of a conversion; choose another folder.") from error
        wanted = json.loads(json.dumps(head)) | {name: known.get(name) for name in chosen}
        if other := [name for name in wanted | known if wanted.get(name) != known.get(name)]:
            raise UsageError(
                f"The conversion in {out} was begun with another {other[0]} ({_short(known.get(other[0]))}, now "
                f"{_short(wanted.get(other[0]))}); give the same options or choose another folder."
            )
        journal = cls(out, known)
        journal._take(lines[1:], out)
        # Written anew, so that the next line does not go on with one that a killed process was writing.
        kept = [journal._line(name) for name in journal.written]
        write_text(path, "".join(f"{line}\n" for line in (json.dumps(known), *kept)))
        return journal

    def _take(self, lines: Sequence[str], out: Path) -> None:
        for line in lines:
            try:
                entry = json.loads(line)
                one = Written.model_validate(entry["written"])
                stamps = entry["stamps"]
            except (ValueError, KeyError, TypeError, ValidationError):
                continue  # the line that a killed process was writing
            if _whole(one, out):
                self.written[one.id], self._stamps[one.id] = one, stamps

    def has(self, name: str, files: Sequence[Path], *, test: bool) -> bool:
        """Whether the case is done, out of these very files."""
        one = self.written.get(name)
        return one is not None and one.test == test and self._stamps[name] == _stamps(files)

    def add(self, one: Written, files: Sequence[Path]) -> None:
        """A case is done.

        Raises:
            VesalError: the folder cannot be written.
        """
        self.written[one.id], self._stamps[one.id] = one, _stamps(files)
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(self._line(one.id) + "\n")
        except OSError as error:
            raise VesalError(
                f"Cannot write {self._path}: {error.strerror or error}; free some space and add --resume."
            ) from error

    def _line(self, name: str) -> str:
        return json.dumps(
            {"written": self.written[name].model_dump(mode="json"), "stamps": self._stamps[name]}
        )

    def drop(self, name: str, out: Path) -> None:
        """Remove the files of a case that is to be made anew elsewhere."""
        if (one := self.written.pop(name, None)) is not None:
            for file in one.files:
                (out / file).unlink(missing_ok=True)


def _whole(one: Written, out: Path) -> bool:
    try:
        return all((out / name).stat().st_size == size for name, size in one.files.items())
    except OSError:
        return False


def _stamps(files: Sequence[Path]) -> list[list[int]]:
    """Size and time of change of each file; none where it is not there."""
    found = []
    for file in files:
        try:
            status = file.stat()
            found.append([status.st_size, status.st_mtime_ns])
        except OSError:
            found.append([])
    return found


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 60 else text[:57] + "..."
