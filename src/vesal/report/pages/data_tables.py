"""The tables of an inspection, for its page and for the console."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from vesal.table import Cell, Table
from vesal.text import inline, listed, number, plural, significant, times

#: Cases that the console lists one by one; inspect.json has all.
_MOST_CASES = 60


def inspection_text(summary: dict[str, Any]) -> str:
    """An `inspection_summary` for the console: findings, then what the data are, and the volumes by class and case."""
    lines = [f"{summary['name']}: {verdict(summary)}", ""]
    lines += [
        f"{finding['severity'].upper()}: {finding['message']} {finding['fix']}"
        for finding in summary["findings"]
    ]
    messages = {inline(finding["message"]).rstrip(".") for finding in summary["findings"]}
    lines += [
        f"UNREADABLE: {inline(failure['id'])}: {inline(failure['message'])}"
        for failure in summary["failures"]
        if inline(failure["message"]).rstrip(".") not in messages
    ]
    lines += summary["remarks"]
    # Slices by the volumes that they make: there may be thousands.
    cases = whole_table(summary) or case_table(summary)
    tables = (
        Table.of(["", ""], overview(summary)),
        intensity_table(summary),
        volume_table(summary),
        Table(cases.columns, cases.rows[:_MOST_CASES]),
    )
    lines += [part for table in tables for part in ("", table.plain().lstrip("\n"))]
    if (more := len(cases.rows) - _MOST_CASES) > 0:
        lines.append(f"and {plural(more, 'volume' if summary['whole_volumes'] else 'case')} more")
    return "\n".join(lines)


def shown_unit(unit: str) -> str:
    """Of volumes and areas."""
    return "mm²" if unit == "mm2" else unit


def verdict(summary: dict[str, Any]) -> str:
    """How much data there is, and how many findings."""
    counts = summary["counts"]
    found = Counter(finding["severity"] for finding in summary["findings"])
    kinds = [plural(found[kind], kind) for kind in ("error", "warning", "note") if found[kind]]
    state = f"{', '.join(kinds)} to look at" if kinds else "nothing found wrong"
    images, labels = plural(counts["images"], "image"), plural(counts["labels"], "label")
    return f"{images} and {labels} of {plural(counts['patients'], 'patient')}: {state}."


def overview(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Names of facts, and the facts."""

    def span(key: str) -> str:
        found = summary[key]
        if found["distinct"] < 2:
            return times(found["median"])
        return f"{times(found['min'])} to {times(found['max'])}, median {times(found['median'])}"

    counts = summary["counts"]
    codes = [f"{code} ({count})" for code, count in summary["orientations"].items()]
    without = f", of which {counts['unlabelled']} without a label" if counts["unlabelled"] else ""
    facts = [
        ("images", f"{counts['images']}{without}"),
        ("labels", str(counts["labels"])),
        ("patients", str(counts["patients"])),
        *_of_volumes(summary["whole_volumes"]),
        ("layout", summary["layout"]),
        ("shape", span("shapes")),
        ("spacing", f"{span('spacings_mm')} mm"),
        ("orientation", listed(codes) if codes else "none (2D)"),
        ("channels", listed(summary["channels"])),
        ("classes", listed([f"{label['name']} = {label['value']}" for label in summary["labels"]], 20)),
    ]
    if summary["regions"]:
        regions = [f"{name} = {' + '.join(members)}" for name, members in summary["regions"].items()]
        facts.append(("regions", "; ".join(regions)))
    return facts


def _of_volumes(wholes: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """How many slices make how many volumes."""
    if not wholes:
        return []
    slices = [whole["slices"] for whole in wholes]
    labelled = sum(whole["labelled_slices"] for whole in wholes)
    each = f"{min(slices)} to {max(slices)}" if len(set(slices)) > 1 else str(slices[0])
    return [("volumes", f"{len(wholes)} of {each} slices; {labelled} of {sum(slices)} slices hold a label")]


def whole_table(summary: dict[str, Any]) -> Table | None:
    """Of each volume that slices make; None where the cases are no slices."""
    wholes = summary["whole_volumes"]
    if not wholes:
        return None
    units = {whole["unit"] for whole in wholes}
    unit = f"voxels, {shown_unit(*units)}" if len(units) == 1 else "voxels"
    sizes = [f"{name} ({unit})" for name in summary["volumes"]]
    rows = []
    for whole in wholes:
        cells = [
            Cell(whole["id"]),
            Cell(whole["slices"], remark=f"{whole['labelled_slices']} with a label"),
            Cell(whole["slice_mm"], text=significant(whole["slice_mm"])),
        ]
        for name, count in whole["voxels"].items():
            size = number(whole["size"][name], 2)
            size += "" if len(units) == 1 else f" {shown_unit(whole['unit'])}"
            cells.append(Cell(count, text=f"{count:,}", remark=size))
        rows.append(cells)
    return Table(["volume", "slices", "distance (mm)", *sizes], rows)


def volume_table(summary: dict[str, Any]) -> Table:
    """Of each class, over the cases that hold it."""
    unit = summary["unit"]
    heads = [f"{what} ({name})" for name in ("voxels", shown_unit(unit)) for what in ("mean", "min", "max")]
    rows = []
    for name, volume in summary["volumes"].items():
        values = [volume[key][what] for key in ("voxels", unit) for what in ("mean", "min", "max")]
        rows.append([name, f"{volume['cases']} of {summary['counts']['labels']}", *map(_rounded, values)])
    return Table.of(["class", "in cases", *heads], rows)


def intensity_table(summary: dict[str, Any]) -> Table:
    """Of each channel."""
    heads = {
        "minimum": "minimum",
        "percentile_0.5": "0.5 %",
        "median": "median",
        "mean": "mean",
        "std": "std",
        "percentile_99.5": "99.5 %",
        "maximum": "maximum",
        "labelled_mean": "mean in labels",
        "labelled_std": "std in labels",
    }
    rows = [
        [name, *(_rounded(found[key]) for key in heads)] for name, found in summary["intensities"].items()
    ]
    return Table.of(["channel", *heads.values()], rows)


def case_table(summary: dict[str, Any]) -> Table:
    """Of each case."""
    unit = summary["unit"]
    classes = list(summary["volumes"])
    volumes = [f"{name} (voxels, {shown_unit(unit)})" for name in classes]
    rows = []
    for case in summary["cases"]:
        cells = [
            Cell(case["id"], remark="" if case["labelled"] else "no label"),
            Cell(float(math.prod(case["shape"])), text=times(case["shape"])),
            Cell(float(math.prod(case["spacing_mm"])), text=times(case["spacing_mm"])),
        ]
        for name in classes:
            count = case["voxels"].get(name)
            if count is None:
                cells.append(Cell(""))
            else:
                cells.append(Cell(count, text=f"{count:,}", remark=number(case[unit][name], 2)))
        rows.append(cells)
    return Table(["case", "shape", "spacing (mm)", *volumes], rows)


def _rounded(value: float | None) -> Cell:
    return Cell(value, text=significant(value))
