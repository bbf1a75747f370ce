"""What became of the defects of a data set that was fixed: as plain values, as text, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vesal.audit.apply_fixes import FixRecord
from vesal.audit.finding import Finding
from vesal.table import Table
from vesal.text import plural

_COLUMNS = ["case", "kind", "what was wrong", "what was done"]
_TITLES = {"fixed": "Fixed", "left out": "Left out", "kept": "Kept as it is"}


def changes_summary(
    folder: Path, cases: int, changes: Sequence[FixRecord], remaining: Sequence[Finding]
) -> dict[str, Any]:
    """All changes and the findings that remain, as plain values, for JSON."""
    left_out = {change.case for change in changes if change.outcome == "left out"}
    fixed = {change.case for change in changes if change.outcome == "fixed"} - left_out
    return {
        "folder": str(folder),
        "counts": {
            "cases": cases,
            "fixed": len(fixed),
            "left_out": len(left_out),
            "unchanged": cases - len(fixed),
            "look": len({change.case for change in changes if change.look} - left_out),
        },
        "changes": [change.model_dump(mode="json") for change in changes],
        "remaining": [finding.model_dump(mode="json") for finding in remaining],
    }


def changes_text(summary: dict[str, Any]) -> str:
    """A `changes_summary` for the console: one line a defect, then what remains and how many cases are where."""
    lines = []
    for change in summary["changes"]:
        case, _, wrong, done = _cells(change)
        lines.append(f"{change['outcome'].upper()}: {case}: {wrong} {done}")
    remaining = summary["remaining"]
    lines += [
        "",
        "What the fixed copy still has:" if remaining else "The fixed copy has nothing wrong.",
        *(f"{finding['severity'].upper()}: {finding['message']}" for finding in remaining),
        "",
        counts_sentence(summary),
    ]
    return "\n".join(lines)


def counts_sentence(summary: dict[str, Any]) -> str:
    """How many cases are where, in a sentence."""
    counts = summary["counts"]
    look = f" (look at {counts['look']} of them)" if counts["look"] else ""
    return (
        f"{plural(counts['cases'], 'case')} in {summary['folder']}: {counts['fixed']} fixed{look}, "
        f"{counts['unchanged']} as they were; {counts['left_out']} left out. Every change is in changes.json."
    )


def changes_markdown(name: str, summary: dict[str, Any]) -> str:
    """The `changes_summary` of a data set: a table for each outcome, and what remains."""
    lines = [f"# {name}: what was fixed", "", counts_sentence(summary), ""]
    for outcome, title in _TITLES.items():
        rows = [
            [*_cells(change), ", ".join(change["files"])]
            for change in summary["changes"]
            if change["outcome"] == outcome
        ]
        if rows:
            lines += [f"## {title}", "", Table.of([*_COLUMNS, "files"], rows).markdown(), ""]
    lines += ["## What remains", ""]
    lines += [
        f"- {finding['severity']}: {finding['message']} {finding['fix']}" for finding in summary["remaining"]
    ]
    if not summary["remaining"]:
        lines.append("Nothing was found wrong with the fixed copy.")
    return "\n".join(lines) + "\n"


def change_table(summary: dict[str, Any]) -> Table:
    """Every change, for a page."""
    rows = [[change["outcome"], *_cells(change)] for change in summary["changes"]]
    return Table.of(["outcome", *_COLUMNS], rows)


def _cells(change: dict[str, Any]) -> list[str]:
    wrong, done = (f"{change[key][:1].upper()}{change[key][1:]}." for key in ("wrong", "done"))
    return [change["case"] or "all", change["kind"], wrong, f"{done} Look at it." if change["look"] else done]
