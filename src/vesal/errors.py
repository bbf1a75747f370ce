"""What goes wrong for a user, in one sentence: what, where, and the fix."""

from __future__ import annotations


class VesalError(Exception):
    """A failure shown without a traceback: the message names what is wrong, where, and the fix.

    The command line prints the message and ends with `exit_code`.
    """

    exit_code = 1


class DataError(VesalError):
    """A file or a data set that cannot be used as it is."""


class UsageError(VesalError):
    """A wrong use: contradictory options, an unknown name, a path that is not there."""

    exit_code = 2


def out_of_memory(error: BaseException) -> bool:
    """Whether Python, torch or a GPU says that memory is used up.

    >>> out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
    True
    """
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def unknown_name(kind: str, name: object, choices: object) -> UsageError:
    """The error of every registry: it lists the choices.

    >>> str(unknown_name("layout", "mds", ["msd", "acdc"]))
    "There is no layout 'mds'; choose one of: acdc, msd."
    """
    listed = ", ".join(sorted(str(choice) for choice in choices))  # type: ignore[attr-defined]
    return UsageError(f"There is no {kind} '{name}'; choose one of: {listed}.")
