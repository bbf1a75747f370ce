"""What a file in `defects` exports: FIND, checks (`ReferenceCases` -> findings), and FIX, a `Fix` for each kind.

A fix measures its defect in the files before it touches anything, whatever the finding says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vesal.audit.editable_case import EditableCase, FixResult
from vesal.audit.reference_cases import ReferenceCases

#: (a case, the finding's details of it, the sound cases) -> the fixed case. Raises `NothingToFix` where the defect is
#: not there, and `CannotFix` where it cannot be fixed.
Apply = Callable[[EditableCase, Mapping[str, Any], ReferenceCases], FixResult]


@dataclass(frozen=True)
class Fix:
    """What becomes of cases with one kind of defect in the fixed copy.

    Attributes:
        apply: fixes a case; None where no program can.
        left_out: why a case of a kind that is never fixed is not in the fixed copy; '' where it stays as it is.
        required: a case that cannot be fixed is left out whatever the severity: it would teach a network what is wrong.
        verified: even a fixed label may be another scan's, and the case is left out if it does not fit its image.
    """

    apply: Apply | None = None
    left_out: str = ""
    required: bool = False
    verified: bool = False
