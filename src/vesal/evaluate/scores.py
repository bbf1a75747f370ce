"""Scores of many cases: every row, the means with their intervals, and what could not be scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from vesal.data.fingerprint import Failure
from vesal.data.labels import MEAN, LabelSet
from vesal.evaluate.case_scores import (
    ALL_METRICS,
    LESION_METRICS,
    METRICS,
    OF_AREAS,
    OF_VOLUMES,
    ClassScore,
)
from vesal.files import content_hash
from vesal.metrics.agreement import Agreement, bland_altman
from vesal.metrics.statistics import bootstrap_interval
from vesal.record import Record
from vesal.run_files import SCORES


class Summary(Record):
    """One metric of one class over all cases; None where no case defines it.

    Attributes:
        class_name: 'class' in files; 'mean' is, for each case, the mean over its defined classes.
        metric: a key of METRICS, or of LESION_METRICS for classes whose lesions are counted.
        mean, median: over the cases that define it.
        low, high: the bootstrap interval of the mean; None also where all cases are of one patient.
        median_low, median_high: that of the median.
        count: cases that define it.
        excluded: cases in which it is undefined, such as those where prediction and truth are both empty.
    """

    class_name: str = Field(validation_alias="class", serialization_alias="class")
    metric: str
    mean: float | None
    median: float | None
    low: float | None
    high: float | None
    median_low: float | None
    median_high: float | None
    count: int
    excluded: int


class Scores(Record):
    """What an evaluation found.

    Attributes:
        version: of this format.
        classes: what was scored, regions or labels.
        tolerance_mm: of the NSD.
        confidence: of the intervals.
        interval: the kind of bootstrap that those of means are from.
        cases: one row a case and class, in the cases' order; classes that were not annotated have no row.
        summary: one row a class and metric, then those of the mean over the classes.
        lesions: classes whose lesions were counted.
        agreement_ml: class -> agreement of predicted and true volumes, of each class that any case holds.
        agreement_mm2: the same of the areas of 2D images.
        failures: cases that could not be scored; they are in no mean.
        remarks: what else is to be known, one sentence each.
        patients: case -> a digest of its patient's name, of patients with several cases: intervals draw these whole.
        volumes: where the cases are slices, the same of the volumes that they belong to; its failures say why a volume
            could not be put together.
    """

    described: ClassVar[tuple[str, str]] = ("scores", "make them again with vesal evaluate")
    file_name: ClassVar[str] = SCORES

    version: Literal[1] = 1
    classes: tuple[str, ...]
    tolerance_mm: float
    confidence: float = 0.95
    interval: Literal["studentised"] = "studentised"
    cases: tuple[ClassScore, ...]
    summary: tuple[Summary, ...]
    lesions: tuple[str, ...] = ()
    agreement_ml: dict[str, Agreement] = Field(default_factory=dict)
    agreement_mm2: dict[str, Agreement] = Field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    remarks: tuple[str, ...] = ()
    patients: dict[str, str] = Field(default_factory=dict)
    volumes: Scores | None = None

    @property
    def drawn(self) -> str:
        """What the intervals are over: cases, or patients where some have several."""
        return "patients" if self.patients else "cases"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Keys of METRICS that were measured: areas of 2D images, volumes of all others."""
        return _measured(METRICS, self.cases)

    @property
    def lesion_metrics(self) -> tuple[str, ...]:
        """The same of LESION_METRICS."""
        return _measured(LESION_METRICS, self.cases)

    def of(self, metric: str, class_name: str = MEAN) -> Summary:
        """The summary of a metric: of the mean over the classes, or of one class.

        Raises:
            KeyError: there is no such metric or class.
        """
        for row in self.summary:
            if row.metric == metric and row.class_name == class_name:
                return row
        raise KeyError(f"no summary of {metric} for {class_name}")

    def mean_dice(self) -> dict[str, float | None]:
        """Case -> mean over the classes that it defines, in the cases' order."""
        return {
            case: mean_defined([row.dice for row in scored.values()])
            for case, scored in by_case(self.cases).items()
        }

    def shown_dice(self) -> dict[str, float | None]:
        """The same of the cases that are worth a picture: not 2D images without a label, where there are others."""
        labelled = {row.case for row in self.cases if not row.flat or row.empty in (None, "prediction")}
        dice = self.mean_dice()
        return {case: value for case, value in dice.items() if case in labelled} or dice


def by_case(rows: Sequence[ClassScore]) -> dict[str, dict[str, ClassScore]]:
    """Case -> class -> score, in the rows' order."""
    found: dict[str, dict[str, ClassScore]] = {}
    for row in rows:
        found.setdefault(row.case, {})[row.class_name] = row
    return found


def patient_numbers(cases: Sequence[str], patients: Mapping[str, str]) -> list[int] | None:
    """Of each case the number of its patient; None where no two cases are of one.

    >>> patient_numbers(["a", "b", "c"], {"a": "x", "c": "x"})
    [0, 1, 0]
    """
    names = [(case in patients, patients.get(case, case)) for case in cases]
    number = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return None if len(number) == len(cases) else [number[name] for name in names]


def summarise(
    rows: Sequence[ClassScore],
    labels: LabelSet,
    *,
    tolerance_mm: float,
    failures: Sequence[Failure] = (),
    remarks: Sequence[str] = (),
    volumes: Scores | None = None,
    patients: Mapping[str, str] | None = None,
) -> Scores:
    """Average over the cases: each class by itself, and the mean over the classes.

    That mean is taken in each case over the classes which it defines, and then over the cases, so that every
    case weighs alike. The rows are those of `score_case` with these labels and this tolerance; `patients` are those of
    the cases, where they are known.
    """
    scored = by_case(rows)
    together = shared_patients(scored, patients or {})
    lesions = tuple(
        name
        for name in labels.classes
        if any(row.lesions is not None for row in rows if row.class_name == name)
    )
    own, of_lesions = _measured(METRICS, rows), _measured(LESION_METRICS, rows)
    summary = []
    for name in labels.classes:
        here = [of_case[name] for of_case in scored.values() if name in of_case]
        metrics = own + of_lesions if name in lesions else own
        summary += [
            _summary(name, metric, {row.case: getattr(row, metric) for row in here}, together)
            for metric in metrics
        ]
    for metric in own + of_lesions if lesions else own:
        # Over the classes that have it: those whose lesions are not counted are not undefined.
        of = lesions if metric in LESION_METRICS else labels.classes
        values = {
            case: mean_defined([getattr(row, metric) for name, row in of_case.items() if name in of])
            for case, of_case in scored.items()
        }
        summary.append(_summary(MEAN, metric, values, together))
    return Scores(
        classes=labels.classes,
        tolerance_mm=tolerance_mm,
        cases=tuple(rows),
        summary=tuple(summary),
        lesions=lesions,
        agreement_ml=_agreement(rows, labels, together, flat=False),
        agreement_mm2=_agreement(rows, labels, together, flat=True),
        patients=together,
        failures=tuple(failures),
        remarks=tuple(remarks),
        volumes=volumes,
    )


def shared_patients(cases: Iterable[str], patients: Mapping[str, str]) -> dict[str, str]:
    """Case -> a digest of its patient's name, where the patient has several of the cases."""
    known = {
        case: content_hash(patients[case].encode(errors="surrogatepass"))[:12]
        for case in cases
        if case in patients
    }
    counts = Counter(known.values())
    return {case: patient for case, patient in known.items() if counts[patient] > 1}


def _measured(metrics: Iterable[str], rows: Sequence[ClassScore]) -> tuple[str, ...]:
    """Without what none of the rows can have: volumes of 2D images, areas of volumes."""
    absent = () if any(row.flat for row in rows) else OF_AREAS
    if rows and all(row.flat for row in rows):
        absent = OF_VOLUMES
    return tuple(metric for metric in metrics if metric not in absent)


def sizes_of(rows: Iterable[ClassScore]) -> tuple[list[float], list[float]]:
    """True and predicted volumes (ml) or areas (mm²) of what is in one of the two at least.

    A case where both are 0 would only make them agree.
    """
    pairs = [row.sizes for row in rows if row.empty != "both"]
    known = [(true, found) for true, found in pairs if true is not None and found is not None]
    return [true for true, _ in known], [found for _, found in known]


def _agreement(
    rows: Sequence[ClassScore], labels: LabelSet, patients: Mapping[str, str], *, flat: bool
) -> dict[str, Agreement]:
    """Class -> agreement of the areas, where `flat`, or of the volumes."""
    found = {}
    for name in labels.classes:
        own = [row for row in rows if row.class_name == name and row.flat == flat and sizes_of([row])[0]]
        if own:
            true, predicted = sizes_of(own)
            found[name] = bland_altman(predicted, true, patient_numbers([row.case for row in own], patients))
    return found


def mean_defined(values: Sequence[float | None]) -> float | None:
    """Over what is not None; None where nothing is."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _summary(
    name: str, metric: str, values: Mapping[str, float | None], patients: Mapping[str, str]
) -> Summary:
    """Of the values of each case."""
    known = {case: value for case, value in values.items() if value is not None}
    defined, numbers = [*known.values()], patient_numbers([*known], patients)
    low, high, middle_low, middle_high = None, None, None, None
    # Several scans of one patient say nothing about other patients.
    if defined and numbers != [0] * len(defined):
        low, high = bootstrap_interval(defined, numbers, bounds=ALL_METRICS[metric].bounds)
        middle_low, middle_high = bootstrap_interval(defined, numbers, statistic="median")
    return Summary(
        class_name=name,
        metric=metric,
        mean=mean_defined(defined),
        median=float(np.median(defined)) if defined else None,
        low=low,
        high=high,
        median_low=middle_low,
        median_high=middle_high,
        count=len(defined),
        excluded=len(values) - len(defined),
    )
