"""A robustness benchmark in words and tables: its files, its lines on the console, and the tables of its page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vesal.data.labels import MEAN
from vesal.evaluate.robustness.degradation import (
    CLEAN,
    ArtifactScore,
    BaselineComparison,
    Condition,
    Estimate,
    corrupted_means,
)
from vesal.evaluate.robustness.result import NAME, Robustness
from vesal.evaluate.tables import record_table
from vesal.files import write_json, write_text
from vesal.table import Cell, Table
from vesal.text import bullets, number, plural, with_interval


def save_robustness(folder: str | Path, found: Robustness) -> None:
    """Write robustness.json, .csv and .md into `folder`."""
    folder = Path(folder)
    write_json(folder / f"{NAME}.json", found.to_dict())
    write_text(folder / f"{NAME}.csv", record_table(ArtifactScore, found.rows).csv())
    write_text(folder / f"{NAME}.md", robustness_markdown(found))


def robustness_markdown(found: Robustness) -> str:
    """The headline, the limits, the table of degradation, the comparison, the worst cases."""
    parts = ["# Robustness", summary(found)]
    if found.limits:
        parts.append(limits_sentence(found))
    parts += [
        "## Mean over the classes",
        "Means over the cases, in brackets the 95 % interval of the bootstrap over "
        f"{'patients' if found.patients else 'cases'}. The drop is of the mean Dice against the same cases' clean "
        "Dice, in percent of it.",
        condition_table(found.conditions, MEAN).markdown(),
    ]
    if found.comparison is not None:
        table = comparison_table(found.comparison).markdown()
        parts += ["## Compared with the baseline", _comparison(found.comparison), table]
    if len(found.classes) > 1:
        for name in found.classes:
            parts += [f"## {name}", condition_table(found.conditions, name).markdown()]
    if found.worst:
        parts += ["## Worst case of each artefact", worst_table(found).markdown()]
    if notes := [*found.remarks, *(f"{failure.id}: {failure.message}" for failure in found.failures)]:
        parts += ["## Notes", bullets(notes)]
    return "\n\n".join(parts) + "\n"


def robustness_text(found: Robustness) -> str:
    """For the console: the first sentences, the drops by artefact and severity, what came of the limits."""
    severities, rows = drops_by_severity(found.conditions)
    table = Table(
        ["Drop of Dice in % at severity", *("own" if one is None else str(one) for one in severities)],
        [[Cell(name), *(_drop(row.get(one)) for one in severities)] for name, row in rows.items()],
    )
    parts = [summary(found), table.plain()]
    if found.comparison is not None:
        parts.append(_comparison(found.comparison))
    if found.limits:
        lines = (f"{'passed' if one.passed else 'FAILED'}  {one.sentence()}" for one in found.limits)
        parts.append("\n".join(lines))
    if found.remarks:
        parts.append("\n".join(found.remarks))
    return "\n\n".join(parts)


def summary(found: Robustness) -> str:
    """The first sentences: how much is lost, on how many cases, in what time."""
    text = f"{plural(found.cases, 'case')}, clean mean Dice {number(found.clean_dice.mean)}."
    text = " ".join(filter(None, [text, headline_sentence(found)]))
    cost = found.cost
    memory = "" if cost.memory_mb is None else f", {cost.memory_mb / 1024:.1f} GiB of memory at most"
    if memory and cost.processes > 1:
        memory += f" in each of {cost.processes} processes"
    return f"{text} {cost.predictions} predictions in {cost.seconds:.0f} s ({cost.seconds_each:.2f} s each){memory}."


def headline_sentence(found: Robustness) -> str:
    """The mean drop over the artefacts; '' where nothing could be compared."""
    if (top := found.headline) is None:
        return ""
    where = "with these settings" if top.severity is None else f"at severity {top.severity}"
    drop = with_interval(top.drop_percent.mean, top.drop_percent.low, top.drop_percent.high, 1)
    return f"The mean relative drop of Dice over {plural(top.artifacts, 'artefact')} {where}: {drop} %."


def limits_sentence(found: Robustness) -> str:
    """What came of the limits; '' where there are none."""
    failed = [one.sentence() for one in found.limits if not one.passed]
    if failed:
        return f"{len(failed)} of {len(found.limits)} limits failed: {'; '.join(failed)}."
    if len(found.limits) > 1:
        return f"All {len(found.limits)} limits are kept."
    return "The limit is kept." if found.limits else ""


def _comparison(found: BaselineComparison) -> str:
    return (
        f"Against {found.baseline} on {found.cases} cases: mean corruption error {number(found.mce, 1)} %, relative "
        f"{number(found.relative_mce, 1)} % (100 is the baseline, less is better); clean Dice "
        f"{number(found.clean_dice)} and {number(found.baseline_clean_dice)}."
    )


# --- tables ----------------------------------------------------------------------------------------------


def condition_table(conditions: Sequence[Condition], class_name: str | None = None) -> Table:
    """A row a condition of one class, or of all classes where none is named."""
    of_class = [] if class_name is not None else ["Class"]
    rows = []
    for one in conditions:
        if class_name in (None, one.class_name):
            name = "mean of the classes" if one.class_name == MEAN else one.class_name
            drop = Cell(text="") if one.artifact == CLEAN else _cell(one.drop_percent, 1)
            means = (_cell(one.dice, 3), drop, _cell(one.hd95_mm, 2), _cell(one.boundary_dice, 3))
            rows.append((one.condition, *(name for _ in of_class), *means, one.count))
    columns = ["Condition", *of_class, "Dice", "Drop (%)", "HD95 (mm)", "Boundary Dice", "Cases"]
    return Table.of(columns, rows)


def worst_table(found: Robustness) -> Table:
    """A row an artefact."""
    rows = [
        (one.case, one.condition, one.clean_dice, one.dice, Cell(one.drop_percent, decimals=1))
        for one in found.worst
    ]
    return Table.of(["Case", "Condition", "Clean Dice", "Dice", "Drop (%)"], rows)


def comparison_table(found: BaselineComparison) -> Table:
    """A row an artefact, and their mean."""
    errors = [(one.artifact, one.error, one.relative) for one in found.artifacts]
    errors.append(("mean", found.mce, found.relative_mce))
    rows = [
        [Cell(name), Cell(error, decimals=1), Cell(relative, decimals=1)] for name, error, relative in errors
    ]
    return Table(["Artefact", "CE (%)", "Relative CE (%)"], rows, totals=1)


def drops_by_severity(
    conditions: Sequence[Condition],
) -> tuple[list[int | None], dict[str, dict[int | None, Condition]]]:
    """Severities (None: settings of one's own), and a row an artefact; own settings are rows by themselves."""
    corrupted = corrupted_means(conditions)
    severities: list[int | None] = [*sorted({one.severity for one in corrupted if one.severity is not None})]
    if any(one.severity is None for one in corrupted):
        severities.append(None)
    rows: dict[str, dict[int | None, Condition]] = {}
    for one in corrupted:
        rows.setdefault(one.artifact if one.severity is not None else one.condition, {})[one.severity] = one
    return severities, rows


def _drop(condition: Condition | None) -> Cell:
    return Cell(text="") if condition is None else Cell(condition.drop_percent.mean, decimals=1)


def _cell(value: Estimate, decimals: int) -> Cell:
    return Cell(value.mean, value.low, value.high, decimals=decimals)
