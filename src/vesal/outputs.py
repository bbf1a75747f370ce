"""What may be overwritten: files that Vesal wrote into the folder itself and that nobody has changed since.

Every folder that a verb writes into holds a record (`vesal.run_files.OUTPUTS`): a JSON line with the digest of each
file, written before the file takes its name, so that a kill leaves no file of ours that the record does not know.
Whatever else is there is the user's, and is never replaced nor deleted: masks drawn by hand, a mask corrected by hand,
a link. A file of the size and time with which it was written is not read again to know that it is unchanged.
"""

from __future__ import annotations

import json
import os
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath
from typing import Any, Self

from vesal.errors import UsageError, VesalError
from vesal.files import (
    Place,
    before_replacing,
    file_digest,
    is_temporary,
    parse_json,
    read_json_lines,
    staying,
)
from vesal.record import Record
from vesal.run_files import COHORT, COHORT_HEAD, COHORT_PARTS, OUTPUTS
from vesal.text import listed, plural

#: Times of files come in ticks of some ms: what is younger may be changed again within its tick, and is read to know.
_TICK_NS = 20_000_000
#: The record of a worker, in the place of `OUTPUTS`.
_OF_WRITER = "vesal-outputs.{}.jsonl"
#: Names that no folder has: who gives one for a folder meant the file.
_FILE_ENDINGS = (".json", ".csv", ".md", ".html", ".txt", ".zip", ".tar", ".gz", ".nii", ".png", ".vesal")


class FinishedCase(Record):
    """A case whose files are all there.

    Attributes:
        case: its name.
        made_of: what the files depend on, as JSON keeps it.
        files: path below the folder -> digest.
    """

    case: str
    made_of: Any
    files: dict[str, str]


class OutputFolder:
    """A folder for results, with the record of what Vesal wrote there.

    As a context, all files that are written below it by `vesal.files` are checked and recorded. Two processes may
    write into one folder: lines are only ever added. Workers on several machines give a record each (`writer`), for
    not every file system lets two add lines to one file.

    Attributes:
        folder: need not exist.
        cases: finished cases by name; where several writers' records speak of one, by the last of them (`finished`).
        damaged: the record holds something that is no line of it.
    """

    def __init__(self, folder: Path, *, below: bool = True, writer: str = "") -> None:
        """`below`: also its subfolders; `writer`: the name of a worker that has a record of its own."""
        self.folder = Path(os.path.abspath(folder))
        self.cases: dict[str, FinishedCase] = {}
        self.damaged = False
        self._below, self._writer = below, writer
        self._digests: dict[str, set[str]] = {}
        self._stamps: dict[tuple[str, int, int], str] = {}
        self._seen: dict[str, tuple[tuple[int, ...], str]] = {}
        self._lock = threading.RLock()
        self._place = Place(self.folder)
        self._within = ExitStack()
        # Where the line begins that a killed process was writing, and where it ends.
        self._torn: tuple[int, int] | None = None
        self._of_records: dict[str, dict[str, FinishedCase]] = {}
        self._read()

    @property
    def record(self) -> Path:
        """The file that this process adds to."""
        return self.folder / (_OF_WRITER.format(self._writer) if self._writer else OUTPUTS)

    def __enter__(self) -> Self:
        self._within.enter_context(staying(self._place))
        self._within.enter_context(before_replacing(self._before))
        return self

    def __exit__(self, *_: object) -> None:
        self._within.close()

    def is_ours(self, path: Path) -> bool:
        """Whether Vesal wrote the file that is there, with the content that it has."""
        name = self._name(path)
        # What was never written there need not be read to know.
        known = None if name is None else self._digests.get(_key(name))
        return known is not None and self.digest(path) in known

    def refuse(self, paths: Iterable[Path], readable: Callable[[Path], bool] | None = None) -> None:
        """Raise where one of these files is there and may not be replaced, or the folder cannot be one for results.

        Args:
            paths: what is to be written or deleted.
            readable: whether something can be read of a file. One of ours of which nothing can be, such as an empty
                one, holds no work, and may be replaced.

        Raises:
            UsageError: it names the files, and what to do.
        """
        check_folder(self.folder)
        foreign = [path for path in paths if os.path.lexists(path) and not self.is_ours(path)]
        if foreign:
            with self._lock:
                self._read()  # another process may be writing there
        for path in foreign:
            if readable and self.wrote(path) and not path.is_symlink() and not readable(path):
                self.adopt(path)
        if foreign := [path for path in foreign if not self.is_ours(path)]:
            raise UsageError(self._refusal(foreign))

    def remove(self, path: Path) -> None:
        """Delete a file of ours; one that is not there is no error.

        Raises:
            UsageError: it is not ours, or not any more.
        """
        if os.path.lexists(path):
            self.refuse([path])
            path.unlink(missing_ok=True)

    def wrote(self, path: Path) -> bool:
        """Whether Vesal ever wrote a file of this name there, whatever it holds now."""
        name = self._name(path)
        return name is not None and _key(name) in self._digests

    def adopt(self, path: Path) -> None:
        """Count a file as Vesal's as it is now, so that it may be replaced, by other processes, too.

        Raises:
            VesalError: the record cannot be written.
        """
        name = self._name(path)
        if name is not None and (digest := self.digest(path)) is not None:
            known = self._digests.setdefault(_key(name), set())
            if digest not in known:
                self._add({"file": name, "digest": digest})
                known.add(digest)

    def digest(self, path: Path) -> str | None:
        """Of the content of a file; None where there is no regular file (a link to a file counts as the file)."""
        try:
            status = path.stat()
            written = self._stamps.get((_key(self._name(path) or ""), status.st_size, status.st_mtime_ns))
            if written is not None:
                return written
            stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            known = self._seen.get(str(path))
            if known is not None and known[0] == stamp:
                return known[1]
            if not path.is_file():
                return None
            found = file_digest(path)
        except OSError:
            return None
        self._seen[str(path)] = stamp, found
        return found

    def finished(self, case: str) -> FinishedCase | None:
        """What is known of a case that is finished.

        Shards and who puts them together have a record each, which nothing puts in order: that one counts whose files
        are there as it says.
        """
        known = [of[case] for of in self._of_records.values() if case in of]
        for one in known if len(known) > 1 else ():
            if all(self.digest(self.folder / name) == digest for name, digest in one.files.items()):
                return one
        return self.cases.get(case)

    def why_unfinished(self, case: str, made_of: Any, paths: Iterable[Path]) -> str | None:
        """What keeps a case from being finished, in words; None where nothing does."""
        known = self.finished(case)
        wanted = {self._name(path) or "": path for path in paths}
        if any(not os.path.lexists(path) for path in wanted.values()):
            return "not there"
        if known is None:
            return "not finished"
        if known.made_of != made_of:
            changed = [name for name in made_of if known.made_of.get(name) != made_of[name]]
            return f"another {' and '.join(changed) or 'option'}"
        if any(known.files.get(name) != self.digest(path) for name, path in wanted.items()):
            return "changed or damaged"
        return None

    def finish(self, case: str, made_of: Mapping[str, Any], paths: Iterable[Path]) -> None:
        """Record that all files of a case are there.

        Raises:
            VesalError: the record cannot be written.
        """
        files = {name: self.digest(path) or "" for path in paths if (name := self._name(path)) is not None}
        done = FinishedCase(case=case, made_of=made_of, files=files)
        self._add(done.to_dict())
        self._of_records.setdefault(self.record.name, {})[case] = self.cases[case] = done

    # --- the record ------------------------------------------------------------------------------------------

    def _read(self) -> None:
        others = [path for path in self.folder.glob(_OF_WRITER.format("*")) if path != self.record]
        for path in (*others, self.folder / OUTPUTS):
            self._read_one(path)
        if self._writer:
            self._read_one(self.record)

    def _read_one(self, path: Path) -> None:
        try:
            data = path.read_bytes()
        except OSError:
            self.damaged = self.damaged or os.path.lexists(path)
            return
        *lines, rest = data.split(b"\n")
        if path == self.record:
            self._torn = (len(data) - len(rest), len(data)) if rest else None
        found = self._of_records[path.name] = {}
        for line in lines:
            try:
                row = parse_json(line)
                if "case" in row:
                    done = FinishedCase.model_validate(row)
                    found[done.case] = self.cases[done.case] = done
                else:
                    self._know(row)
            except (ValueError, TypeError, KeyError, AttributeError):
                self.damaged = True

    def absorb(self) -> None:
        """Add what workers noted to the record of the folder, and remove theirs; none of them is at work any more.

        Raises:
            VesalError: the record cannot be written.
        """
        with self._lock:
            self._read()
        counts = Counter(case for of in self._of_records.values() for case in of)
        twice = [self.finished(case) for case, count in counts.items() if count > 1]
        for path in sorted(self.folder.glob(_OF_WRITER.format("*"))):
            with suppress(FileNotFoundError):  # another process may take them over, too
                lines, _, _ = path.read_bytes().rpartition(b"\n")
                for line in lines.splitlines():
                    self._write(line)
                path.unlink()
        # Of one record the last line about a case counts.
        for done in filter(None, twice):
            self._add(done.to_dict())
        with self._lock:
            self._of_records.clear()
            self._read()

    def _know(self, row: Mapping[str, Any]) -> None:
        key, digest = _key(row["file"]), str(row["digest"])
        self._digests.setdefault(key, set()).add(digest)
        if stamp := row.get("stamp"):
            size, time_ns = stamp
            self._stamps[key, size, time_ns] = digest

    def _add(self, row: Mapping[str, Any]) -> None:
        self._write(json.dumps(row).encode())

    def _write(self, line: bytes) -> None:
        self._place.check(self.record)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._lock, self.record.open("ab") as stream:
                if self._torn is not None:
                    begin, end = self._torn
                    # Unless another process has gone on meanwhile, perhaps the one that was writing.
                    if stream.tell() == end:
                        stream.truncate(begin)
                    self._torn = None
                stream.write(line + b"\n")
        except OSError as error:
            raise VesalError(
                f"Cannot write {self.record}: {error.strerror or error}; free some space or choose another output "
                "folder."
            ) from error

    def _before(self, written: Path | None, path: Path) -> None:
        """Forbid that `path` is replaced or deleted, or record what is about to take its name."""
        name = self._name(path)
        if name is None or is_temporary(path):
            return
        if os.path.lexists(path) and not self.is_ours(path):
            with self._lock:
                self._read()  # another process may have written it meanwhile
            if not self.is_ours(path):
                raise UsageError(self._refusal([path]))
        if written is None:
            return
        row: dict[str, Any] = {"file": name, "digest": file_digest(written)}
        status = written.stat()
        if time.time_ns() - status.st_mtime_ns > _TICK_NS:
            row["stamp"] = [status.st_size, status.st_mtime_ns]
        with self._lock:
            if row["digest"] not in self._digests.get(_key(name), ()) or "stamp" in row:
                self._add(row)
                self._know(row)

    def _name(self, path: Path) -> str | None:
        """The path below the folder, links in it unfollowed; None of a file elsewhere."""
        absolute = Path(os.path.abspath(path))
        if not absolute.is_relative_to(self.folder):
            absolute = absolute.parent.resolve() / absolute.name
            folder = self.folder.resolve()
            if not absolute.is_relative_to(folder):
                return None
            name = absolute.relative_to(folder)
        else:
            name = absolute.relative_to(self.folder)
        return name.as_posix() if self._below or len(name.parts) == 1 else None

    def _refusal(self, paths: list[Path]) -> str:
        names = listed([self._name(path) or str(path) for path in paths], 6)
        damaged = (
            f" (its record {OUTPUTS} is damaged, so they do not count as Vesal's)" if self.damaged else ""
        )
        return (
            f"{self.folder} holds {plural(len(paths), 'file')} that would be overwritten and that Vesal did not write, "
            f"or that changed since{damaged}: {names}; choose another output folder, or move or delete them first."
        )


def check_folder(folder: Path) -> None:
    """Raise where nothing can be written into a folder, which need not exist, or its name is that of a file.

    Raises:
        UsageError: it is, or lies in, a file; or it is named as one.
        VesalError: the folder, or the one that it would be made in, cannot be written.
    """
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        kind = "a file" if there.is_file() else "no folder"
        raise UsageError(f"{there} is {kind}; choose another output folder.")
    if there != folder and folder.name.lower().endswith(_FILE_ENDINGS):
        raise UsageError(
            f"{folder} is to be a folder and is named as a file; name the folder, such as {folder.parent / 'results'}."
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise VesalError(f"{there} cannot be written; choose another output folder.")


def holds_something(folder: Path) -> bool:
    """Whether a folder holds more than what systems leave there, such as .DS_Store."""
    return folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir())


def results(folder: Path, *names: str) -> OutputFolder:
    """The folder for a few files directly in it, as a context in which they are written.

    Raises:
        UsageError: one of them is there and may not be replaced; asked before the work that leads to them.
    """
    output = OutputFolder(folder, below=False)
    output.refuse([folder / name for name in names])
    return output


def predicted_files(folder: Path) -> set[str]:
    """Paths below a folder of what predictions wrote there, by its record or by that of results at an address."""
    found: set[str] = set()
    if (folder / OUTPUTS).is_file():
        found.update(*(case.files for case in OutputFolder(folder).cases.values()))
    rows = read_json_lines(folder / COHORT)
    # Others may give their own file this name.
    of_parts = [rows] if rows[:1] == [COHORT_HEAD] else []
    of_parts += map(read_json_lines, (folder / COHORT_PARTS).glob("*.jsonl"))
    for part in of_parts:
        for row in part:
            # Those that were planned are noted before they are made, so that a kill leaves none unknown.
            found.update(row.get("files") or (), row.get("planned") or ())
    return found


def holds_record(name: str) -> bool:
    """Whether `predicted_files` of some folder reads the file with this path.

    >>> holds_record("masks/cohort.jsonl"), holds_record("masks/a.nii.gz")
    (True, False)
    """
    path = PurePosixPath(name)
    return path.name in (OUTPUTS, COHORT) or (path.parent.name == COHORT_PARTS and path.suffix == ".jsonl")


def _key(name: str) -> str:
    """The same for two names that some file systems take for one."""
    return unicodedata.normalize("NFC", name).casefold()
