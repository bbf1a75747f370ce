"""An inspection as tables, from its numbers alone."""

from __future__ import annotations

from typing import Any

from vesal.report.pages.data_tables import (
    case_table,
    inspection_text,
    overview,
    verdict,
    volume_table,
    whole_table,
)

STATISTICS = {"mean": 1234.5, "min": 1000.0, "max": 1469.0, "median": 1234.5, "std": 1.0}
MILLILITRES = {"mean": 1.2345, "min": 1.0, "max": 1.469, "median": 1.2345, "std": 0.1}


def summary(cases: int = 2, **changes: Any) -> dict[str, Any]:
    case = {
        "shape": [10, 20, 30],
        "spacing_mm": [1.0, 1.0, 2.5],
        "voxels": {"atrium": 1469},
        "ml": {"atrium": 1.469},
    }
    return {
        "name": "Heart",
        "layout": "msd",
        "unit": "ml",
        "counts": {"images": 3, "labels": 2, "unlabelled": 1, "patients": 2, "unreadable": 0},
        "findings": [],
        "remarks": ["Read as a test."],
        "failures": [],
        "shapes": {"min": [10, 20, 30], "median": [10, 20, 30], "max": [10, 20, 30], "distinct": 1},
        "spacings_mm": {"min": [1, 1, 2], "median": [1, 1, 2.5], "max": [1, 1, 3], "distinct": 2},
        "orientations": {"RAS": 2},
        "channels": ["MRI"],
        "labels": [{"name": "atrium", "value": 1}],
        "regions": {},
        "intensities": {},
        "volumes": {"atrium": {"cases": 2, "voxels": STATISTICS, "ml": MILLILITRES}},
        "cases": [case | {"id": f"scan_{number}", "labelled": number > 0} for number in range(cases)],
        "whole_volumes": [],
    } | changes


def test_the_verdict_counts_findings_by_severity() -> None:
    assert verdict(summary()) == "3 images and 2 labels of 2 patients: nothing found wrong."
    findings = [{"severity": severity} for severity in ("note", "error", "error")]
    assert verdict(summary(findings=findings)).endswith(": 2 errors, 1 note to look at.")


def test_the_overview_shows_a_span_only_where_there_is_one() -> None:
    facts = dict(overview(summary()))
    assert facts["images"] == "3, of which 1 without a label"
    assert facts["shape"] == "10 x 20 x 30"
    assert facts["spacing"] == "1 x 1 x 2 to 1 x 1 x 3, median 1 x 1 x 2.5 mm"
    assert "regions" not in facts
    assert dict(overview(summary(regions={"whole": ["a", "b"]})))["regions"] == "whole = a + b"


def test_volumes_are_shown_in_voxels_and_in_the_unit() -> None:
    table = volume_table(summary())
    assert list(table.columns[4:6]) == ["max (voxels)", "mean (ml)"]
    assert " ".join(cell.shown for cell in table.rows[0]) == "atrium 2 of 2 1,234 1,000 1,469 1.23 1 1.47"
    assert case_table(summary()).rows[0][3].line() == "1,469 (1.47)"
    assert case_table(summary()).rows[0][0].line() == "scan_0 (no label)"


def test_the_console_lists_the_first_cases_and_counts_the_others() -> None:
    text = inspection_text(summary(63))
    assert "scan_59" in text
    assert "scan_60" not in text
    assert text.endswith("and 3 cases more")
    assert "\nRead as a test.\n" in text


def test_slices_are_listed_by_the_volumes_that_they_make():
    whole = {"patient": "p", "slices": 12, "labelled_slices": 7, "slice_mm": 5.0, "unit": "ml"}
    whole |= {"voxels": {"atrium": 1469}, "size": {"atrium": 1.469}}
    found = summary(90, whole_volumes=[whole | {"id": "p1"}, whole | {"id": "p2", "slices": 14}])
    assert dict(overview(found))["volumes"] == "2 of 12 to 14 slices; 14 of 26 slices hold a label"
    table = whole_table(found)
    assert table is not None
    assert table.columns == ["volume", "slices", "distance (mm)", "atrium (voxels, ml)"]
    assert [cell.line() for cell in table.rows[0]] == ["p1", "12 (7 with a label)", "5", "1,469 (1.47)"]
    text = inspection_text(found)
    assert "p2" in text
    assert "scan_1" not in text


def test_the_sizes_of_volumes_whose_distance_is_unknown_are_areas():
    whole = {"id": "p", "patient": "p", "slices": 2, "labelled_slices": 2, "slice_mm": None, "unit": "mm2"}
    table = whole_table(summary(whole_volumes=[whole | {"voxels": {"atrium": 3}, "size": {"atrium": 12.0}}]))
    assert table is not None
    assert table.columns[-1] == "atrium (voxels, mm²)"
    assert table.rows[0][2].line() == "–"


def test_what_is_right_and_what_cannot_be_read_is_told_once() -> None:
    assert inspection_text(summary()).lower().count("found wrong") == 1
    failure = {"id": "scan_0", "message": "Case scan_0: a.nii.gz is cut off."}
    assert "UNREADABLE: scan_0: Case scan_0" in inspection_text(summary(failures=[failure]))
    finding = {"severity": "error", "message": "Case scan_0: a.nii.gz is cut off.", "fix": "Copy it again."}
    text = inspection_text(summary(failures=[failure], findings=[finding]))
    assert text.count("is cut off") == 1
