"""What a user allows artefacts to cost, and whether it was kept."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Self

from vesal.errors import UsageError
from vesal.evaluate.robustness.degradation import HEADLINE, Condition, corrupted_means
from vesal.record import Record

#: The mean over all artefacts, among the names of artefacts.
ALL = "dice-drop"

_FORM = re.compile(r"^\s*(?P<name>[\w-]+)\s*(:\s*(?P<severity>\d))?\s*=\s*(?P<most>[^%\s]+)\s*%?\s*$")


class Limit(Record):
    """The relative drop of Dice that an artefact, or the mean over all, may cost.

    Attributes:
        text: as it was written.
        name: an artefact, or ALL.
        severity: at which; None means HEADLINE, or own settings where only those are tested.
        most_percent: the largest drop that is allowed.
    """

    text: str
    name: str
    severity: int | None
    most_percent: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read 'dice-drop=30', 'motion=30' or 'motion:5=40'; the number is in percent.

        Raises:
            UsageError: it is none of these.

        >>> Limit.parse("motion:5=40%").most_percent
        40.0
        """
        if match := _FORM.match(text):
            try:
                most = float(match["most"])
            except ValueError:
                most = math.nan
            if math.isfinite(most):
                severity = None if match["severity"] is None else int(match["severity"])
                return cls(text=text.strip(), name=match["name"], severity=severity, most_percent=most)
        raise UsageError(
            f"The limit '{text}' cannot be read; write NAME=PERCENT or NAME:SEVERITY=PERCENT, such as "
            f"{ALL}=30 or motion:5=40."
        )


class LimitResult(Record):
    """A limit and what was measured.

    Attributes:
        limit: what was allowed.
        severity: at which it was judged; None for own settings.
        measured_percent: the relative drop; None where it could not be measured, which fails.
        passed: whether it is at most what is allowed.
    """

    limit: Limit
    severity: int | None
    measured_percent: float | None
    passed: bool

    def sentence(self) -> str:
        """What was found, in words without a full stop."""
        where = "the mean over all artefacts" if self.limit.name == ALL else self.limit.name
        if self.severity is not None:
            where += f" at severity {self.severity}"
        if self.measured_percent is None:
            return f"{where} could not be measured"
        held = "within" if self.passed else "above"
        allowed = f"{self.limit.most_percent:g} % allowed"
        return f"{where} costs {self.measured_percent:.1f} % of the Dice, {held} the {allowed}"


def check_limit_names(limits: Sequence[Limit], tested: Sequence[tuple[str, int | None]]) -> None:
    """Refuse, before hours of work, limits on what is not among `tested`: (artefact, severity) of each condition.

    Raises:
        UsageError: an artefact or a severity is not among them.
    """
    for limit in limits:
        if limit.name != ALL and limit.name not in {name for name, _ in tested}:
            names = ", ".join(dict.fromkeys([ALL, *(name for name, _ in tested)]))
            raise UsageError(f"The limit '{limit.text}' names what is not tested; tested are {names}.")
        severities = [severity for name, severity in tested if limit.name in (ALL, name)]
        if _severity(limit, severities) not in severities:
            known = ", ".join(str(severity) for severity in dict.fromkeys(severities) if severity is not None)
            raise UsageError(
                f"The limit '{limit.text}' is about severity {_severity(limit, severities)}, which is not tested; "
                f"tested are {known or 'own settings alone'}: write NAME:SEVERITY=PERCENT."
            )


def check_limits(limits: Sequence[Limit], conditions: Sequence[Condition]) -> tuple[LimitResult, ...]:
    """Hold each limit against the table of degradation; what counts is the mean over the classes."""
    results = []
    for limit in limits:
        own = [one for one in corrupted_means(conditions) if limit.name in (ALL, one.artifact)]
        severity = _severity(limit, [one.severity for one in own])
        drops = [one.drop_percent.mean for one in own if one.severity == severity]
        defined = [drop for drop in drops if drop is not None]
        measured = sum(defined) / len(defined) if defined and len(defined) == len(drops) else None
        passed = measured is not None and measured <= limit.most_percent
        results.append(LimitResult(limit=limit, severity=severity, measured_percent=measured, passed=passed))
    return tuple(results)


def _severity(limit: Limit, tested: Sequence[int | None]) -> int | None:
    """The one that is meant: HEADLINE where the limit does not say, unless only own settings are tested."""
    if limit.severity is not None:
        return limit.severity
    return HEADLINE if any(severity is not None for severity in tested) else None
