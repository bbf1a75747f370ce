"""Types of settings: probabilities and ranges, each with what it refuses."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

LimitsT = TypeVar("LimitsT", tuple[float, float], tuple[int, int])


def _ordered(limits: LimitsT) -> LimitsT:
    if not limits[0] <= limits[1]:
        raise ValueError(f"a range goes from low to high, {limits} does not")
    return limits


_Ordered = AfterValidator(_ordered)
_Positive = Annotated[float, Field(gt=0.0)]
_NotNegative = Annotated[float, Field(ge=0.0)]
_Share = Annotated[float, Field(ge=0.0, le=1.0)]
#: An interval cannot shrink by its whole width or more.
_Shrinkage = Annotated[float, Field(ge=0.0, lt=1.0)]
_Few = Annotated[int, Field(ge=1, le=64)]
_Period = Annotated[int, Field(ge=2)]
_Severity = Annotated[int, Field(ge=1, le=5)]

Probability = _Share
Limits = Annotated[tuple[_NotNegative, _NotNegative], _Ordered]
Factors = Annotated[tuple[_Positive, _Positive], _Ordered]
Shares = Annotated[tuple[_Share, _Share], _Ordered]
Stretch = Annotated[tuple[_Shrinkage, _Shrinkage], _Ordered]
SignedLimits = Annotated[tuple[float, float], _Ordered]
Counts = Annotated[tuple[_Few, _Few], _Ordered]
Periods = Annotated[tuple[_Period, _Period], _Ordered]
Severities = Annotated[tuple[_Severity, _Severity], _Ordered]
