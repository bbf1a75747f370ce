"""What goes wrong for a user, in one sentence: what, where, and the fix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from vesal.text import inline

if TYPE_CHECKING:
    from pydantic import ValidationError


#: Why a scan has no result, where the memory ends.
TOO_LARGE = "the memory does not suffice for this scan; predict it on a larger machine."


class VesalError(Exception):
    """A failure shown without a traceback: the message names what is wrong, where, and the fix.

    The command line prints the message and ends with `exit_code`.
    """

    exit_code = 1

    def __str__(self) -> str:
        """The sentence; whatever names of files hold, it stays in its line."""
        return inline(super().__str__())


class DataError(VesalError):
    """A file or a data set that cannot be used as it is."""


class UsageError(VesalError):
    """A wrong use: contradictory options, an unknown name, a path that is not there."""

    exit_code = 2


def out_of_memory(error: BaseException) -> bool:
    """Whether Python, torch, ONNX Runtime, OpenVINO or a GPU says that memory is used up.

    >>> out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
    True
    >>> out_of_memory(RuntimeError("Failed to allocate memory for requested buffer of size 256000000"))
    True
    """
    words = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate", "bad_alloc")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def reason_of(error: ValidationError) -> str:
    """The first thing that contradicts a record, in the words of the check that found it, without a full stop."""
    return error.errors()[0]["msg"].removeprefix("Value error, ")


def unknown_name(
    kind: str, name: object, choices: Iterable[object], elsewhere: Mapping[str, str] | None = None
) -> UsageError:
    """The error of every registry: it lists the choices, and the one that was probably meant.

    Args:
        kind: of what there is no such name.
        name: that is not there.
        choices: that are.
        elsewhere: words of other programs, in small letters -> the choice that means the same.

    >>> str(unknown_name("layout", "mds", ["msd", "acdc"]))
    "There is no layout 'mds' (perhaps msd?); choose one of: acdc, msd."
    >>> str(unknown_name("loss", "Dice_BCE", ["ce", "dice_balanced_ce"], {"dice_bce": "dice_balanced_ce"}))
    "There is no loss 'Dice_BCE' (perhaps dice_balanced_ce?); choose one of: ce, dice_balanced_ce."
    """
    names = sorted(str(choice) for choice in choices)
    near = nearest_name(str(name), names, elsewhere)
    perhaps = f" (perhaps {near}?)" if near else ""
    return UsageError(f"There is no {kind} '{name}'{perhaps}; choose one of: {', '.join(names)}.")


def nearest_name(name: str, choices: Sequence[str], elsewhere: Mapping[str, str] | None = None) -> str | None:
    """The choice that was probably meant: the same word elsewhere, or one that differs by little.

    >>> nearest_name("los", ["lr", "loss"]), nearest_name("quux", ["lr", "loss"])
    ('loss', None)
    """
    # Here, for the command line starts without it.
    from difflib import get_close_matches

    if meant := (elsewhere or {}).get(name.lower()):
        return meant
    plain = {_plain(choice): choice for choice in reversed(choices)}
    if found := get_close_matches(_plain(name), plain, n=1, cutoff=0.6):
        return plain[found[0]]
    return None


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")
