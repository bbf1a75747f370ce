"""How the fields of a request are given on the command line; those that several verbs share stand here once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from vesal.errors import UsageError
from vesal.files import expanded
from vesal.memory_limit import parse_size


@dataclass(frozen=True)
class Option:
    """A field (or a verb's parameter) that is an option of the command line; its default stands in the class.

    Attributes:
        help: one sentence.
        flags: such as '--out'; those of the field's name when not given.
        min: least value of a whole number.
        metavar: what stands for the value in the help.
        many: the option may be repeated, and the field is a tuple.
        parse: makes the field's value of the text (of all texts where there may be `many`).
        inverted: the flag sets the field to False.
    """

    help: str | None = None
    flags: tuple[str, ...] = ()
    min: int | None = None
    metavar: str | None = None
    many: bool = False
    parse: Callable[[Any], Any] | None = None
    inverted: bool = False


@dataclass(frozen=True)
class Argument:
    """A field (or a verb's parameter) that has its place on the command line.

    Attributes:
        help: one sentence.
        metavar: what stands for the value in the help.
    """

    help: str
    metavar: str | None = None


class Request:
    """What a verb takes. In Python a path may be a text, and a single value stands for a tuple of one.

    >>> @dataclass(frozen=True)
    ... class Ask(Request):
    ...     data: Path | None
    ...     names: tuple[str, ...] = ()
    >>> Ask("scans", "noise") == Ask(Path("scans"), ("noise",))
    True
    """

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            kinds = (hint,) if get_origin(hint) is tuple else (hint, *get_args(hint))
            if value is None or type(value) in kinds or isinstance(value, tuple | list):
                continue
            if isinstance(value, str) and Path in kinds:
                object.__setattr__(self, name, expanded(Path(value)))
            elif any(get_origin(kind) is tuple for kind in kinds):
                object.__setattr__(self, name, (value,))


def given_flags(options: Any) -> list[str]:
    """Flags of the options in a dataclass of them whose value is not the default."""
    hints = get_type_hints(type(options), include_extras=True)
    found = []
    for one in dataclasses.fields(options):
        if getattr(options, one.name) != one.default:
            flags = get_args(hints[one.name])[1].flags
            found.append(flags[0] if flags else "--" + one.name.replace("_", "-"))
    return found


def parse_fold(text: str) -> int | str:
    """'all', 'none' (no case is held out), or a fold's number.

    >>> parse_fold("all"), parse_fold("2")
    ('all', 2)

    Raises:
        UsageError: it is neither.
    """
    if text in ("all", "none"):
        return text
    if not text.isdecimal():
        raise UsageError(f"--fold takes a number, all or none, not '{text}'.")
    return int(text)


Data = Annotated[Path, Argument("Folder of scans; its layout is recognised.")]
Out = Annotated[Path, Option("Folder for the results.", ("-o", "--out"))]
Layout = Annotated[str, Option("Layout of the data: auto, msd, nnunet, acdc, brats, png, ...")]
Device = Annotated[str, Option("auto, cpu, cuda, cuda:N or mps.")]
Backend = Annotated[str, Option("Computes the network: auto, torch, openvino (CPU).")]
Precision = Annotated[
    str,
    Option(
        "Of the network: auto (bf16 on CPUs that have it, where masks were found to be the same), bf16, 32."
    ),
]
MaxRam = Annotated[
    int | None,
    Option(
        "Memory that this may take, such as 4G: what is too much lies on the disk or is done by fewer processes; what "
        "cannot be done within it is refused.",
        parse=parse_size,
    ),
]
Mirror = Annotated[bool, Option("Average over mirrored copies: slower, a little better.", ("--tta",))]
Recipe = Annotated[str, Option("Recipe by name, or a YAML file; vesal list recipes lists them.")]
Settings = Annotated[
    tuple[str, ...], Option("Replace a field of the recipe: key=value.", ("--set",), many=True)
]
Json = Annotated[bool, Option("Print one JSON object for machines instead of text.", ("--json",))]
PhantomKind = Annotated[str, Option("heart, short-axis, brain-tumour or lung-tumour.", ("--kind",))]
