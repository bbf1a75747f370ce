"""Two models on the same cases: do they differ by more than chance, and by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vesal.data.labels import MEAN
from vesal.errors import DataError, UsageError, unknown_name
from vesal.evaluate.case_scores import ALL_METRICS, ClassScore
from vesal.evaluate.scores import Scores, by_case, patient_numbers
from vesal.metrics.paired import cohens_dz, holm, wilcoxon
from vesal.metrics.statistics import Difference, bootstrap_interval, paired_difference
from vesal.record import Record

Verdict = Literal["a", "b", "same", "open", "unclear"]

#: A difference is called one when both the interval and the rank test say so at this level.
LEVEL = 0.05
#: Fewer groups say next to nothing about the spread between them.
_FEWEST_GROUPS = 3
#: Volumes of one truth in two files agree to rounding (relative).
_SAME_VOLUME = 1e-6


class PairedCase(Record):
    """One class (or the mean over the classes) of one case: the metric of A and of B, each the mean over its runs."""

    case: str
    class_name: str = Field(validation_alias="class", serialization_alias="class")
    a: float
    b: float


class ComparedClass(Record):
    """One class over all cases, or the mean over the classes.

    Attributes:
        class_name: 'class' in files; 'mean' is the mean over the classes of each case.
        cases: that are defined in A and in B.
        patients: of these, where some have several cases and so count once; 0 where each case counts.
        a, b: means over the cases, with intervals over cases, or patients where some have several.
        difference, low, high: b - a and its interval; None where no case is defined in both.
        bootstrap_p: two-sided, of that interval.
        wilcoxon_p: of the signed rank test over cases, or over the means of patients.
        holm_p: that p value corrected over the classes; the mean's is not.
        rank_biserial, cohens_dz: effect sizes of the same; above 0 where B's values are larger.
        detectable: the true difference that would have been found four times in five.
        larger, smaller, equal: cases in which B's value is larger, smaller, the same.
        verdict: which model is better; 'same' when all values are equal, 'open' when no clear difference was found,
            'unclear' when interval and rank test disagree.
        undefined: cases left out because A or B does not define the metric.
    """

    class_name: str = Field(validation_alias="class", serialization_alias="class")
    cases: int
    patients: int = 0
    a: float | None = None
    a_low: float | None = None
    a_high: float | None = None
    b: float | None = None
    b_low: float | None = None
    b_high: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    bootstrap_p: float | None = None
    wilcoxon_p: float | None = None
    holm_p: float | None = None
    rank_biserial: float | None = None
    cohens_dz: float | None = None
    detectable: float | None = None
    larger: int = 0
    smaller: int = 0
    equal: int = 0
    verdict: Verdict = "open"
    undefined: tuple[str, ...] = ()


class Comparison(Record):
    """What a comparison found.

    Attributes:
        version: of this format.
        metric: a key of ALL_METRICS; volume errors are compared by their size, without their sign.
        a, b: names of the two.
        sources_a, sources_b: where the scores came from.
        runs_a, runs_b: trainings that are sources of spread.
        groups: folds that were drawn whole; 0 where none were.
        classes: that were compared.
        confidence: of the intervals.
        overall: the mean over the classes (the class itself where there is one).
        rows: one a class.
        cases: values of every case.
        only_a, only_b: cases that the other does not have; they are in no number.
        remarks: what else is to be known, one sentence each.
    """

    version: Literal[1] = 1
    metric: str
    a: str = "A"
    b: str = "B"
    sources_a: tuple[str, ...] = ()
    sources_b: tuple[str, ...] = ()
    runs_a: int
    runs_b: int
    groups: int = 0
    classes: tuple[str, ...]
    confidence: float = 0.95
    overall: ComparedClass
    rows: tuple[ComparedClass, ...]
    cases: tuple[PairedCase, ...]
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Side:
    """The scores of one model.

    Attributes:
        name: in sentences and tables.
        scores: one a run (seeds: the same cases in each), or one a fold (no case in two of them).
        sources: where each came from.
        folds: case -> name of the fold whose training predicted it, where one of the scores pools several.
    """

    name: str
    scores: Sequence[Scores]
    sources: Sequence[str] = ()
    folds: Mapping[str, str] | None = None


def compare(a: Side, b: Side, metric: str = "dice") -> Comparison:
    """Compare two models case by case, class by class, on the cases that both have.

    The mean over the classes is the main question and is tested once; the tests of the classes are corrected after
    Holm. A difference is called one when its interval leaves out 0 and the signed rank test is below 0.05, both. Runs
    are a source of spread where a model has several; folds are drawn whole where both models have the same three or
    more. Else patients are drawn whole where some have several cases, and the test is of their means.

    Raises:
        UsageError: there is no such metric, or a side has no scores.
        DataError: classes, tolerance or truth differ, or no case is common.
    """
    if metric not in ALL_METRICS:
        raise unknown_name("metric", metric, ALL_METRICS)
    if not a.scores or not b.scores:
        raise UsageError(
            "A comparison needs scores of A and of B; name a run folder or a scores.json of each."
        )
    classes = _common_classes(a, b)
    tolerance_remarks = _tolerance_remarks(a, b, metric)
    runs_a, folds_a = _runs(a)
    runs_b, folds_b = _runs(b)
    common = _common_cases(a, b, runs_a, runs_b)
    others = [(f"Runs of {a.name}", run) for run in runs_a[1:]]
    others += [(f"{a.name} and {b.name}", run) for run in runs_b]
    for names, run in others:
        _refuse_other_truth(names, runs_a[0], run, common)
    groups, remarks = _groups(a, b, folds_a, folds_b, common, len(runs_a) + len(runs_b))
    patients = {case: name for side in (a, b) for of in side.scores for case, name in of.patients.items()}
    table = _Table(classes, metric, [*common], runs_a, runs_b, groups, patients)
    rows = [table.row(name) for name in classes]
    overall = table.row(MEAN) if len(classes) > 1 else rows[0]
    tested = [row.wilcoxon_p for row in rows if row.wilcoxon_p is not None]
    corrected = iter(holm(tested))
    rows = [
        _judge(row if row.wilcoxon_p is None else row.model_copy(update={"holm_p": next(corrected)}), metric)
        for row in rows
    ]
    return Comparison(
        metric=metric,
        a=a.name,
        b=b.name,
        sources_a=tuple(a.sources),
        sources_b=tuple(b.sources),
        runs_a=len(runs_a),
        runs_b=len(runs_b),
        groups=0 if groups is None else len(set(groups.values())),
        classes=classes,
        overall=_judge(overall, metric),
        rows=tuple(rows),
        cases=table.pairs(),
        only_a=tuple(dict.fromkeys(case for run in runs_a for case in run if case not in common)),
        only_b=tuple(dict.fromkeys(case for run in runs_b for case in run if case not in common)),
        remarks=(*remarks, *tolerance_remarks),
    )


# --- what can be compared ------------------------------------------------------------------------------------

#: case -> class -> score.
Cases = dict[str, dict[str, ClassScore]]


def _common_classes(a: Side, b: Side) -> tuple[str, ...]:
    first = a.scores[0].classes
    for side in (a, b):
        for scores, source in zip_longest(side.scores, side.sources):
            if set(scores.classes) != set(first):
                raise DataError(
                    f"{source or side.name} has the classes {', '.join(scores.classes)}, but "
                    f"{[*a.sources, a.name][0]} {', '.join(first)}; score both with the same labels "
                    "(vesal evaluate --labels)."
                )
    return first


def _tolerance_remarks(a: Side, b: Side, metric: str) -> list[str]:
    tolerances = sorted({scores.tolerance_mm for side in (a, b) for scores in side.scores})
    if len(tolerances) == 1:
        return []
    unequal = " and ".join(f"{value:g} mm" for value in tolerances)
    if metric == "nsd":
        raise DataError(
            f"The NSD of A and of B have other tolerances ({unequal}); score both with the same --tolerance-mm."
        )
    return [
        f"The scores have other tolerances of the NSD ({unequal}), which {ALL_METRICS[metric].title} does not use."
    ]


def _runs(side: Side) -> tuple[list[Cases], Mapping[str, str] | None]:
    """One a run; folds, of which no two have a case in common, are one run together."""
    runs = [by_case(scores.cases) for scores in side.scores]
    if len(runs) == 1:
        return runs, side.folds
    if sum(len(run) for run in runs) > len(set().union(*runs)):
        return runs, None
    together = {case: rows for run in runs for case, rows in run.items()}
    return [together], {case: str(index) for index, run in enumerate(runs) for case in run}


def _common_cases(a: Side, b: Side, runs_a: Sequence[Cases], runs_b: Sequence[Cases]) -> dict[str, None]:
    common = {case: None for case in runs_a[0] if all(case in run for run in (*runs_a, *runs_b))}
    if not common:
        shown = [", ".join(list(runs[0])[:3]) + " ..." for runs in (runs_a, runs_b)]
        raise DataError(
            f"{a.name} and {b.name} have no case in common ({shown[0]} against {shown[1]}); compare scores of the same "
            "test cases."
        )
    return common


def _refuse_other_truth(names: str, of_a: Cases, of_b: Cases, common: Mapping[str, None]) -> None:
    for case in common:
        for name, row in of_a[case].items():
            other = of_b[case].get(name)
            if other is None:
                continue
            size, others, unit = row.sizes[0], other.sizes[0], "mm²" if row.flat else "ml"
            if size is None or others is None:
                continue
            if abs(size - others) > _SAME_VOLUME * max(size, others):
                raise DataError(
                    f"{names} were scored against another truth: {name} of {case} measures "
                    f"{size:.4g} {unit} in the one and {others:.4g} {unit} in the other; score both against the same "
                    "labels."
                )


def _groups(
    a: Side,
    b: Side,
    folds_a: Mapping[str, str] | None,
    folds_b: Mapping[str, str] | None,
    common: Mapping[str, None],
    runs: int,
) -> tuple[dict[str, str] | None, list[str]]:
    """case -> fold where both have the same folds, and a remark about the spread of training."""
    if runs > 2:
        return None, []
    alone = (
        "The interval covers the spread between cases, not that between trainings: each model is one training. "
        "Give several seeds of each for that."
    )
    if folds_a is None and folds_b is None:
        return None, [alone]
    in_a, in_b = (
        [None if folds is None else folds.get(case) for case in common] for folds in (folds_a, folds_b)
    )
    together = set(zip(in_a, in_b, strict=True))
    if None in in_a or None in in_b or not len(set(in_a)) == len(set(in_b)) == len(together):
        return None, [
            f"The folds of {a.name} and {b.name} are not the same, so the interval covers the spread between cases "
            "alone."
        ]
    if len(together) < _FEWEST_GROUPS:
        return None, [alone]
    return {case: str(fold) for case, fold in zip(common, in_a, strict=True)}, []


# --- the numbers ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Table:
    """Values of both sides: what every row is computed from."""

    classes: tuple[str, ...]
    metric: str
    cases: list[str]
    runs_a: list[Cases]
    runs_b: list[Cases]
    groups: dict[str, str] | None
    patients: dict[str, str]

    def row(self, name: str) -> ComparedClass:
        """A class, or the mean over the classes."""
        cases, a, b, undefined = self._paired(name)
        if not cases:
            return ComparedClass(class_name=name, cases=0, undefined=undefined)
        groups = None
        if self.groups is not None:
            order = sorted(set(self.groups.values()))
            groups = [order.index(self.groups[case]) for case in cases]
            # A class may be in the truth of few folds.
            groups = groups if len(set(groups)) >= _FEWEST_GROUPS else None
        patients = patient_numbers(cases, self.patients)
        of_a, of_b = a.mean(axis=0), b.mean(axis=0)
        apart = np.round(of_b - of_a, 12)
        independent = apart
        if patients is not None:
            independent = np.round(np.bincount(patients, apart) / np.bincount(patients), 12)
        if len(independent) == 1:
            # Of one patient nothing is known of others, however many scans there are.
            found = Difference(float(apart.mean()), None, None, None, None)
        else:
            found = paired_difference(a, b, patients if groups is None else groups)
        ranks = wilcoxon(independent)
        shown = ALL_METRICS[self.metric]
        bounds = (0.0, np.inf) if shown.best == "zero" else shown.bounds
        a_low, a_high = bootstrap_interval(of_a, patients, bounds=bounds)
        b_low, b_high = bootstrap_interval(of_b, patients, bounds=bounds)
        return ComparedClass(
            class_name=name,
            cases=len(cases),
            patients=0 if patients is None else len(independent),
            a=float(of_a.mean()),
            a_low=a_low,
            a_high=a_high,
            b=float(of_b.mean()),
            b_low=b_low,
            b_high=b_high,
            difference=found.mean,
            low=found.low,
            high=found.high,
            bootstrap_p=found.p,
            wilcoxon_p=ranks.p,
            rank_biserial=ranks.rank_biserial,
            cohens_dz=cohens_dz(independent),
            detectable=found.detectable,
            larger=int((apart > 0).sum()),
            smaller=int((apart < 0).sum()),
            equal=int((apart == 0).sum()),
            undefined=undefined,
        )

    def pairs(self) -> tuple[PairedCase, ...]:
        """Every case and class, and the mean over the classes where there are several."""
        found = []
        for name in (*self.classes, *([MEAN] if len(self.classes) > 1 else [])):
            cases, a, b, _ = self._paired(name)
            values = zip(cases, a.mean(axis=0), b.mean(axis=0), strict=True) if cases else ()
            found += [PairedCase(case=case, class_name=name, a=float(x), b=float(y)) for case, x, y in values]
        return tuple(found)

    def _paired(
        self, name: str
    ) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
        """Cases that every run defines, their values (runs, cases) of A and B, and the other cases."""
        runs = [*self.runs_a, *self.runs_b]
        values = [[self._value(run[case], name, case) for run in runs] for case in self.cases]
        kept = [index for index, row in enumerate(values) if None not in row]
        undefined = tuple(
            case
            for index, case in enumerate(self.cases)
            if index not in set(kept) and any(value is not None for value in values[index])
        )
        whole = np.array([values[index] for index in kept], dtype=float).reshape(len(kept), len(runs)).T
        split = len(self.runs_a)
        return [self.cases[index] for index in kept], whole[:split], whole[split:], undefined

    def _value(self, rows: Mapping[str, ClassScore], name: str, case: str) -> float | None:
        """Of a class, or the mean over the classes that every run defines in this case."""
        if name != MEAN:
            value = getattr(rows[name], self.metric) if name in rows else None
            return abs(value) if value is not None and ALL_METRICS[self.metric].best == "zero" else value
        runs = [*self.runs_a, *self.runs_b]
        shared = [
            of for of in self.classes if all(self._value(run[case], of, case) is not None for run in runs)
        ]
        values = [self._value(rows, of, case) for of in shared]
        return float(np.mean(np.array(values, dtype=float))) if values else None


def _judge(row: ComparedClass, metric: str) -> ComparedClass:
    """With its verdict: which model is better, where interval and rank test agree that they differ."""
    if row.cases and row.larger == row.smaller == 0:
        return row.model_copy(update={"verdict": "same"})
    if row.difference is None or row.low is None or row.high is None or row.wilcoxon_p is None:
        return row
    apart = row.low > 0 or row.high < 0
    ranked = (row.wilcoxon_p if row.holm_p is None else row.holm_p) < LEVEL
    verdict: Verdict = "open"
    if apart and ranked and (row.difference > 0) == ((row.rank_biserial or 0.0) > 0):
        verdict = "b" if (row.difference > 0) == (ALL_METRICS[metric].best == "high") else "a"
    elif apart or ranked:
        verdict = "unclear"
    return row.model_copy(update={"verdict": verdict})
