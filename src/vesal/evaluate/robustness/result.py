"""The result of a robustness benchmark: robustness.json, its rows as CSV, its table as Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from vesal.data.fingerprint import Failure
from vesal.errors import VesalError
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
from vesal.files import read_json, write_json, write_text
from vesal.text import UNDEFINED

NAME = "robustness"


class Cost(BaseModel):
    """What the benchmark took.

    Attributes:
        seconds: in all, of every sitting where it was resumed.
        predictions: scans that were segmented, corrupted or not.
        memory_mb: the largest resident set of the process; on a GPU what was allocated there. None if unknown.
        backend: what computed the networks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float
    predictions: int
    memory_mb: float | None = None
    backend: str = ""

    @property
    def seconds_each(self) -> float:
        """For one prediction, reading, corrupting and scoring included."""
        return self.seconds / max(1, self.predictions)


class Robustness(BaseModel):
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
        rows: all that was measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    rows: tuple[ArtifactScore, ...]

    @property
    def passed(self) -> bool:
        """Whether every limit was kept."""
        return all(one.passed for one in self.limits)

    def of(self, condition: str, class_name: str = MEAN) -> Condition:
        """One row of the table.

        Raises:
            KeyError: there is no such condition or class.
        """
        for one in self.conditions:
            if (one.condition, one.class_name) == (condition, class_name):
                return one
        raise KeyError(f"no {condition} of {class_name}")

    def verdict(self) -> str:
        """What came of the limits, in one sentence; '' where there are none."""
        if not self.limits:
            return ""
        failed = [one.sentence() for one in self.limits if not one.passed]
        if not failed:
            return (
                f"All {len(self.limits)} limits are kept." if len(self.limits) > 1 else "The limit is kept."
            )
        return f"{len(failed)} of {len(self.limits)} limits failed: {'; '.join(failed)}."

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return self.model_dump(mode="json", by_alias=True)

    def to_csv(self) -> str:
        """One line a case, condition and class; undefined values are empty."""
        names = [field.serialization_alias or name for name, field in ArtifactScore.model_fields.items()]
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.model_dump(by_alias=True) for row in self.rows)
        return text.getvalue()

    def to_markdown(self) -> str:
        """The headline, the limits, the table of degradation, the comparison, the worst cases."""
        return "\n\n".join(_parts(self)) + "\n"

    def to_text(self) -> str:
        """For the console: the first sentences, the drops by artefact and severity, what came of the limits."""
        lines = [summary(self), "", *_columns(_drops(self.conditions))]
        if self.comparison is not None:
            lines += ["", _beside(self.comparison)]
        if self.limits:
            lines += [
                "",
                *(f"{'passed' if one.passed else 'FAILED'}  {one.sentence()}" for one in self.limits),
            ]
        return "\n".join([*lines, *(["", *self.remarks] if self.remarks else [])])

    def save(self, folder: str | Path) -> None:
        """Write robustness.json, .csv and .md into `folder`."""
        folder = Path(folder)
        write_json(folder / f"{NAME}.json", self.to_dict())
        write_text(folder / f"{NAME}.csv", self.to_csv())
        write_text(folder / f"{NAME}.md", self.to_markdown())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read robustness.json, or the one in a folder.

        Raises:
            VesalError: it is absent, damaged, or of another version.
        """
        path = Path(path)
        path = path / f"{NAME}.json" if path.is_dir() else path
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            what = error.errors()[0]
            where = ".".join(str(part) for part in what["loc"])
            raise VesalError(
                f"{path} does not hold a robustness benchmark ({where}: {what['msg']}); make it with vesal robustness."
            ) from error


def conclude(
    rows: Sequence[ArtifactScore],
    classes: Sequence[str],
    *,
    about: dict[str, Any],
    limits: Sequence[Limit] = (),
    baseline: Robustness | None = None,
    seed: int = 0,
) -> Robustness:
    """All that follows from the rows.

    Args:
        rows: of all cases and conditions.
        classes: what was scored.
        about: model, data, settings, cost, failures and remarks of the `Robustness`.
        limits: to judge.
        baseline: to compare with.
        seed: of the bootstrap.
    """
    conditions = degradation_table(rows, classes, seed=seed)
    remarks = list(about.pop("remarks", ()))
    comparison = None
    if baseline is not None:
        comparison = compare_with(rows, baseline.rows, baseline.model)
        if comparison is None:
            remarks.append(
                f"{baseline.model} was measured on other cases or artefacts; there is no comparison."
            )
        elif comparison.cases < len({row.case for row in rows}):
            remarks.append(f"The comparison is over the {comparison.cases} cases that both were measured on.")
        if baseline.settings.get("seed") != about["settings"].get("seed"):
            remarks.append(
                f"{baseline.model} was measured with another seed: its scans were corrupted otherwise."
            )
    return Robustness(
        **about,
        classes=tuple(classes),
        cases=len({row.case for row in rows}),
        headline=headline(rows, seed=seed),
        conditions=conditions,
        comparison=comparison,
        limits=check_limits(limits, conditions),
        worst=worst_cases(rows),
        remarks=tuple(remarks),
        rows=tuple(rows),
    )


# --- Markdown --------------------------------------------------------------------------------------------


def _parts(found: Robustness) -> list[str]:
    parts = ["# Robustness", summary(found)]
    if verdict := found.verdict():
        parts.append(verdict)
    parts += [
        "## Mean over the classes",
        "Means over the cases, in brackets the 95 % interval of the bootstrap over cases. The drop is of the mean "
        "Dice against the same cases' clean Dice, in percent of it.",
        _degradation(found.conditions, MEAN),
    ]
    if found.comparison is not None:
        parts += ["## Beside the baseline", *_comparison(found.comparison)]
    if len(found.classes) > 1:
        for name in found.classes:
            parts += [f"## {name}", _degradation(found.conditions, name)]
    if found.worst:
        lines = [
            [
                worst.case,
                worst.condition,
                f"{worst.clean_dice:.3f}",
                f"{worst.dice:.3f}",
                f"{worst.drop_percent:.1f}",
            ]
            for worst in found.worst
        ]
        head = ["Case", "Condition", "Clean Dice", "Dice", "Drop (%)"]
        parts += ["## Worst case of each artefact", _table(head, lines, words=2)]
    notes = [*found.remarks, *(f"{failure.id}: {failure.message}" for failure in found.failures)]
    if notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in notes)]
    return parts


def summary(found: Robustness) -> str:
    """The first sentences: how much is lost, on how many cases, in what time."""
    clean = next((one for one in found.conditions if one.artifact == CLEAN and one.class_name == MEAN), None)
    dice = UNDEFINED if clean is None or clean.dice.mean is None else f"{clean.dice.mean:.3f}"
    cases = "1 case" if found.cases == 1 else f"{found.cases} cases"
    text = f"{cases}, clean mean Dice {dice}."
    if (top := found.headline) is not None:
        where = "with these settings" if top.severity is None else f"at severity {top.severity}"
        artifacts = "1 artefact" if top.artifacts == 1 else f"{top.artifacts} artefacts"
        drop = estimate(top.drop_percent, 1)
        text += f" The mean relative drop of Dice over {artifacts} {where}: {drop} %."
    cost = found.cost
    memory = "" if cost.memory_mb is None else f", {cost.memory_mb / 1024:.1f} GiB of memory at most"
    return f"{text} {cost.predictions} predictions in {cost.seconds:.0f} s ({cost.seconds_each:.2f} s each){memory}."


def _degradation(conditions: Sequence[Condition], name: str) -> str:
    lines = [
        [
            one.condition,
            estimate(one.dice, 3),
            "" if one.artifact == CLEAN else estimate(one.drop_percent, 1),
            estimate(one.hd95_mm, 2),
            estimate(one.boundary_dice, 3),
            str(one.count),
        ]
        for one in conditions
        if one.class_name == name
    ]
    return _table(["Condition", "Dice", "Drop (%)", "HD95 (mm)", "Boundary Dice", "Cases"], lines)


def _drops(levels: Sequence[Condition]) -> list[list[str]]:
    """A row an artefact, a column a severity: the relative drop in percent; own settings are rows by themselves."""
    corrupted = [one for one in levels if one.artifact != CLEAN and one.class_name == MEAN]
    severities = sorted({one.severity for one in corrupted if one.severity is not None})
    rows: dict[str, dict[int | None, str]] = {}
    for one in corrupted:
        name = one.artifact if one.severity is not None else one.condition
        rows.setdefault(name, {})[one.severity] = _number(one.drop_percent.mean)
    columns: list[int | None] = [*severities, *([None] if any(None in row for row in rows.values()) else [])]
    titles = ["own" if level is None else str(level) for level in columns]
    return [
        ["Drop of Dice in % at severity", *titles],
        *([name, *(row.get(level, "") for level in columns)] for name, row in rows.items()),
    ]


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _beside(found: BaselineComparison) -> str:
    return (
        f"Against {found.baseline} on {found.cases} cases: mean corruption error {_number(found.mce)} %, relative "
        f"{_number(found.relative_mce)} % (100 is the baseline, less is better); clean Dice {found.clean_dice:.3f} "
        f"and {found.baseline_clean_dice:.3f}."
    )


def _comparison(found: BaselineComparison) -> list[str]:
    lines = [[one.artifact, _number(one.error), _number(one.relative)] for one in found.artifacts]
    return [_beside(found), _table(["Artefact", "CE (%)", "Relative CE (%)"], lines)]


def estimate(value: Estimate, decimals: int) -> str:
    """The mean with its interval in brackets; a dash for what is undefined.

    >>> estimate(Estimate(mean=0.5, low=0.4, high=0.61), 2), estimate(Estimate(), 2)
    ('0.50 [0.40, 0.61]', '–')
    """
    if value.mean is None:
        return UNDEFINED
    mean, low, high = (_number(number, decimals) for number in (value.mean, value.low, value.high))
    return f"{mean} [{low}, {high}]"


def _number(value: float | None, decimals: int = 1) -> str:
    # The sum makes -0.0 a 0.0.
    return UNDEFINED if value is None else f"{round(value, decimals) + 0.0:.{decimals}f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """A Markdown table; the first `words` columns to the left, numbers to the right."""
    cells = [[text.replace("|", "\\|") for text in row] for row in (header, *rows)]
    rule = [":--" if column < words else "--:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (cells[0], rule, *cells[1:]))
