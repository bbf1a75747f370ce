"""What artefacts cost a segmenter: rows of cases, clean and corrupted, become a table of degradation.

A condition is one artefact at one severity, or with a user's own setting, or the scan as it is ('clean'). Every
corrupted scan is compared with the same scan clean, so that hard cases do not look like hard artefacts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vesal.data.labels import MEAN
from vesal.evaluate.case_scores import ALL_METRICS, ClassScore
from vesal.evaluate.scores import mean_defined, patient_numbers
from vesal.metrics.statistics import bootstrap_interval
from vesal.record import Record

if TYPE_CHECKING:
    from vesal.augment.artifacts.benchmark import Artifact

#: The condition, and the artefact, of a scan that nothing was done to.
CLEAN = "clean"

#: The severity that the headline is about, in the middle of 1 to 5.
HEADLINE = 3

#: What is kept of a `ClassScore` and averaged over the cases.
_METRICS = ("dice", "hd95_mm", "boundary_dice")

#: A drop has no lower end.
_DROP_BOUNDS = (-np.inf, 100.0)

#: A sum of errors below this is none, and nothing is divided by it.
_NOTHING = 1e-9


class ArtifactScore(Record):
    """One class of one case in one condition. None is undefined, as in `ClassScore`.

    Attributes:
        case: the case's id.
        artifact: its name, or CLEAN.
        severity: 1 to 5; None for a user's own setting and for the clean scan.
        condition: such as 'motion 3' or 'noise=0.03'; CLEAN for the clean scan.
        class_name: 'class' in files.
        dice, boundary_dice: in [0, 1].
        hd95_mm: 95th percentile Hausdorff distance.
        clean_dice: of the clean scan's prediction on the voxels that this condition judges. Under a cropped field
            of view these are not all; else it is the clean scan's Dice.
    """

    case: str
    artifact: str = CLEAN
    severity: int | None = None
    condition: str = CLEAN
    class_name: str = Field(validation_alias="class", serialization_alias="class")
    dice: float | None
    hd95_mm: float | None
    boundary_dice: float | None
    clean_dice: float | None

    @classmethod
    def of(cls, score: ClassScore, clean: ClassScore, artifact: Artifact | None = None) -> ArtifactScore:
        """What the benchmark keeps of a score, and of the clean scan's on the same voxels."""
        kept = {name: getattr(score, name) for name in ("case", "class_name", *_METRICS)}
        if artifact is not None:
            kept |= {"artifact": artifact.name, "severity": artifact.severity, "condition": artifact.title}
        return cls(**kept, clean_dice=clean.dice)


class Estimate(Record):
    """A mean over cases with its 95 % bootstrap interval, over patients where some have several; None where no case
    defines it, and the interval also where all are of one patient.
    """

    mean: float | None = None
    low: float | None = None
    high: float | None = None


class Condition(Record):
    """One class, or the mean over the classes, in one condition, over all cases.

    Attributes:
        artifact, severity, condition: as in `ArtifactScore`.
        class_name: 'class' in files; MEAN is, for each case, the mean over its defined classes.
        count: cases that define the Dice.
        dice, hd95_mm, boundary_dice: means over the cases.
        drop_percent: of the Dice against the same cases' clean Dice, in percent of that; below 0 is a gain. It is
            100 * sum(clean - corrupted) / sum(clean) over the cases that define both.
    """

    artifact: str
    severity: int | None
    condition: str
    class_name: str = Field(validation_alias="class", serialization_alias="class")
    count: int
    dice: Estimate
    hd95_mm: Estimate
    boundary_dice: Estimate
    drop_percent: Estimate


class Headline(Record):
    """The mean relative drop of Dice over all artefacts at one severity.

    Attributes:
        severity: HEADLINE, or the tested one nearest to it; None where only own settings were tested.
        artifacts: how many the mean is over.
        drop_percent: its interval draws cases, or patients where some have several.
    """

    severity: int | None
    artifacts: int
    drop_percent: Estimate


class CorruptionError(Record):
    """Errors beside a baseline's, in percent: below 100 is better (Hendrycks and Dietterich, ICLR 2019).

    Attributes:
        artifact: CE and relative CE are of one artefact, over its severities.
        error: 100 * sum over severities of the mean 1 - Dice / the baseline's; None where that has none.
        relative: the same of what is lost against the clean scans; None where the baseline loses nothing.
    """

    artifact: str
    error: float | None
    relative: float | None


class BaselineComparison(Record):
    """Beside a baseline: mean corruption error (mCE) and relative mCE, the means over the artefacts.

    Attributes:
        baseline: what it is called.
        cases: that both were measured on; all else is left out.
        clean_dice, baseline_clean_dice: means over these cases.
        mce, relative_mce: in percent.
        artifacts: each by itself.
    """

    baseline: str
    cases: int
    clean_dice: float
    baseline_clean_dice: float
    mce: float | None
    relative_mce: float | None
    artifacts: tuple[CorruptionError, ...]


class WorstCase(Record):
    """A case in the condition that corrupted it most, by the mean Dice over its classes."""

    case: str
    artifact: str
    severity: int | None
    condition: str
    clean_dice: float
    dice: float
    drop_percent: float


@dataclass(frozen=True, eq=False)
class _ConditionScores:
    """Scores of one condition by case: of each class, and the mean over the defined classes."""

    artifact: str
    severity: int | None
    condition: str
    by_class: Mapping[str, Mapping[str, ArtifactScore]]

    def values(self, metric: str, class_name: str) -> dict[str, float]:
        """Case -> value, of the cases that define it."""
        if class_name != MEAN:
            found = {case: getattr(row, metric) for case, row in self.by_class.get(class_name, {}).items()}
            return {case: value for case, value in found.items() if value is not None}
        every: dict[str, list[float]] = {}
        for rows in self.by_class.values():
            for case, row in rows.items():
                if (value := getattr(row, metric)) is not None:
                    every.setdefault(case, []).append(value)
        return {case: float(np.mean(values)) for case, values in every.items()}

    def drops(self, class_name: str) -> dict[str, float]:
        """Case -> its part in the relative drop (percent): their mean is 100 * sum(clean - corrupted) / sum(clean).

        A mean of each case's own ratio would hang on the cases whose clean Dice is near 0. This is the ratio of
        the means, linearised about itself (Cochran, Sampling Techniques, 1977, chapter 6), so that the interval
        of a mean is an interval of the ratio.
        """
        clean, corrupted = self.values("clean_dice", class_name), self.values("dice", class_name)
        cases = [case for case in clean if case in corrupted]
        before: NDArray[np.float64] = np.array([clean[case] for case in cases], dtype=np.float64)
        lost = before - np.array([corrupted[case] for case in cases], dtype=np.float64)
        if before.sum() <= _NOTHING:
            return {}
        ratio = lost.sum() / before.sum()
        parts = 100 * (ratio + (lost - ratio * before) / before.mean())
        return dict(zip(cases, parts.tolist(), strict=True))


def degradation_table(
    rows: Sequence[ArtifactScore], classes: Sequence[str], patients: Mapping[str, str] | None = None
) -> tuple[Condition, ...]:
    """Every condition in the order of the rows, CLEAN first: of each class, then of their mean.

    Intervals draw patients whole: case -> patient, of those with several cases.
    """
    table, together = [], patients or {}
    for one in _conditions(rows):
        for name in (*classes, MEAN):
            values = {metric: one.values(metric, name) for metric in _METRICS}
            means = {
                key: _estimate(found, ALL_METRICS[key].bounds, together) for key, found in values.items()
            }
            table.append(
                Condition(
                    artifact=one.artifact,
                    severity=one.severity,
                    condition=one.condition,
                    class_name=name,
                    count=len(values["dice"]),
                    **means,
                    drop_percent=_estimate(one.drops(name), _DROP_BOUNDS, together),
                )
            )
    return tuple(table)


def corrupted_means(conditions: Sequence[Condition]) -> list[Condition]:
    """The means over the classes, without those of the clean scans."""
    return [one for one in conditions if one.class_name == MEAN and one.artifact != CLEAN]


def headline(rows: Sequence[ArtifactScore], patients: Mapping[str, str] | None = None) -> Headline | None:
    """The mean over the artefacts of their relative drop at HEADLINE; None where no artefact was tested.

    The interval is of the mean over cases: a case that loses under everything counts in every artefact. `patients` as
    in `degradation_table`.
    """
    corrupted = [one for one in _conditions(rows) if one.artifact != CLEAN]
    tested = sorted({one.severity for one in corrupted if one.severity is not None})
    severity = min(tested, key=lambda one: (abs(one - HEADLINE), one)) if tested else None
    chosen = [drops for one in corrupted if one.severity == severity and (drops := one.drops(MEAN))]
    if not chosen:
        return None
    # A case lacks an artefact where that failed on it; it counts in the others.
    cases = dict.fromkeys(case for drops in chosen for case in drops)
    per_case = [float(np.mean([drops[case] for drops in chosen if case in drops])) for case in cases]
    mean = float(np.mean([np.mean(list(drops.values())) for drops in chosen]))
    low, high = _interval(dict(zip(cases, per_case, strict=True)), _DROP_BOUNDS, patients or {})
    return Headline(
        severity=severity, artifacts=len(chosen), drop_percent=Estimate(mean=mean, low=low, high=high)
    )


def compare_with(
    rows: Sequence[ArtifactScore], baseline: Sequence[ArtifactScore], name: str
) -> BaselineComparison | None:
    """Corruption errors beside a baseline, on the cases and conditions that both have; None where they share none."""
    ours, theirs = ({one.condition: one for one in _conditions(side)} for side in (rows, baseline))
    shared = [key for key in ours if key in theirs]
    if CLEAN not in shared or len(shared) < 2:
        return None
    mean_dice = {key: [side[key].values("dice", MEAN) for side in (ours, theirs)] for key in shared}
    cases = set.intersection(*(set(side) for pair in mean_dice.values() for side in pair))
    if not cases:
        return None
    errors = {
        key: tuple(float(np.mean([1 - side[case] for case in sorted(cases)])) for side in pair)
        for key, pair in mean_dice.items()
    }
    clean = errors.pop(CLEAN)
    by_artifact: dict[str, list[tuple[float, ...]]] = {}
    for key, pair in errors.items():
        by_artifact.setdefault(ours[key].artifact, []).append(pair)
    found = [_corruption_error(artifact, pairs, clean) for artifact, pairs in by_artifact.items()]
    return BaselineComparison(
        baseline=name,
        cases=len(cases),
        clean_dice=1 - clean[0],
        baseline_clean_dice=1 - clean[1],
        mce=mean_defined([one.error for one in found]),
        relative_mce=mean_defined([one.relative for one in found]),
        artifacts=tuple(found),
    )


def worst_cases(rows: Sequence[ArtifactScore], most: int = 10) -> tuple[WorstCase, ...]:
    """The cases that lost most, each artefact once: what the pictures show should not be one scan ten times."""
    found: list[WorstCase] = []
    for one in _conditions(rows):
        clean = one.values("clean_dice", MEAN)
        for case, dice in one.values("dice", MEAN).items():
            if one.artifact != CLEAN and clean.get(case, 0.0) > _NOTHING:
                drop = 100 * (clean[case] - dice) / clean[case]
                found.append(
                    WorstCase(
                        case=case, artifact=one.artifact, severity=one.severity, condition=one.condition,
                        clean_dice=clean[case], dice=dice, drop_percent=drop,
                    )
                )  # fmt: skip
    found.sort(key=lambda worst: (-worst.drop_percent, worst.condition, worst.case))
    each: dict[str, WorstCase] = {}
    for worst in found:
        each.setdefault(worst.artifact, worst)
    return tuple(each.values())[:most]


# --- the arithmetic --------------------------------------------------------------------------------------


def _conditions(rows: Sequence[ArtifactScore]) -> list[_ConditionScores]:
    """CLEAN first, then as they come."""
    named: dict[str, tuple[ArtifactScore, dict[str, dict[str, ArtifactScore]]]] = {}
    for row in rows:
        _first, by_class = named.setdefault(row.condition, (row, {}))
        by_class.setdefault(row.class_name, {})[row.case] = row
    found = [_ConditionScores(row.artifact, row.severity, name, by) for name, (row, by) in named.items()]
    return sorted(found, key=lambda one: one.artifact != CLEAN)


def _estimate(
    by_case: Mapping[str, float], bounds: tuple[float, float], patients: Mapping[str, str]
) -> Estimate:
    values = list(by_case.values())
    if not values:
        return Estimate()
    low, high = _interval(by_case, bounds, patients)
    return Estimate(mean=float(np.mean(values)), low=low, high=high)


def _interval(
    by_case: Mapping[str, float], bounds: tuple[float, float], patients: Mapping[str, str]
) -> tuple[float, float] | tuple[None, None]:
    """Of the mean; none of one case, nor of one patient's, which say nothing about others."""
    numbers = patient_numbers([*by_case], patients)
    if len(by_case) == 1 or numbers == [0] * len(by_case):
        return None, None
    return bootstrap_interval(list(by_case.values()), numbers, bounds=bounds)


def _corruption_error(
    artifact: str, pairs: Sequence[tuple[float, ...]], clean: tuple[float, ...]
) -> CorruptionError:
    ours, theirs = (sum(pair[side] for pair in pairs) for side in (0, 1))
    lost, base_lost = ours - len(pairs) * clean[0], theirs - len(pairs) * clean[1]
    return CorruptionError(
        artifact=artifact,
        error=100 * ours / theirs if theirs > _NOTHING else None,
        # A baseline that loses less than a thousandth of Dice a severity gives a ratio of noise.
        relative=100 * lost / base_lost if base_lost >= 1e-3 * len(pairs) else None,
    )
