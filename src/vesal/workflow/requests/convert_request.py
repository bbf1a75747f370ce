"""What `vesal convert` takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from vesal.errors import UsageError
from vesal.workflow.requests.fields import Data, Layout, Option, Out, Request

SPACING_ERROR = "--spacing takes three distances in mm: of columns, rows and slices, such as 1,1,3."


def parse_spacing(text: str) -> tuple[float, ...]:
    """'1,1,3' -> millimetres between columns, rows and slices.

    Raises:
        UsageError: it is something else.

    >>> parse_spacing("0.8,0.8,3")
    (0.8, 0.8, 3.0)
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(SPACING_ERROR) from error


def parse_window(text: str) -> str | tuple[float, float]:
    """'auto', 'full', or 'LOW,HIGH' in the scan's own units.

    Raises:
        UsageError: it is none of them.

    >>> parse_window("-1000,400"), parse_window("auto")
    ((-1000.0, 400.0), 'auto')
    """
    if text in ("auto", "full"):
        return text
    return _limits(text.split(","), text)


def _limits(parts: Sequence[str | float], given: object) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in parts)
    except (TypeError, ValueError):
        low, high = 0.0, 0.0
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"--window takes auto, full, or two numbers such as -1000,400, not '{given}'.")
    return low, high


def _names(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for text in texts for name in text.split(",") if name)


@dataclass(frozen=True)
class ConvertRequest(Request):
    """What to convert, and how.

    Attributes:
        data: a data set, pictures of volumes, masks, or plain scans (`vesal.convert.sources`).
        out: a new folder, not inside `data`.
        to: a key of TARGETS.
        mapping: label values to change, such as '4=3' or 'oedema=5'.
        cases: ids; all if there are none.
        split: share of the annotated cases whose labels go to labelsTs.
    """

    data: Data
    to: Annotated[str, Option("msd, nnunet, nifti or png.")]
    out: Out
    layout: Layout = "auto"
    window: Annotated[
        str | tuple[float, float],
        Option("Intensities of PNG: LOW,HIGH in the scan's units, auto or full.", parse=parse_window),
    ] = "auto"
    bits: Annotated[int, Option("Of a PNG's pixel: 8 or 16.")] = 8
    keep_empty: Annotated[
        bool, Option("Also write slices without foreground.", ("--keep-empty/--skip-empty",))
    ] = True
    axis: Annotated[str, Option("Cut along x, y, z, or thick: the axis of the coarsest spacing.")] = "z"
    mapping: Annotated[
        tuple[str, ...], Option("Change a label value: OLD=NEW; may be repeated.", ("--map",), many=True)
    ] = ()
    merge: Annotated[bool, Option("Let --map join labels into one.")] = False
    cases: Annotated[
        tuple[str, ...], Option("Convert these alone: A,B; may be repeated.", many=True, parse=_names)
    ] = ()
    split: Annotated[float | None, Option("Share of the cases to hold out as test scans, by patient.")] = None
    seed: Annotated[int, Option("Of the split.", min=0)] = 0
    spacing_mm: Annotated[
        tuple[float, ...] | None,
        Option(
            "Put PNG slices together without slices.json: X,Y,Z in mm.", ("--spacing",), parse=parse_spacing
        ),
    ] = None
    stack: Annotated[
        bool,
        Option("Put slices together to volumes, or keep each as a 2D image.", ("--stack/--no-stack",)),
    ] = True
    slices: Annotated[Path | None, Option("The slices.json of the conversion that DATA are masks for.")] = (
        None
    )
    resume: Annotated[bool, Option("Go on where a conversion was stopped.")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.window
        window = parse_window(given) if isinstance(given, str) else _limits(given, given)
        object.__setattr__(self, "window", window)
