"""The record of a cohort: of each case how it ended, how long it took, and what was found; as CSV and as Parquet.

While the cases are predicted a line of JSON is added for each that comes to its end, so that a kill loses none. The
tables are made of these lines when the work ends, however it ends.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vesal.engine.outcome import Outcome
from vesal.errors import VesalError
from vesal.files import atomic_path, check_place, content_hash, read_json_lines, write_text
from vesal.outputs import OutputFolder
from vesal.run_files import COHORT, COHORT_CSV, COHORT_HEAD, COHORT_PARQUET
from vesal.table import Table
from vesal.text import visible
from vesal.volume.io import is_readable
from vesal.workflow.prediction.case_predictor import CaseResult
from vesal.workflow.prediction.quality_files import QualityFiles

#: What the row of a case has beside the volume, its interval and the expected Dice of each class.
_COLUMNS = ("status", "reason", "seconds", "peak_mb", "tries", "worker", "detail")
#: The lines of a shard, in the place of `COHORT`.
_OF_SHARD = "cohort.shard-{}.jsonl"
#: How a case ended: 'review' is done, too; 'kept' was there already and is in no line; of what is 'missing' nothing is
#: known, for the work ended before it.
DONE, REVIEW, FAILED, KEPT, MISSING = "done", "review", "failed", "kept", "missing"


class CohortRecord:
    """The record in a folder of predictions.

    Several that predict a shard each into one folder have lines of their own; who predicts them all, or what they left,
    takes these over.

    Attributes:
        rows: case -> its row, also of cases that an earlier start has done.
        known: what was read is lines of such a record.
        waiting: cases that are to be predicted and have not come to their end.
    """

    def __init__(self, folder: Path, classes: Sequence[str], shard: int | None = None) -> None:
        self._folder, self._classes, self._shard = folder, tuple(classes), shard
        self._lines = folder / (COHORT if shard is None else _OF_SHARD.format(shard))
        self.rows: dict[str, dict[str, Any]] = {}
        self.waiting: set[str] = set()
        self._of_files: list[dict[str, dict[str, Any]]] = []
        self.known = True
        for path in dict.fromkeys((folder / COHORT, *self._of_shards(), self._lines)):
            found = read_json_lines(path)
            self._of_files.append({str(row["case"]): row for row in found if "case" in row})
            self.rows |= self._of_files[-1]
            self.known = self.known and (not found or found[0] == COHORT_HEAD)

    def _of_shards(self) -> list[Path]:
        return sorted(self._folder.glob(_OF_SHARD.format("*"))) if self._shard is None else []

    def keep_true(self, made_of: Mapping[str, Any]) -> None:
        """Forget rows that are not about the results that are there, which somebody else may have made since.

        Args:
            made_of: case -> what its result is made of, for JSON; None where there is none.
        """
        for case, known in made_of.items():
            self.rows.pop(case, None)
            for row in (of[case] for of in self._of_files if case in of):
                if row.get("made_of") == digest_of(known):
                    self.rows[case] = row

    def wait_for(self, cases: Iterable[str]) -> None:
        """These are to be predicted now, whatever is known of them."""
        self.waiting = set(cases)
        for case in self.waiting:
            self.rows.pop(case, None)

    def recall(self, quality: QualityFiles) -> None:
        """Give the estimates that are known, and what is to be looked at, in the place of all that was there before."""
        for case, row in self.rows.items():
            quality.rows.pop(case, None)
            if row.get("quality"):
                quality.rows[case] = row["quality"]
            if row.get("note"):
                quality.flag(case, row["note"])

    def begin(self, output: OutputFolder, cases: Iterable[str]) -> None:
        """Write the lines of these cases anew, so that the next does not go on with one that was cut off.

        Args:
            output: the same folder, with the record of what Vesal wrote there.
            cases: that are asked for now.

        Raises:
            UsageError: a file of the record is there and is not Vesal's.
            VesalError: the folder cannot be written.
        """
        lines = self._lines
        if self.known and output.wrote(lines):
            # It grows by lines, so that it is never as it was first written.
            output.adopt(lines)
        tables = (self._folder / COHORT_CSV, self._folder / COHORT_PARQUET) if self._shard is None else ()
        output.refuse((lines, *tables), is_readable)
        asked = set(cases)
        self.rows = {case: row for case, row in self.rows.items() if case in asked}
        write_text(lines, "".join(map(_line, [COHORT_HEAD, *self.rows.values()])))

    def add(self, case: str, outcome: Outcome, **more: Any) -> str:
        """A case came to its end; its line.

        Args:
            case: its name.
            outcome: how it ended.
            more: of its row, for JSON.

        Raises:
            VesalError: the folder cannot be written.
        """
        found = outcome.result
        row: dict[str, Any] = {
            "case": case,
            "status": FAILED if outcome.failed else DONE,
            "reason": outcome.reason,
            "seconds": round(outcome.seconds, 3),
            "peak_mb": round(outcome.peak_bytes / 1e6) or None,
            "tries": outcome.tries,
            "worker": outcome.worker,
            "detail": outcome.detail,
        }
        if isinstance(found, CaseResult):
            row |= _measured(found)
        row |= more
        self.rows[case] = row
        self.waiting.discard(case)
        check_place(self._lines)
        try:
            with self._lines.open("a", encoding="utf-8") as stream:
                # Who puts shards together too early takes the lines of those at work away.
                stream.write(_line(row) if stream.tell() else _line(COHORT_HEAD) + _line(row))
            return _line(row)
        except OSError as error:
            raise VesalError(
                f"Cannot write {self._lines}: {error.strerror or error}; free some space and add --resume."
            ) from error

    def row(self, case: str) -> dict[str, Any]:
        """What is known of a case."""
        return self.rows.get(case, {"status": MISSING if case in self.waiting else KEPT})

    def save(self, cases: Sequence[str]) -> list[Path]:
        """Write the tables of these cases; the files. Of a shard there are none.

        Raises:
            VesalError: the folder cannot be written.
        """
        if self._shard is not None:
            return []
        maps = [(f"{name} ml", "volumes_ml", name) for name in self._classes]
        for end in ("low", "high"):
            maps += [(f"{name} ml {end}", f"{end}_ml", name) for name in self._classes]
        maps += [(f"{name} expected dice", "expected_dice", name) for name in self._classes]
        rows = []
        for case in cases:
            row = self.row(case)
            rows.append(
                [case, *map(row.get, _COLUMNS[:-1]), *(row.get(of, {}).get(name) for _, of, name in maps),
                 row.get(_COLUMNS[-1])]
            )  # fmt: skip
        names = ["case", *_COLUMNS[:-1], *(column for column, _, _ in maps), _COLUMNS[-1]]
        path = self._folder / COHORT_CSV
        write_text(path, Table.of(names, rows).csv())
        written = [path]
        if importlib.util.find_spec("pyarrow") is not None:
            _write_parquet(self._folder / COHORT_PARQUET, names, rows)
            written.append(self._folder / COHORT_PARQUET)
        for path in self._of_shards():
            path.unlink()
        return written


def _measured(found: CaseResult) -> dict[str, Any]:
    quality = found.quality or {"verdict": "", "reason": "", "predicted_dice": {}}
    reasons = [found.note, quality["reason"] if quality["verdict"] == REVIEW else ""]
    reason = "; ".join(filter(None, reasons))
    return {
        "status": REVIEW if reason else DONE,
        "reason": reason,
        "quality": found.quality,
        "volumes_ml": found.volumes_ml,
        **({"note": found.note} if found.note else {}),
        **{
            f"{end}_ml": {name: of[end] for name, of in quality.get("volumes_ml", {}).items()}
            for end in ("low", "high")
        },
        "expected_dice": {name: dice["value"] for name, dice in quality["predicted_dice"].items()},
    }


def _write_parquet(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    words = {"case", "status", "reason", "worker", "detail"}
    columns = [
        # Names of files may hold bytes that are no text.
        pyarrow.array([row[number] and visible(row[number]) for row in rows], pyarrow.string())
        if name in words
        else pyarrow.array([row[number] for row in rows], pyarrow.float64())
        for number, name in enumerate(names)
    ]
    with atomic_path(path) as temporary:
        parquet.write_table(pyarrow.table(columns, names=list(names)), temporary)


def digest_of(made_of: Any) -> str | None:
    """What stands in a row for all that a result is made of; None for nothing."""
    return None if made_of is None else content_hash(json.dumps(made_of, sort_keys=True).encode())


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"
