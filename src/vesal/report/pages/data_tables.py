"""An inspection as plain text, for the console."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vesal.text import listed, plural, significant, times

#: Cases that are listed one by one; inspect.json has all.
_MOST_CASES = 60


def inspection_text(summary: dict[str, Any]) -> str:
    """Findings first, then shapes, spacings, volumes a class and a case.

    Args:
        summary: of `vesal.report.pages.inspect_page.inspection_summary`.
    """
    unit = summary["unit"]
    shown_unit = "mm²" if unit == "mm2" else unit
    counts = summary["counts"]
    lines = [
        f"{summary['name']}: {plural(counts['images'], 'image')}, {plural(counts['labels'], 'label')}, "
        f"{plural(counts['patients'], 'patient')} (layout {summary['layout']})",
        "",
    ]
    lines += [
        f"{finding['severity'].upper()}: {finding['message']} {finding['fix']}"
        for finding in summary["findings"]
    ]
    lines += [f"UNREADABLE: {failure['id']}: {failure['message']}" for failure in summary["failures"]]
    if not summary["findings"] and not summary["failures"]:
        lines.append("Nothing was found wrong.")
    orientations = [f"{code} ({count})" for code, count in summary["orientations"].items()]
    lines += [
        "",
        f"Shape        {_span(summary['shapes'])}",
        f"Spacing      {_span(summary['spacings_mm'])} mm",
    ]
    if orientations:
        lines.append(f"Orientation  {listed(orientations)}")
    lines.append(f"Channels     {listed(summary['channels'])}")
    for name, found in summary["intensities"].items():
        lines.append(
            f"Intensities  {name}: {significant(found['minimum'])} to {significant(found['maximum'])}, "
            f"mean {significant(found['mean'])}, in the labels {significant(found['labelled_mean'])}"
        )
    lines += ["", *_volumes(summary, unit, shown_unit), "", *_cases(summary, unit, shown_unit)]
    return "\n".join(lines)


def _span(found: dict[str, Any]) -> str:
    if found["distinct"] < 2:
        return times(found["median"])
    return f"{times(found['min'])} to {times(found['max'])}, median {times(found['median'])}"


def _volumes(summary: dict[str, Any], unit: str, shown_unit: str) -> list[str]:
    rows = [
        [
            "Class",
            "cases",
            *(f"{what} {name}" for name in ("voxels", shown_unit) for what in ("mean", "min", "max")),
        ]
    ]
    for name, volume in summary["volumes"].items():
        cells = [
            significant(volume[key][what]) for key in ("voxels", unit) for what in ("mean", "min", "max")
        ]
        rows.append([name, str(volume["cases"]), *cells])
    return _columns(rows)


def _cases(summary: dict[str, Any], unit: str, shown_unit: str) -> list[str]:
    classes = list(summary["volumes"])
    rows = [["Case", "shape", *(f"{name} ({what})" for name in classes for what in ("voxels", shown_unit))]]
    for case in summary["cases"][:_MOST_CASES]:
        row = [case["id"], times(case["shape"])]
        for name in classes:
            count = case["voxels"].get(name)
            row += ["", ""] if count is None else [f"{count:,}", f"{case[unit][name]:.2f}"]
        rows.append(row)
    lines = _columns(rows)
    if (more := len(summary["cases"]) - _MOST_CASES) > 0:
        lines.append(f"and {plural(more, 'case')} more")
    return lines


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
