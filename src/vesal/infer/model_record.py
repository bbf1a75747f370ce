"""Records that are put into a model file after its training: read whole, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from vesal.errors import VesalError

Record = TypeVar("Record", bound=BaseModel)

#: Version of these records, but where another is named.
VERSION = 1


def read_model_record(
    kind: type[Record], value: object, what: str, path: str | Path, *, version: int = VERSION
) -> Record | None:
    """A record of a model file, be it honest or hostile; None for none.

    Args:
        kind: its class, which forbids other fields and bounds every list.
        value: as JSON gave it.
        what: it is called, such as 'post-processing'.
        path: of the model file.
        version: the newest that is known.

    Raises:
        VesalError: it is not valid, or of a newer version.
    """
    if value is None:
        return None
    if isinstance(value, dict) and type(given := value.get("version")) is int and given > version:
        raise VesalError(
            f"{path} is not a usable Vesal model: its {what} has version {min(given, 10**6)} and this Vesal reads "
            f"{version}; update Vesal."
        )
    try:
        return kind.model_validate(value)
    except (ValidationError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
        raise unusable(path, what, reason) from error


def unusable(path: str | Path, what: str, reason: str) -> VesalError:
    """The error of a model file whose record is not valid; what of the reason comes from the file is cut short."""
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(reason.split())[:160])
    return VesalError(
        f"{path} is not a usable Vesal model: its {what} is not valid ({line}); get it again from where it was made."
    )
