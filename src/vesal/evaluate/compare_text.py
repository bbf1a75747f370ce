"""A comparison in words: the sentence to quote, and Markdown."""

from __future__ import annotations

from vesal.evaluate.case_scores import ALL_METRICS
from vesal.evaluate.paired_comparison import ComparedClass, Comparison
from vesal.evaluate.scores import MEAN
from vesal.evaluate.tables import markdown_table, shown_number

#: More names than this are counted and not listed.
_MOST_NAMES = 12

VERDICTS = {
    "a": "{a} is better",
    "b": "{b} is better",
    "same": "equal in every case",
    "open": "cannot be told apart",
    "unclear": "unclear: interval and rank test disagree",
}


def verdict(comparison: Comparison, row: ComparedClass) -> str:
    """A few words for a table."""
    return VERDICTS[row.verdict].format(a=comparison.a, b=comparison.b)


def title(comparison: Comparison) -> str:
    """The metric as it is compared; errors by their size.

    >>> ALL_METRICS["volume_error_ml"].best
    'zero'
    """
    shown = ALL_METRICS[comparison.metric]
    return f"absolute {shown.title[0].lower()}{shown.title[1:]}" if shown.best == "zero" else shown.title


def sentence(comparison: Comparison, row: ComparedClass | None = None) -> str:
    """What can be quoted, of the mean over the classes or of one class."""
    row = comparison.overall if row is None else row
    of_class = "" if row.class_name == MEAN or len(comparison.classes) == 1 else f" of {row.class_name}"
    what = f"mean {title(comparison)}{of_class}"
    over = _over(comparison, row)
    if not row.cases or row.difference is None:
        return f"No case defines the {title(comparison)}{of_class} in both {comparison.a} and {comparison.b}."
    if row.verdict == "same":
        return f"{over} {comparison.a} and {comparison.b} have the same {title(comparison)}{of_class} in every case."
    if row.low is None:
        gap = _signed(row.difference, comparison)
        told = f"{over} {comparison.b}'s {what} differs from {comparison.a}'s by {gap}"
        return f"{told}: one case cannot tell them apart."
    better = {"b": " (better)", "a": " (worse)"}.get(row.verdict, "")
    way = "higher" if row.difference > 0 else "lower"
    gap = _number(abs(row.difference), comparison, unit=True)
    told = f"{over} {comparison.b}'s {what} is {way}{better} than {comparison.a}'s by {gap}"
    told += f" ({_evidence(comparison, row)})"
    if row.verdict in ("a", "b"):
        return f"{told}: the difference is unlikely to be chance."
    if row.verdict == "unclear":
        return f"{told}: interval and rank test disagree, so this is no clear difference."
    could = _number(row.detectable, comparison, unit=True)
    found = f"a true difference of {could} would have been found four times in five"
    return f"{told}: the two cannot be told apart; {found}."


def _over(comparison: Comparison, row: ComparedClass) -> str:
    cases = "1 case" if row.cases == 1 else f"{row.cases} cases"
    if comparison.runs_a + comparison.runs_b > 2:
        runs = f"{comparison.runs_a} and {comparison.runs_b} trainings"
        return f"Over {cases} and {runs}"
    if comparison.groups:
        return f"Over {cases} in {comparison.groups} folds"
    return f"Over {cases}"


def _evidence(comparison: Comparison, row: ComparedClass) -> str:
    # The interval of the difference as it is told, "lower by", not of B - A.
    sign = 1 if (row.difference or 0) > 0 else -1
    bounds = sorted(sign * value for value in (row.low or 0.0, row.high or 0.0))
    span = f"{_number(bounds[0], comparison)} to {_number(bounds[1], comparison)}"
    parts = [f"{comparison.confidence:.0%} interval {span}"]
    parts.append(
        f"Wilcoxon {_p(row.wilcoxon_p if row.holm_p is None else row.holm_p)}" + _corrected(comparison, row)
    )
    parts.append(f"rank-biserial {abs(row.rank_biserial or 0.0):.2f}" if sign * (row.rank_biserial or 0.0) >= 0
                 else f"rank-biserial -{abs(row.rank_biserial or 0.0):.2f}")  # fmt: skip
    return "; ".join(parts)


def _corrected(comparison: Comparison, row: ComparedClass) -> str:
    if row.holm_p is None or len(comparison.classes) == 1:
        return ""
    return f", Holm-corrected over {len(comparison.classes)} classes"


def _p(value: float | None) -> str:
    """A p value to two digits.

    >>> _p(0.0000123), _p(0.0123), _p(0.451)
    ('p < 0.001', 'p = 0.012', 'p = 0.45')
    """
    if value is None:
        return "p unknown"
    if value < 0.001:
        return "p < 0.001"
    return f"p = {value:.3f}" if value < 0.1 else f"p = {value:.2f}"


def _number(value: float | None, comparison: Comparison, *, unit: bool = False) -> str:
    text = shown_number(value, comparison.metric)
    of = ALL_METRICS[comparison.metric].unit
    return f"{text} {of}" if unit and of and value is not None else text


def _signed(value: float | None, comparison: Comparison) -> str:
    text = _number(value, comparison)
    return f"+{text}" if value is not None and value > 0 and not text.startswith("-") else text


# --- Markdown ------------------------------------------------------------------------------------------------


def comparison_markdown(comparison: Comparison) -> str:
    """The sentence, the table, a sentence a class, what is to be known, and every case."""
    parts = [f"# {comparison.b} against {comparison.a}", sentence(comparison), _table(comparison)]
    if len(comparison.classes) > 1:
        parts.append(_bullets([sentence(comparison, row) for row in comparison.rows]))
    parts += ["## Notes", _bullets(notes(comparison))]
    parts += ["## Cases", _cases(comparison)]
    return "\n\n".join(parts) + "\n"


def notes(comparison: Comparison) -> list[str]:
    """How it was compared, and which cases are in no number."""
    found = []
    for name, sources in ((comparison.a, comparison.sources_a), (comparison.b, comparison.sources_b)):
        if sources:
            found.append(f"{name}: {', '.join(sources)}.")
    drawn = "folds" if comparison.groups else "cases"
    if comparison.runs_a + comparison.runs_b > 2:
        drawn = "trainings and cases"
    found.append(
        f"Differences are {comparison.b} minus {comparison.a}, case by case; the interval is a studentised bootstrap "
        f"over {drawn}; the test is Wilcoxon's signed rank test over cases. A difference is called one when both say "
        "so."
    )
    if 2 in (comparison.runs_a, comparison.runs_b):
        found.append("Two trainings say little about the spread between trainings; three or more say more.")
    for name, other, cases in (
        (comparison.a, comparison.b, comparison.only_a),
        (comparison.b, comparison.a, comparison.only_b),
    ):
        if cases:
            found.append(f"In {name} and not in all of {other}, so left out: {_names(cases)}.")
    found += [
        f"{row.class_name}: defined in one and not in the other, so left out (often the class is in no truth, and one "
        f"of the two finds it): {_names(row.undefined)}."
        for row in comparison.rows
        if row.undefined
    ]
    return [*found, *comparison.remarks]


def _names(cases: tuple[str, ...]) -> str:
    if len(cases) <= _MOST_NAMES:
        return ", ".join(cases)
    return f"{', '.join(cases[:_MOST_NAMES])} and {len(cases) - _MOST_NAMES} more"


def compared_rows(comparison: Comparison) -> list[ComparedClass]:
    """Rows of a table: the classes, and the mean over them where there are several."""
    return [*comparison.rows, *([comparison.overall] if len(comparison.classes) > 1 else [])]


def headings(comparison: Comparison) -> list[str]:
    """Of the table of classes."""
    unit = ALL_METRICS[comparison.metric].unit
    name = f"{title(comparison)} ({unit})" if unit else title(comparison)
    return ["Class", f"{name} of {comparison.a}", f"of {comparison.b}", "Difference", "Wilcoxon p", "Holm p",
            "Bootstrap p", "Rank-biserial", "d_z", "Larger / smaller / equal", "Verdict"]  # fmt: skip


def cells(comparison: Comparison, row: ComparedClass) -> list[str]:
    """One row of that table."""

    def mean(value: float | None, low: float | None, high: float | None) -> str:
        text = _number(value, comparison)
        if value is None or row.cases < 2 or low is None or high is None:
            return text
        return f"{text} [{_number(low, comparison)}, {_number(high, comparison)}]"

    def plain(value: float | None, decimals: int = 2) -> str:
        return "–" if value is None else f"{value:.{decimals}f}"

    def p(value: float | None) -> str:
        return "–" if value is None else _p(value).removeprefix("p ").removeprefix("= ")

    return [row.class_name, mean(row.a, row.a_low, row.a_high), mean(row.b, row.b_low, row.b_high),
            mean(row.difference, row.low, row.high), p(row.wilcoxon_p), p(row.holm_p), p(row.bootstrap_p),
            plain(row.rank_biserial), plain(row.cohens_dz), f"{row.larger} / {row.smaller} / {row.equal}",
            verdict(comparison, row)]  # fmt: skip


def _table(comparison: Comparison) -> str:
    return markdown_table(
        headings(comparison),
        [cells(comparison, row) for row in compared_rows(comparison)],
        ("Class", "Verdict"),
    )


def _cases(comparison: Comparison) -> str:
    rows = [
        [pair.case, pair.class_name, _number(pair.a, comparison), _number(pair.b, comparison),
         _signed(pair.b - pair.a, comparison)]
        for pair in comparison.cases
    ]  # fmt: skip
    return markdown_table(
        ["Case", "Class", comparison.a, comparison.b, "Difference"], rows, ("Case", "Class")
    )


def _bullets(sentences: list[str]) -> str:
    return "\n".join(f"- {text}" for text in sentences)
