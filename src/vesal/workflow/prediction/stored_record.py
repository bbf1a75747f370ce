"""The record of a cohort whose results lie at an address, where no file can grow: lines come in parts, put up whole.

A part holds what came to its end in a few seconds; a kill costs these, whose scans are predicted again. Who ends the
work makes one record and the tables of all parts. Before the first result a part says which files will be made: what is
found under such a name later is Vesal's, and everything else is not.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vesal.engine.outcome import Outcome
from vesal.errors import UsageError
from vesal.files import read_json_lines, write_text
from vesal.outputs import OutputFolder
from vesal.run_files import COHORT, COHORT_CSV, COHORT_PARQUET, COHORT_PARTS, QUALITY, QUALITY_CSV
from vesal.text import listed, plural
from vesal.workflow.prediction.cohort_record import CohortRecord
from vesal.workflow.prediction.quality_files import QualityFiles
from vesal.workflow.prediction.stored_files import StoredFile, StoredFolder

#: Seconds of work that a part holds: fewer lose less by a kill, and make more objects.
_EVERY_S = 5.0
#: Ends the name of a part: the time when it was put up, in ns, and its number.
_PART = re.compile(r"-(\d+)-(\d+)\.jsonl$")
_TABLES = (COHORT_CSV, COHORT_PARQUET, QUALITY, QUALITY_CSV)


class StoredRecord:
    """The record at an address, and a copy of it in a folder here.

    Attributes:
        there: the files at the address as they were when the record was opened, by name.
        rows: case -> its row; that of a finished case holds 'files', name -> stamp, and 'made_of'.
    """

    def __init__(
        self, out: StoredFolder, folder: Path, classes: Sequence[str], shard: tuple[int, int] | None = None
    ) -> None:
        """`folder`: an empty one here; `shard`: the part of the cases that is predicted here."""
        self._out, self._folder, self._classes, self._shard = out, folder, tuple(classes), shard
        self._writer = "all" if shard is None else f"shard-{shard[0]}"
        self._lines: list[str] = []
        self._written_s = time.monotonic()
        self.there = out.files()
        parts = (name for name in self.there if name.startswith(f"{COHORT_PARTS}/"))
        self._parts = sorted(parts, key=_place)
        # Above that of all parts that are there, whatever the clock says that it was set to meanwhile.
        self._number = 1 + max((_place(name)[1] for name in self._parts), default=-1)
        self._copy = folder / COHORT
        known = [name for name in (COHORT, *self._parts) if name in self.there]
        self._copy.write_bytes(b"".join(map(out.read, known)))
        self._record = CohortRecord(folder, classes)
        self._stamps: dict[str, Any] = {}
        self._planned: set[str] = set()
        for row in read_json_lines(self._copy):
            self._know(row)
        if not known:
            self._copy.unlink()

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """Of all cases that are known."""
        return self._record.rows

    @property
    def tables(self) -> list[str]:
        """Names of the tables that were written."""
        return [name for name in _TABLES if (self._folder / name).exists()]

    def _know(self, row: Mapping[str, Any]) -> None:
        """One line after the other: what is planned again is not finished any more."""
        if "planned" in row:
            self._planned.update(row["planned"])
            for name in row["planned"]:
                self._stamps.pop(name, None)
        stamps = row.get("files", {})
        self._stamps |= stamps
        self._planned.difference_update(stamps)

    def why_unfinished(self, case: str, made_of: Mapping[str, Any], names: Iterable[str]) -> str | None:
        """What keeps a case from being finished, in words; None where nothing does."""
        row, names = self.rows.get(case), list(names)
        if any(name not in self.there for name in names):
            return "not there"
        if row is None or any(name not in self._stamps for name in names):
            return "not finished"
        if row.get("made_of") != json.loads(json.dumps(made_of)):
            return "another scan, model or option"
        if any(self._stamps[name] != self.there[name].stamp for name in names):
            return "changed or damaged"
        return None

    def begin(self, cases: Iterable[str], names: Iterable[str], waiting: Iterable[str] = ()) -> None:
        """Note which files will be made, or raise where one would replace what Vesal did not put up.

        Args:
            cases: all that are asked for.
            names: of the files of those that are to be predicted now.
            waiting: these cases.

        Raises:
            UsageError: it names the files.
            VesalError: the address cannot be written.
        """
        planned = [*names, *(_TABLES if self._shard is None else ())]
        foreign = [
            name
            for name in planned
            if name in self.there
            and name not in self._planned
            and self._stamps.get(name) != self.there[name].stamp
        ]
        if COHORT in self.there and not self._record.known:
            foreign.append(COHORT)
        if foreign:
            raise UsageError(
                f"{self._out!r} holds {plural(len(foreign), 'file')} that would be replaced and that Vesal did not "
                f"put up, or that changed since: {listed(foreign, 6)}; choose another address, or delete them first."
            )
        copy = OutputFolder(self._folder)
        if self._copy.exists():
            copy.adopt(self._copy)
        self._record.wait_for(waiting)
        self._record.begin(copy, [*self.rows, *(case for case in cases if case not in self.rows)])
        head = self._copy.read_text(encoding="utf-8").partition("\n")[0]
        line = {"planned": planned}
        self._know(line)
        self._lines = [f"{head}\n", json.dumps(line) + "\n"]
        self.flush()

    def add(
        self, case: str, outcome: Outcome, made_of: Mapping[str, Any], files: Mapping[str, StoredFile]
    ) -> None:
        """A case came to its end.

        Raises:
            VesalError: the record cannot be written.
        """
        stamps = {name: file.stamp for name, file in files.items()}
        line = self._record.add(case, outcome, made_of=made_of, files=stamps)
        self._know({"files": stamps})
        self._lines.append(line)
        if time.monotonic() - self._written_s >= _EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Put up what is not yet.

        Raises:
            VesalError: it cannot be written.
        """
        if self._lines:
            name = f"{COHORT_PARTS}/{self._writer}-{time.time_ns():020}-{self._number:06}.jsonl"
            self._out.write("".join(self._lines).encode(), name, self._folder)
            self._parts.append(name)
            self._lines, self._number = [], self._number + 1
        self._written_s = time.monotonic()

    def end(self, cases: Sequence[str]) -> None:
        """Put up the whole record and the tables, and remove the parts; of a shard the parts are the record.

        Raises:
            VesalError: it cannot be written.
        """
        self.flush()
        if self._shard is not None:
            return
        quality = QualityFiles(self._folder, self._classes)
        self._record.recall(quality)
        quality.save(last=True)
        self._record.save(cases)
        tables = {name: self._out.put(self._folder / name, name).stamp for name in self.tables}
        self._know({"files": tables})
        # What was planned and is not there may be put there by somebody else.
        left = {"planned": sorted((self._planned - {*_TABLES}) & self._out.files().keys())}
        lines = self._copy.read_text(encoding="utf-8")
        write_text(self._copy, lines + json.dumps({"files": tables}) + "\n" + json.dumps(left) + "\n")
        self._out.put(self._copy, COHORT)
        for name in self._parts:
            self._out.remove(name)


def _place(name: str) -> tuple[int, int]:
    """Of a part among the others: its number, and the time for those of several writers at once."""
    found = _PART.search(name)
    return (int(found[2]), int(found[1])) if found else (-1, 0)
