"""What a check hands back, and the words that findings share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Severity = Literal["error", "warning", "note"]

_NAMED = 8  # cases that a message names; Finding.cases has all of them


class Finding(BaseModel):
    """Something found in a data set.

    Attributes:
        kind: such as 'label-shape'; one of the functions in CHECKS makes it.
        severity: 'error', 'warning' or 'note'.
        cases: ids of all cases concerned.
        message: what is wrong, in which cases.
        fix: what to do about it.
        details: the numbers that a fix needs, by case id, as JSON values: {'axis': 0} for a flip,
            {'voxels': [0, 3, 0]} for a shift, {'exchange': ['Anterior', 'Posterior']} for swapped labels,
            {'order': [1, 0]} for swapped channels, {'of': 'the other case'} for a duplicate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    severity: Severity
    cases: tuple[str, ...]
    message: str
    fix: str
    details: dict[str, dict[str, Any]] = {}


def if_any(
    kind: str,
    severity: Severity,
    items: Sequence[tuple[str, str]],
    what: str,
    fix: str,
    details: Mapping[str, dict[str, Any]] | None = None,
) -> Iterable[Finding]:
    """`items` are (case id, detail or ''). A few errors are told one by one, all else in one finding.

    `details` are the numbers that a fix needs, by case id.
    """
    single = severity == "error" and len(items) <= _NAMED
    for part in [[item] for item in items] if single else [items] if items else []:
        named = [f"{name} ({detail})" if detail else name for name, detail in part]
        where = "case" if len(part) == 1 else f"{len(part)} cases:"
        yield Finding(
            kind=kind,
            severity=severity,
            cases=tuple(name for name, _ in part),
            message=f"{what}, in {where} {listed(named)}.",
            fix=fix,
            details={name: details[name] for name, _ in part if details and name in details},
        )


def listed(names: Sequence[str]) -> str:
    """Names in a row, the first few of many.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    if len(names) > _NAMED:
        return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def counted(count: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "voxel"), counted(2, "voxel")
    ('1 voxel', '2 voxels')
    """
    return f"{count} {what}" + ("s" if count != 1 else "")


def times(shape: Sequence[int]) -> str:
    """A shape such as 20x20x10."""
    return "x".join(str(size) for size in shape)


def millimetres(spacing: Sequence[float]) -> str:
    """A spacing such as 0.625x0.625x3.6."""
    return "x".join(f"{value:.3g}" for value in spacing)
