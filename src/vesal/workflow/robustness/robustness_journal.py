"""What a benchmark has measured so far: a line a case, so that a stopped one goes on where it was."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from vesal.data.fingerprint import Failure
from vesal.errors import UsageError, VesalError
from vesal.evaluate.robustness.degradation import ArtifactScore
from vesal.files import write_text

_NAME = "robustness.jsonl"


class Measured(BaseModel):
    """One case through the whole benchmark.

    Attributes:
        case: its id.
        rows: of every condition that could be measured.
        failures: what could not.
        predictions: scans that were segmented.
        seconds: that it took.
        memory_mb: peak of the process until then; None if unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    case: str
    rows: tuple[ArtifactScore, ...]
    failures: tuple[Failure, ...] = ()
    predictions: int = 0
    seconds: float = 0.0
    memory_mb: float | None = None


class Journal:
    """robustness.jsonl: the settings first, then a line for each case that is done.

    Attributes:
        done: by case; of an earlier sitting without those in which something failed.
    """

    def __init__(self, path: Path, done: dict[str, Measured]) -> None:
        self._path = path
        self.done = done

    @classmethod
    def open(cls, out: Path, head: dict[str, Any], *, resume: bool) -> Self:
        """Begin, or go on.

        Args:
            out: the benchmark's folder.
            head: all that the rows depend on; a resumed benchmark must have the same.
            resume: go on with what is there.

        Raises:
            UsageError: something is there and this is not a resumed benchmark, or it was begun with other settings.
            VesalError: the folder cannot be written.
        """
        path = out / _NAME
        if not path.exists():
            if out.exists() and (not out.is_dir() or any(out.iterdir())):
                raise UsageError(f"{out} is not empty and holds no benchmark; choose another output folder.")
            journal = cls(path, {})
        elif not resume:
            raise UsageError(
                f"{out} holds a benchmark; add --resume to go on with it, or choose another output folder."
            )
        else:
            journal = cls(path, _known(path, head))
        # Written anew, so that the next line does not go on with one that a killed process was writing.
        lines = [json.dumps(head), *(_line(one) for one in journal.done.values())]
        write_text(path, "".join(f"{line}\n" for line in lines))
        return journal

    def add(self, one: Measured) -> None:
        """A case is done.

        Raises:
            VesalError: the folder cannot be written.
        """
        self.done[one.case] = one
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(_line(one) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise VesalError(
                f"Cannot write {self._path}: {error.strerror or error}; free some space and add --resume."
            ) from error


def _line(one: Measured) -> str:
    return one.model_dump_json(by_alias=True)


def _known(path: Path, head: dict[str, Any]) -> dict[str, Measured]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        begun = json.loads(lines[0])
        if not isinstance(begun, dict):
            raise ValueError
    except (OSError, ValueError, IndexError) as error:
        raise UsageError(f"{path} is no record of a benchmark; choose another output folder.") from error
    wanted = json.loads(json.dumps(head))
    if other := [name for name in wanted | begun if wanted.get(name) != begun.get(name)]:
        raise UsageError(
            f"The benchmark in {path.parent} was begun with other {other[0]} ({_short(begun.get(other[0]))}, now "
            f"{_short(wanted.get(other[0]))}); give the same options, or choose another output folder."
        )
    done = {}
    for line in lines[1:]:
        try:
            one = Measured.model_validate_json(line)
        except ValidationError:
            continue  # the line that a killed process was writing
        # What failed is tried again: the file may have been fixed since.
        if not one.failures:
            done[one.case] = one
    return done


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else text[:57] + "..."
