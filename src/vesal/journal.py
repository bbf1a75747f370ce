"""A journal of work on many cases: a JSON line for each finished one, so that stopped work can be resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from pydantic import ValidationError

from vesal.errors import UsageError, VesalError
from vesal.files import check_place, parse_json, sweep, write_text
from vesal.outputs import OutputFolder, holds_something
from vesal.record import Record


class JournalEntry(Record):
    """One finished case; what else is kept of it is added by a subclass.

    Attributes:
        id: of the case.
        made_of: what the result depends on, as JSON keeps it (lists, no tuples); compared by `Journal.has`.
        files: what was written, as paths below the journal's folder.
    """

    id: str
    made_of: Any = None
    files: tuple[str, ...] = ()


Entry = TypeVar("Entry", bound=JournalEntry)


class Journal(Generic[Entry]):
    """A file of JSON lines in the output folder: first the settings, then an entry for each finished case.

    Attributes:
        folder: where the file lies, and the files of the entries.
        head: the settings that the work was begun with.
        entries: finished cases by id, whose files are there as they were written.
        output: says which files there are Vesal's; all else is written within it as a context.
    """

    def __init__(self, path: Path, head: Mapping[str, Any], output: OutputFolder) -> None:
        self._path = path
        self.folder = path.parent
        self.head = dict(head)
        self.entries: dict[str, Entry] = {}
        self.output = output
        self._spoilt: dict[str, Entry] = {}  # finished once, and not all of their files are as they were

    @classmethod
    def open(
        cls,
        path: Path,
        entry: type[Entry],
        head: Mapping[str, Any],
        *,
        resume: bool,
        work: str,
        draw: Callable[[], Mapping[str, Any]] = dict,
        alone: bool = True,
    ) -> Self:
        """Begin in a new or empty folder, or resume in one where the work was begun with the same settings.

        Args:
            path: of the journal.
            entry: the model of a finished case.
            head: all that the results depend on; values that JSON can hold.
            resume: go on where a journal is; without one, begin.
            work: what is done, as a noun for the messages ("conversion").
            draw: gives more of the head, which is drawn or computed once: a resumed journal keeps it as it was.
            alone: the folder is read as a whole, such as a data set's: other files in it are refused.

        Raises:
            UsageError: the folder holds something else, or work that is not to be resumed or has other settings.
            VesalError: the folder cannot be written.
        """
        output = OutputFolder(path.parent)
        output.refuse(())
        folder = path.parent
        if not path.is_file():
            if os.path.lexists(path):
                raise UsageError(f"{path} is no record of a {work}; choose another folder.")
            if alone and holds_something(folder):
                raise UsageError(f"{folder} is not empty and holds no {work}; choose another folder.")
            journal = cls(path, {**head, **draw()}, output)
        elif not resume:
            raise UsageError(
                f"{folder} holds a {work}; add --resume to go on with it, or choose another folder."
            )
        else:
            sweep(folder)
            journal = cls._read(path, entry, head, work, output)
        # Written anew, so that the next line does not go on with one that a killed process was writing.
        kept = [*journal.entries.values(), *journal._spoilt.values()]
        lines = [json.dumps(journal.head), *(_line(one) for one in kept)]
        write_text(path, "".join(f"{line}\n" for line in lines))
        return journal

    @classmethod
    def _read(
        cls, path: Path, entry: type[Entry], head: Mapping[str, Any], work: str, output: OutputFolder
    ) -> Self:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            begun = parse_json(lines[0])
            if not isinstance(begun, dict):
                raise ValueError
        except (OSError, ValueError, IndexError) as error:
            raise UsageError(f"{path} is no record of a {work}; choose another folder.") from error
        wanted = json.loads(json.dumps(head))
        if other := [name for name in wanted if begun.get(name) != wanted[name]]:
            raise UsageError(
                f"The {work} in {path.parent} was begun with another {other[0]} ({_short(begun.get(other[0]))}, now "
                f"{_short(wanted[other[0]])}); give the same options or choose another folder."
            )
        journal = cls(path, begun, output)
        for line in lines[1:]:
            try:
                one = entry.model_validate_json(line)
            except ValidationError:
                continue  # the line that a killed process was writing
            for known in (journal.entries, journal._spoilt):
                known.pop(one.id, None)
            (journal.entries if journal.whole(one) else journal._spoilt)[one.id] = one
        return journal

    def whole(self, entry: Entry) -> bool:
        """Whether all files of an entry are there as they were written."""
        return all(self.output.is_ours(self.folder / name) for name in entry.files)

    def has(self, case: str, made_of: Any) -> bool:
        """Whether a case is finished, made of the same."""
        return case in self.entries and self.entries[case].made_of == made_of

    def add(self, entry: Entry) -> None:
        """A case is finished.

        Raises:
            VesalError: the folder cannot be written.
        """
        self.entries[entry.id] = entry
        check_place(self._path)
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(_line(entry) + "\n")
        except OSError as error:
            raise VesalError(
                f"Cannot write {self._path}: {error.strerror or error}; free some space and add --resume."
            ) from error

    def refuse(self, cases: Iterable[str], more: Iterable[Path], readable: Callable[[Path], bool]) -> None:
        """Raise where making these cases anew, or no more, would replace or delete a file that is not Vesal's.

        Args:
            cases: ids, of which some are finished.
            more: files that will be written besides.
            readable: as in `OutputFolder.refuse`.

        Raises:
            UsageError: it names the files.
        """
        known = [one for case in cases for one in (self.entries.get(case), self._spoilt.get(case)) if one]
        written = [self.folder / name for one in known for name in one.files]
        self.output.refuse(dict.fromkeys([*written, *more]), readable)

    def drop(self, case: str) -> None:
        """Forget a case that is to be made anew or not at all, and remove its files; a case not there is no error.

        Raises:
            UsageError: a file of it is not Vesal's any more.
        """
        for known in (self.entries, self._spoilt):
            if (entry := known.pop(case, None)) is not None:
                for name in entry.files:
                    self.output.remove(self.folder / name)

    @property
    def known(self) -> list[str]:
        """Ids of all cases that were ever finished and not dropped."""
        return [*self.entries, *self._spoilt]


def file_stamps(files: Sequence[Path]) -> list[list[int]]:
    """Size in bytes, time of the content and time of the entry in ns of each file; an empty list where it is not there.

    The time of the entry (ctime) tells files that exchanged their names: those out of a ZIP archive often have one
    time and, uncompressed, one size.
    """
    found = []
    for file in files:
        try:
            status = file.stat()
            found.append([status.st_size, status.st_mtime_ns, status.st_ctime_ns])
        except OSError:
            found.append([])
    return found


def _line(entry: JournalEntry) -> str:
    return json.dumps(entry.to_dict())


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 60 else text[:57] + "..."
