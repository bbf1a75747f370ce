"""What the models of the quality estimate have in common: plain bounded numbers, as they stand in a model file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vesal.record import Record

Array = NDArray[np.float64]

#: Above any honest model.
_MOST_NUMBERS, _MOST_DIRECTIONS, MOST_CLASSES = 4096, 64, 254

Number = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Numbers = Annotated[tuple[Number, ...], Field(max_length=_MOST_NUMBERS)]
Positives = Annotated[tuple[Positive, ...], Field(max_length=_MOST_NUMBERS)]
Directions = Annotated[tuple[Numbers, ...], Field(max_length=_MOST_DIRECTIONS)]
Text = Annotated[str, Field(max_length=1000)]
Names = Annotated[tuple[Text, ...], Field(max_length=_MOST_NUMBERS)]
Count = Annotated[int, Field(ge=0, le=1 << 40)]


class Stored(Record):
    """A record of a model file."""

    def rounded(self) -> Self:
        """Its arrays to six significant digits, those of two axes to four: what a few dozen scans can tell."""
        update: dict[str, Any] = {}
        for name, values in self:
            if isinstance(values, tuple) and values and not isinstance(values[0], str):
                nested = isinstance(values[0], tuple)
                update[name] = tuple(rounded(of, 4) for of in values) if nested else rounded(values)
        return self.model_copy(update=update)


def vector(values: dict[str, float], names: Sequence[str]) -> Array:
    """The numbers of these names in their order; 0 for one that is absent."""
    return np.array([values.get(name, 0.0) for name in names], dtype=np.float64)


def rounded(values: Iterable[float], digits: int = 6) -> tuple[float, ...]:
    """To so many significant digits.

    >>> rounded([0.123456789, 0.0, 1234567.0], digits=3)
    (0.123, 0.0, 1230000.0)
    """
    return tuple(
        0.0 if value == 0 else round(value, digits - 1 - math.floor(math.log10(abs(value))))
        for value in map(float, values)
    )
