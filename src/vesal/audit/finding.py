"""A finding: what is wrong with some cases of a data set. Its message is rendered from its details."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, computed_field

from vesal.text import inline, listed

Severity = Literal["error", "warning", "note"]
#: Case id -> what a message says of this case, '' for nothing; or its details, with that as 'text'.
CaseDetails = dict[str, str | dict[str, Any]]

#: Share of the cases up to which something is suspicious; what more of them have is how the data set is.
RARE = 0.2
_SINGLE = 8  # errors of one kind up to which each becomes a finding of its own


class Finding(BaseModel):
    """Something found in a data set.

    Attributes:
        kind: such as 'label-shape'.
        severity: 'error', a case cannot be trained on as it is; 'warning', somebody should look; or 'note'.
        cases: ids of all cases concerned.
        what: is wrong, a sentence without its full stop.
        fix: what to do about it.
        details: of cases, by id, as JSON values. 'text' is what the message says of the case; the others are what a
            fix needs: {'axis': 0} for a flip, {'voxels': [0, 3, 0]} for a shift, {'exchange': ['Anterior',
            'Posterior']} for swapped labels, {'order': [1, 0]} for swapped channels, {'of': 'the other case'}.
    """

    # A stored finding holds its message, too.
    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: str
    severity: Severity
    cases: tuple[str, ...]
    what: str
    fix: str
    details: dict[str, dict[str, Any]] = {}

    @computed_field  # type: ignore[prop-decorator]
    @property
    def message(self) -> str:
        """What is wrong, and in which cases.

        >>> cases = {"a": {"text": "3 mm"}, "b": {"text": ""}}
        >>> Finding(kind="k", severity="note", cases=tuple(cases), what="A label is odd", fix="", details=cases).message
        'A label is odd, in 2 cases: a (3 mm) and b.'
        """
        named = [f"{name}{self._text(name)}" for name in self.cases if "text" in self.details.get(name, {})]
        where = "case" if len(named) == 1 else f"{len(named)} cases:"
        what = inline(self.what)
        return f"{what}, in {where} {listed(named, last=' and ')}." if named else f"{what}."

    def about(self, case: str) -> str:
        """What is wrong with one case, without a full stop."""
        return f"{self.what}{self._text(case)}"

    def only(self, case: str) -> Finding:
        """The finding of one case alone."""
        details = {case: self.details[case]} if case in self.details else {}
        return self.model_copy(update={"cases": (case,), "details": details})

    def _text(self, case: str) -> str:
        text = self.details.get(case, {}).get("text")
        return f" ({text})" if text else ""


def of_slices(names: Sequence[str], text: str) -> CaseDetails:
    """Details of one thing that is true of all slices of a volume: the message speaks of them once.

    >>> of_slices(["a_1", "a_2"], "all slices of a")
    {'a_1': 'all slices of a', 'a_2': {}}
    """
    return {names[0]: text} | dict[str, str | dict[str, Any]]({name: {} for name in names[1:]})


def find_in(
    kind: str, severity: Severity, what: str, fix: str, cases: Mapping[str, str | dict[str, Any]]
) -> Iterator[Finding]:
    """A few errors become a finding each, all else one finding; none where there are no cases."""
    details = {name: {"text": one} if isinstance(one, str) else one for name, one in cases.items()}
    single = severity == "error" and len(details) <= _SINGLE
    for names in [[name] for name in details] if single else [list(details)] if details else []:
        of = {name: details[name] for name in names}
        yield Finding(kind=kind, severity=severity, cases=tuple(names), what=what, fix=fix, details=of)
