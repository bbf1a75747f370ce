"""What became of the defects of a data set that was fixed: as plain values, as text, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vesal.audit.apply_fixes import FixRecord
from vesal.audit.finding import Finding
from vesal.table import Table
from vesal.text import plural

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
    """For the console: one line a defect, then what remains and how many cases are where.

    Args:
        summary: of `changes_summary`.
    """
    lines = [
        f"{change['outcome'].upper()}: {change['case'] or 'all'}: {_wrong(change)} {_done(change)}"
        for change in summary["changes"]
    ]
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
    """A table for each outcome, and what remains.

    Args:
        name: of the data set.
        summary: of `changes_summary`.
    """
    lines = [f"# {name}: what was fixed", "", counts_sentence(summary), ""]
    for outcome, title in _TITLES.items():
        rows = [
            [
                change["case"] or "(all)",
                change["kind"],
                _wrong(change),
                _done(change),
                ", ".join(change["files"]),
            ]
            for change in summary["changes"]
            if change["outcome"] == outcome
        ]
        if rows:
            columns = ["case", "kind", "what was wrong", "what was done", "files"]
            lines += [f"## {title}", "", Table.of(columns, rows).markdown(), ""]
    lines += ["## What remains", ""]
    lines += [
        f"- {finding['severity']}: {finding['message']} {finding['fix']}" for finding in summary["remaining"]
    ]
    if not summary["remaining"]:
        lines.append("Nothing was found wrong with the fixed copy.")
    return "\n".join(lines) + "\n"


def change_table(summary: dict[str, Any]) -> Table:
    """Every change, for a page."""
    return Table.of(
        ["outcome", "case", "kind", "what was wrong", "what was done"],
        [
            [change["outcome"], change["case"] or "all", change["kind"], _wrong(change), _done(change)]
            for change in summary["changes"]
        ],
    )


def _wrong(change: dict[str, Any]) -> str:
    return f"{_capital(change['wrong'])}."


def _done(change: dict[str, Any]) -> str:
    return f"{_capital(change['done'])}.{' Look at it.' if change['look'] else ''}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
