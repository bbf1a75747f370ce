"""The inspection of a data set: all numbers as JSON, and a page that shows them with pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import to_jsonable_python

from vesal.audit.finding import Finding
from vesal.data.dataset import Case, Dataset
from vesal.data.fingerprint import CaseRecord, Fingerprint
from vesal.data.whole_volumes import whole_volumes
from vesal.files import write_json, write_text
from vesal.parallel import map_in_order
from vesal.report.figures import charts
from vesal.report.figures.colours import colours_by_class
from vesal.report.pages.case_section import case_pictures
from vesal.report.pages.data_tables import (
    case_table,
    intensity_table,
    overview,
    shown_unit,
    verdict,
    volume_table,
    whole_table,
)
from vesal.report.pages.fixes_section import change_table, counts_sentence
from vesal.report.pages.html import Picture, chart, render_page
from vesal.text import plural, significant
from vesal.version import __version__

#: Of the chart of intensities; the titles name the channels.
_CHANNEL_COLOUR = "#4b8fd0"


def inspection_summary(dataset: Dataset, record: Fingerprint, findings: Sequence[Finding]) -> dict[str, Any]:
    """Every number of the inspection as plain values, for JSON.

    Volumes are counted in voxels and in `unit`: ml, or mm2 for 2D images. Means, minima and maxima are over
    the cases that hold the class; a region's voxels are the sum of its members'. `whole_volumes` are those that slices
    make, in ml, or in mm2 summed over the slices where their distance is not stated. Numbers that are not finite become
    null.
    """
    unit = "mm2" if record.cases and len(record.cases[0].shape) == 2 else "ml"
    labelled = {case.id for case in dataset.cases}
    summary = {
        "version": 1,
        "name": dataset.name,
        "root": str(dataset.root),
        "layout": dataset.layout,
        "channels": dataset.channels,
        "labels": [{"name": label.name, "value": label.value} for label in dataset.labels.labels],
        "regions": {region.name: region.members for region in dataset.labels.regions},
        "remarks": dataset.remarks,
        "counts": {
            "images": len(dataset.cases) + len(dataset.unlabelled),
            "labels": len(dataset.cases),
            "unlabelled": len(dataset.unlabelled),
            "patients": len({case.patient for case in dataset.cases}),
            "unreadable": len(record.failures),
        },
        "findings": findings,
        "failures": record.failures,
        "shapes": _spread([case.shape for case in record.cases]),
        "spacings_mm": _spread([case.spacing_mm for case in record.cases]),
        "orientations": dict(Counter(case.axis_codes for case in record.cases if case.axis_codes)),
        "intensities": _intensities(record),
        "unit": unit,
        "volumes": _volumes(dataset, record, unit),
        "cases": [_case_numbers(dataset, case, unit, case.id in labelled) for case in record.cases],
        "whole_volumes": _whole_volumes(dataset, record),
    }
    # JSON has no NaN.
    return to_jsonable_python(summary, inf_nan_mode="null")


def write_inspect_report(
    dataset: Dataset,
    record: Fingerprint,
    findings: Sequence[Finding],
    out: Path,
    pictures: int = 6,
    fixed: dict[str, Any] | None = None,
) -> Path:
    """Write inspect.html, which holds all its pictures, and inspect.json into `out`.

    Args:
        dataset, record, findings: of one data set.
        out: folder; made when it is not there.
        pictures: how many cases are shown, spread evenly over the cases by labelled volume.
        fixed: what became of the defects in the fixed copy (`fixes_section.changes_summary`), if there is one.

    Returns:
        The page's path.

    Raises:
        VesalError: the folder cannot be written.
    """
    out = Path(out)
    summary = inspection_summary(dataset, record, findings)
    write_json(out / "inspect.json", summary)
    path = out / "inspect.html"
    context = _context(dataset, record, summary, pictures)
    if fixed is not None:
        context["contents"].insert(1, ("fixed", "Fixed"))
        context["fixed"] = {
            "sentence": counts_sentence(fixed),
            "table": change_table(fixed),
            "remaining": fixed["remaining"],
        }
    write_text(path, render_page("inspect.html.j2", context))
    return path


# --- numbers -------------------------------------------------------------------------------------------


def class_voxels(dataset: Dataset, case: CaseRecord) -> dict[str, int]:
    """Voxels of each class (region or label) that the data set measures, in one case."""
    members = {region.name: region.members for region in dataset.labels.regions}
    return {
        name: sum(case.voxels.get(member, 0) for member in members.get(name, (name,)))
        for name in dataset.labels.classes
    }


def _in_unit(voxels: int, case: CaseRecord, unit: str) -> float:
    return voxels * case.voxel_volume_mm3 / (1000 if unit == "ml" else 1)


def _volumes(dataset: Dataset, record: Fingerprint, unit: str) -> dict[str, Any]:
    labelled = [case for case in record.cases if case.label_shape is not None]
    counts = [class_voxels(dataset, case) for case in labelled]
    volumes = {}
    for name in dataset.labels.classes:
        held = [(case, count[name]) for case, count in zip(labelled, counts, strict=True) if count[name] > 0]
        volumes[name] = {
            "cases": len(held),
            "voxels": _statistics([voxels for _, voxels in held]),
            unit: _statistics([_in_unit(voxels, case, unit) for case, voxels in held]),
        }
    return volumes


def _whole_volumes(dataset: Dataset, record: Fingerprint) -> list[dict[str, Any]]:
    """The volumes that annotated slices make, in their order; [] where there are none."""
    members = {region.name: region.members for region in dataset.labels.regions}
    classes = {name: members.get(name, (name,)) for name in dataset.labels.classes}
    annotated = [case for case in record.cases if case.label_shape is not None]
    return [
        {
            "id": whole.name,
            "patient": whole.records[0].patient,
            "slices": len(whole.records),
            "labelled_slices": sum(any(one.voxels.values()) for one in whole.records),
            "slice_mm": whole.slice_mm,
            "unit": whole.unit,
            "voxels": {name: whole.voxels(of) for name, of in classes.items()},
            "size": {name: whole.size(of) for name, of in classes.items()},
        }
        for whole in whole_volumes(dataset, annotated)
        if whole.sliced
    ]


def _statistics(values: Sequence[float]) -> dict[str, float | None]:
    functions: dict[str, Any] = {
        "mean": np.mean,
        "min": np.min,
        "max": np.max,
        "median": np.median,
        "std": np.std,
    }
    data = np.asarray(values, dtype=float)
    return {name: float(function(data)) if values else None for name, function in functions.items()}


def _spread(rows: Sequence[tuple[float, ...]]) -> dict[str, Any]:
    """Least, median and greatest along each axis, over the rows with as many axes as the first."""
    rows = [row for row in rows if len(row) == len(rows[0])]
    if not rows:
        return {"min": [], "median": [], "max": [], "distinct": 0}
    data = np.asarray(rows, dtype=float)
    whole = (
        float if isinstance(rows[0][0], float) else lambda value: int(value) if value == int(value) else value
    )

    def plain(values: Any) -> list[Any]:
        return [whole(float(f"{value:.6g}")) for value in values]

    return {
        "min": plain(data.min(axis=0)),
        "median": plain(np.median(data, axis=0)),
        "max": plain(data.max(axis=0)),
        "distinct": len({tuple(round(value, 3) for value in row) for row in rows}),
    }


def _intensities(record: Fingerprint) -> dict[str, Any]:
    """Of each channel: means over the scans, the extremes of all, and of the labelled voxels."""
    found = {}
    for index, name in enumerate(record.channels):
        channels = [case.channels[index] for case in record.cases if len(case.channels) > index]
        if not channels:
            continue
        samples = np.array(
            [value for channel in channels for value in channel.foreground_samples], dtype=float
        )
        low, middle, high = np.mean([channel.percentiles for channel in channels], axis=0)
        found[name] = {
            "minimum": min(channel.minimum for channel in channels),
            "maximum": max(channel.maximum for channel in channels),
            "mean": float(np.mean([channel.mean for channel in channels])),
            "std": float(np.mean([channel.std for channel in channels])),
            "percentile_0.5": float(low),
            "median": float(middle),
            "percentile_99.5": float(high),
            "labelled_mean": float(samples.mean()) if samples.size else None,
            "labelled_std": float(samples.std()) if samples.size else None,
        }
    return found


def _case_numbers(dataset: Dataset, case: CaseRecord, unit: str, labelled: bool) -> dict[str, Any]:
    voxels = class_voxels(dataset, case) if case.label_shape is not None else {}
    return {
        "id": case.id,
        "patient": case.patient,
        "labelled": labelled and case.label_shape is not None,
        "shape": case.shape,
        "spacing_mm": [float(f"{value:.6g}") for value in case.spacing_mm],
        "orientation": case.axis_codes,
        "crop_shape": case.crop_shape,
        "voxels": voxels,
        unit: {name: _in_unit(count, case, unit) for name, count in voxels.items()},
        "nan_voxels": case.nan_voxels,
        "undeclared": case.undeclared,
        "channels": [channel.model_dump(exclude={"foreground_samples"}) for channel in case.channels],
    }


# --- the page ------------------------------------------------------------------------------------------


def _context(dataset: Dataset, record: Fingerprint, summary: dict[str, Any], pictures: int) -> dict[str, Any]:
    counts = summary["counts"]
    examples = _examples(dataset, record, summary["unit"], pictures)
    return summary | {
        "title": dataset.name,
        "verdict": verdict(summary),
        "facts": [
            f"{counts['images']} images",
            f"{counts['labels']} labels",
            f"layout {dataset.layout}",
            str(dataset.root),
        ],
        "contents": [
            ("findings", "Findings"),
            ("overview", "Overview"),
            ("volumes", "Volumes"),
            ("intensities", "Intensities"),
            ("pictures", "Pictures"),
            ("cases", "Every case"),
        ],
        "fixed": None,
        "overview": overview(summary),
        "colours": colours_by_class(dataset.labels.classes, dataset.labels),
        "volume_table": volume_table(summary),
        "whole_table": whole_table(summary),
        "volume_charts": _volume_charts(dataset, summary),
        "intensity_table": intensity_table(summary),
        "intensity_charts": _intensity_charts(record),
        "picture_note": f"{plural(len(examples), 'case')} spread over the labelled volumes, from the smallest to the "
        "largest. The slices go through the largest cross-section of the labels.",
        "examples": examples,
        "case_table": case_table(summary),
        "version": __version__,
    }


def _volume_charts(dataset: Dataset, summary: dict[str, Any]) -> list[Picture]:
    unit = summary["unit"]
    drawn = []
    for name, colour in colours_by_class(dataset.labels.classes, dataset.labels).items():
        values = [case[unit][name] for case in summary["cases"] if case[unit].get(name, 0) > 0]
        if values:
            draw = partial(charts.volume_histogram, values, colour, shown_unit(unit), title=name)
            drawn.append(chart(lambda theme, draw=draw: draw(theme=theme), f"Volumes of {name}"))  # type: ignore[misc]
    return drawn


def _intensity_charts(record: Fingerprint) -> list[Picture]:
    drawn = []
    for index, name in enumerate(record.channels):
        channels = [case.channels[index] for case in record.cases if len(case.channels) > index]
        samples = [
            value for channel in channels for value in channel.foreground_samples if np.isfinite(value)
        ]
        ranges = [channel.percentiles for channel in channels if np.isfinite(channel.percentiles).all()]
        if samples:
            draw = partial(charts.intensity_histogram, samples, name, _CHANNEL_COLOUR)
            drawn.append(chart(draw, f"Intensities of labelled voxels in {name}"))
        if ranges:
            draw = partial(charts.intensity_ranges, ranges, name, _CHANNEL_COLOUR)
            drawn.append(chart(draw, f"Range of intensities of each scan in {name}"))
    return drawn


def _examples(dataset: Dataset, record: Fingerprint, unit: str, pictures: int) -> list[dict[str, Any]]:
    cases = {case.id: case for case in dataset.cases}
    amounts = sorted(
        (_in_unit(sum(case.voxels.values()), case, unit), case.id)
        for case in record.cases
        if case.id in cases
    )
    amounts = [item for item in amounts if item[0] > 0] or amounts
    places = np.linspace(0, len(amounts) - 1, pictures if amounts else 0)
    chosen = [amounts[place] for place in sorted({round(place) for place in places})]

    def draw(item: tuple[float, str]) -> dict[str, Any]:
        volume, name = item
        case: Case = cases[name]
        made = case_pictures(case, dataset.labels, dataset.channels, whole=True)
        size = f"{significant(volume)} {shown_unit(unit)} labelled"
        shown = {"pictures": made.pictures, "problems": made.problems, "command": made.command}
        return {"case": name, "volume": size, **shown}

    # Reading and decompression of one case go on beside the drawing of another.
    return list(map_in_order(draw, chosen, workers=2))
