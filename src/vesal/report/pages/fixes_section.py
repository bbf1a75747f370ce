"""What became of the faults of a data set that was fixed: as plain values, as text, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vesal.audit.apply_fixes import Change
from vesal.audit.checks import Finding
from vesal.text import plural

_TITLES = {"fixed": "Fixed", "left out": "Left out", "kept": "Kept as it is"}


def changes_summary(
    folder: Path, cases: int, changes: Sequence[Change], remaining: Sequence[Finding]
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
    """For the console: one line a fault, then what remains and how many cases are where.

    Args:
        summary: of `changes_summary`.
    """
    lines = [
        f"{change['outcome'].upper()}: {_case(change)}{_wrong(change)} {_sentence(change)}"
        for change in summary["changes"]
    ]
    remaining = summary["remaining"]
    lines += [
        "",
        "What the fixed copy still has:" if remaining else "The fixed copy has nothing wrong.",
        *(f"{finding['severity'].upper()}: {finding['message']}" for finding in remaining),
        "",
        said(summary),
    ]
    return "\n".join(lines)


def said(summary: dict[str, Any]) -> str:
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
    lines = [f"# {name}: what was fixed", "", said(summary), ""]
    for outcome, title in _TITLES.items():
        rows = [change for change in summary["changes"] if change["outcome"] == outcome]
        if not rows:
            continue
        lines += [
            f"## {title}",
            "",
            "| case | kind | what was wrong | what was done | files |",
            "|---|---|---|---|---|",
        ]
        for change in rows:
            cells = (
                change["case"] or "(all)",
                change["kind"],
                _wrong(change),
                _sentence(change),
                ", ".join(change["files"]),
            )
            lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
        lines.append("")
    lines += ["## What remains", ""]
    lines += [
        f"- {finding['severity']}: {finding['message']} {finding['fix']}" for finding in summary["remaining"]
    ]
    if not summary["remaining"]:
        lines.append("Nothing was found wrong with the fixed copy.")
    return "\n".join(lines) + "\n"


def change_rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """For a page: outcome, case, kind, what was wrong and what was done."""
    return [
        {
            "outcome": change["outcome"],
            "case": change["case"] or "all",
            "kind": change["kind"],
            "wrong": _wrong(change),
            "done": _sentence(change),
        }
        for change in summary["changes"]
    ]


def _case(change: dict[str, Any]) -> str:
    return f"{change['case']}: " if change["case"] else ""


def _wrong(change: dict[str, Any]) -> str:
    text = str(change["wrong"])
    return f"{text[:1].upper()}{text[1:]}."


def _sentence(change: dict[str, Any]) -> str:
    text = str(change["done"])
    look = " Look at it." if change["look"] else ""
    return f"{text[:1].upper()}{text[1:]}.{look}"
