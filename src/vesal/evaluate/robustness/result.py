"""The result of a robustness benchmark, as it lies in robustness.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from vesal.data.fingerprint import Failure
from vesal.evaluate.robustness.degradation import (
    CLEAN,
    MEAN,
    ArtifactScore,
    BaselineComparison,
    Condition,
    Estimate,
    Headline,
    WorstCase,
    compare_with,
    degradation_table,
    headline,
    worst_cases,
)
from vesal.evaluate.robustness.limits import Limit, LimitResult, check_limits
from vesal.record import Record

NAME = "robustness"


class Cost(Record):
    """What the benchmark took.

    Attributes:
        seconds: in all, of every sitting where it was resumed.
        predictions: scans that were segmented, corrupted or not.
        memory_mb: the largest resident set of a process; on a GPU what was allocated there. None if unknown.
        processes: that shared the cases, at most.
        backend: what computed the networks.
    """

    seconds: float
    predictions: int
    memory_mb: float | None = None
    processes: int = 1
    backend: str = ""

    @property
    def seconds_each(self) -> float:
        """For one prediction, reading, corrupting and scoring included."""
        return self.seconds / max(1, self.predictions)


class Robustness(Record):
    """What the artefacts cost a model.

    Attributes:
        version: of this format.
        model, data: what was measured, and on what.
        settings: how: severities, seed, mirroring, folds and the like.
        classes: what was scored.
        cases: how many.
        headline: mean relative drop at one severity; None where nothing could be measured.
        conditions: the table of degradation, CLEAN first.
        comparison: beside a baseline, if one was named.
        limits: each with what was measured.
        worst: the cases that lost most, each artefact once.
        cost: time and memory.
        failures: cases, or conditions of a case, that could not be measured; they are in no mean.
        remarks: what else is to be known, one sentence each.
        weights: digests of the models' that were measured; empty where they are not known.
        patients: as of `vesal.evaluate.scores.Scores`: intervals draw these whole.
        rows: all that was measured.
    """

    described: ClassVar[tuple[str, str]] = ("a robustness benchmark", "make it with vesal robustness")
    file_name: ClassVar[str] = f"{NAME}.json"

    version: Literal[1] = 1
    model: str
    data: str
    settings: dict[str, Any]
    classes: tuple[str, ...]
    cases: int
    headline: Headline | None
    conditions: tuple[Condition, ...]
    comparison: BaselineComparison | None = None
    limits: tuple[LimitResult, ...] = ()
    worst: tuple[WorstCase, ...] = ()
    cost: Cost
    failures: tuple[Failure, ...] = ()
    remarks: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    patients: dict[str, str] = Field(default_factory=dict)
    rows: tuple[ArtifactScore, ...]

    @property
    def passed(self) -> bool:
        """Whether every limit was kept."""
        return all(one.passed for one in self.limits)

    @property
    def clean_dice(self) -> Estimate:
        """Of the clean scans, the mean over the classes."""
        means = [one.dice for one in self.conditions if one.artifact == CLEAN and one.class_name == MEAN]
        return means[0] if means else Estimate()


def conclude(
    rows: Sequence[ArtifactScore],
    classes: Sequence[str],
    *,
    about: dict[str, Any],
    limits: Sequence[Limit] = (),
    baseline: Robustness | None = None,
) -> Robustness:
    """All that follows from the rows; `about` holds the other fields: model, data, settings, cost, failures ..."""
    patients = about.get("patients", {})
    conditions = degradation_table(rows, classes, patients)
    remarks = list(about.pop("remarks", ()))
    comparison = None
    if baseline is not None:
        if set(baseline.classes) == set(classes):
            comparison = compare_with(rows, baseline.rows, baseline.model)
        if comparison is None:
            remarks.append(
                f"{baseline.model} was measured on other cases, classes or artefacts; there is no comparison."
            )
        elif comparison.cases < len({row.case for row in rows}):
            remarks.append(f"The comparison is over the {comparison.cases} cases that both were measured on.")
        if comparison is not None and baseline.data != about["data"]:
            remarks.append(
                f"{baseline.model} was measured on the scans in {baseline.data}; cases are paired by their names."
            )
        if baseline.settings.get("seed") != about["settings"].get("seed"):
            remarks.append(
                f"{baseline.model} was measured with another seed: its scans were corrupted otherwise."
            )
    return Robustness(
        **about,
        classes=tuple(classes),
        cases=len({row.case for row in rows}),
        headline=headline(rows, patients),
        conditions=conditions,
        comparison=comparison,
        limits=check_limits(limits, conditions),
        worst=worst_cases(rows),
        remarks=tuple(remarks),
        rows=tuple(rows),
    )
