"""A comparison in words: the sentence to quote, and Markdown."""

from __future__ import annotations

from vesal.data.labels import MEAN
from vesal.evaluate.case_scores import ALL_METRICS
from vesal.evaluate.paired_comparison import ComparedClass, Comparison
from vesal.evaluate.tables import metric_cell
from vesal.table import Cell, Table
from vesal.text import bullets, interval, listed, number, plural, signed

#: More names than this are counted and not listed.
_MOST_NAMES = 12

_VERDICTS = {
    "a": "{a} is better",
    "b": "{b} is better",
    "same": "equal in every case",
    "open": "no clear difference",
    "unclear": "unclear: interval and rank test disagree",
}


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
    over = f"Over {plural(row.cases, 'case')}"
    if row.patients:
        over += f" of {plural(row.patients, 'patient')}"
    if comparison.runs_a + comparison.runs_b > 2:
        over += f" and {comparison.runs_a} and {comparison.runs_b} trainings"
    elif comparison.groups:
        over += f" in {comparison.groups} folds"
    if not row.cases or row.difference is None:
        return f"No case defines the {title(comparison)}{of_class} in both {comparison.a} and {comparison.b}."
    if row.verdict == "same":
        return f"{over} {comparison.a} and {comparison.b} have the same {title(comparison)}{of_class} in every case."
    if row.low is None:
        gap = signed(row.difference, ALL_METRICS[comparison.metric].decimals)
        text = f"{over} {comparison.b}'s {what} differs from {comparison.a}'s by {gap}"
        return f"{text}: one {'patient' if row.patients else 'case'} is too few to compare them."
    better = {"b": " (better)", "a": " (worse)"}.get(row.verdict, "")
    way = "higher" if row.difference > 0 else "lower"
    gap = _quantity(abs(row.difference), comparison)
    text = f"{over} {comparison.b}'s {what} is {way}{better} than {comparison.a}'s by {gap}"
    text += f" ({_evidence(comparison, row)})"
    if row.verdict in ("a", "b"):
        return f"{text}: the difference is unlikely to be chance."
    if row.verdict == "unclear":
        return f"{text}: interval and rank test disagree, so this is no clear difference."
    could = _quantity(row.detectable, comparison)
    found = f"a true difference of {could} would have been found four times in five"
    return f"{text}: no clear difference; {found}."


def _evidence(comparison: Comparison, row: ComparedClass) -> str:
    # The interval of the difference as it is worded, "lower by", not of B - A.
    sign = 1 if (row.difference or 0) > 0 else -1
    low, high = sorted(sign * value for value in (row.low or 0.0, row.high or 0.0))
    span = interval(low, high, ALL_METRICS[comparison.metric].decimals)
    tests = sum(one.holm_p is not None for one in comparison.rows)
    several = row.holm_p is not None and tests > 1
    corrected = f", Holm-corrected over {tests} classes" if several else ""
    return (
        f"{comparison.confidence:.0%} interval {span}; "
        f"Wilcoxon {_p(row.wilcoxon_p if row.holm_p is None else row.holm_p)}{corrected}; "
        f"rank-biserial {number(sign * (row.rank_biserial or 0.0), 2)}"
    )


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


def _quantity(value: float | None, comparison: Comparison) -> str:
    """With its unit."""
    shown = ALL_METRICS[comparison.metric]
    text = number(value, shown.decimals)
    return f"{text} {shown.unit}" if shown.unit and value is not None else text


# --- Markdown ------------------------------------------------------------------------------------------------


def comparison_markdown(comparison: Comparison) -> str:
    """The sentence, the table, a sentence a class, notes, and every case."""
    parts = [
        f"# {comparison.b} against {comparison.a}",
        sentence(comparison),
        class_table(comparison).markdown(),
    ]
    if len(comparison.classes) > 1:
        parts.append(bullets([sentence(comparison, row) for row in comparison.rows]))
    parts += ["## Notes", bullets(notes(comparison))]
    parts += ["## Cases", case_table(comparison).markdown()]
    return "\n\n".join(parts) + "\n"


def notes(comparison: Comparison) -> list[str]:
    """How it was compared, and which cases are in no number."""
    found = []
    for name, sources in ((comparison.a, comparison.sources_a), (comparison.b, comparison.sources_b)):
        if sources:
            found.append(f"{name}: {', '.join(sources)}.")
    units = "patients" if comparison.overall.patients else "cases"
    tested = "the means of patients" if comparison.overall.patients else "cases"
    drawn = "folds" if comparison.groups else units
    if comparison.runs_a + comparison.runs_b > 2:
        drawn = f"trainings and {units}"
    found.append(
        f"Differences are {comparison.b} minus {comparison.a}, case by case; the interval is a studentised bootstrap "
        f"over {drawn}; the test is Wilcoxon's signed rank test over {tested}. A difference is called one when both "
        "say so."
    )
    if 2 in (comparison.runs_a, comparison.runs_b):
        found.append("Two trainings say little about the spread between trainings; three or more say more.")
    for name, other, cases in (
        (comparison.a, comparison.b, comparison.only_a),
        (comparison.b, comparison.a, comparison.only_b),
    ):
        if cases:
            found.append(f"In {name} and not in all of {other}, so left out: {listed(cases, _MOST_NAMES)}.")
    found += [
        f"{row.class_name}: defined in one and not in the other, so left out (often the class is in no truth, and one "
        f"of the two finds it): {listed(row.undefined, _MOST_NAMES)}."
        for row in comparison.rows
        if row.undefined
    ]
    return [*found, *comparison.remarks]


def compared_rows(comparison: Comparison) -> list[ComparedClass]:
    """Rows of a table: the classes, and the mean over them where there are several."""
    return [*comparison.rows, *([comparison.overall] if len(comparison.classes) > 1 else [])]


def class_table(comparison: Comparison) -> Table:
    """A row a class, and one of the mean over the classes where there are several."""
    name, unit = title(comparison), ALL_METRICS[comparison.metric].unit
    columns = ["Class", f"{name} ({unit}) of {comparison.a}" if unit else f"{name} of {comparison.a}",
               f"of {comparison.b}", "Difference", "Wilcoxon p", "Holm p", "Bootstrap p", "Rank-biserial", "d_z",
               "Larger / smaller / equal", "Verdict"]  # fmt: skip

    def mean(row: ComparedClass, value: float | None, low: float | None, high: float | None) -> Cell:
        return metric_cell(
            value, comparison.metric, *((low, high) if (row.patients or row.cases) > 1 else ())
        )

    def p(value: float | None) -> Cell:
        return Cell() if value is None else Cell(value, text=_p(value).removeprefix("p ").removeprefix("= "))

    rows = [
        (
            row.class_name,
            mean(row, row.a, row.a_low, row.a_high),
            mean(row, row.b, row.b_low, row.b_high),
            mean(row, row.difference, row.low, row.high),
            *map(p, (row.wilcoxon_p, row.holm_p, row.bootstrap_p)),
            Cell(row.rank_biserial, decimals=2),
            Cell(row.cohens_dz, decimals=2),
            Cell(row.larger - row.smaller, text=f"{row.larger} / {row.smaller} / {row.equal}"),
            _VERDICTS[row.verdict].format(a=comparison.a, b=comparison.b),
        )
        for row in compared_rows(comparison)
    ]
    return Table.of(columns, rows)


def case_table(comparison: Comparison) -> Table:
    """Every case and class."""
    decimals = ALL_METRICS[comparison.metric].decimals
    rows = [
        (
            pair.case,
            pair.class_name,
            metric_cell(pair.a, comparison.metric),
            metric_cell(pair.b, comparison.metric),
            Cell(pair.b - pair.a, text=signed(pair.b - pair.a, decimals)),
        )
        for pair in comparison.cases
    ]
    return Table.of(["Case", "Class", comparison.a, comparison.b, "Difference"], rows)
