"""What became of each defect, in words: counted by case, for the console, in Markdown and on a page."""

from __future__ import annotations

from pathlib import Path

from vesal.audit.apply_fixes import FixRecord
from vesal.audit.finding import Finding
from vesal.report.pages.fixes_section import change_table, changes_markdown, changes_summary, changes_text

RECORDS = (
    FixRecord(case="a", kind="units", outcome="fixed", wrong="in cm", done="multiplied", files=("a.nii.gz",)),
    FixRecord(
        case="b", kind="spacing", outcome="fixed", wrong="ten times too far", done="divided", look=True
    ),
    FixRecord(case="b", kind="unreadable", outcome="left out", wrong="cut off", done="left out: damaged"),
    FixRecord(case="", kind="absent-class", outcome="kept", wrong="'x|y' is in no case", done="nothing"),
)
REMAINING = Finding(kind="x", severity="warning", cases=(), what="Odd", fix="Look.")
SUMMARY = changes_summary(Path("out/fixed"), 3, RECORDS, [REMAINING])


def test_a_case_that_is_left_out_counts_as_neither_fixed_nor_to_be_looked_at() -> None:
    assert SUMMARY["counts"] == {"cases": 3, "fixed": 1, "left_out": 1, "unchanged": 2, "look": 0}


def test_the_console_names_each_defect_and_what_remains() -> None:
    lines = changes_text(SUMMARY).splitlines()
    assert lines[0] == "FIXED: a: In cm. Multiplied."
    assert lines[1] == "FIXED: b: Ten times too far. Divided. Look at it."
    assert lines[3].startswith("KEPT: all: ")
    assert "WARNING: Odd." in lines
    assert lines[-1].startswith("3 cases in out/fixed: 1 fixed, 2 as they were; 1 left out.")


def test_markdown_has_a_table_for_each_outcome() -> None:
    text = changes_markdown("Heart", SUMMARY)
    for expected in (
        "# Heart: what was fixed",
        "## Fixed",
        "## Left out",
        "## Kept as it is",
        "a.nii.gz",
        "all",
    ):
        assert expected in text
    assert "'x\\|y' is in no case" in text
    assert "- warning: Odd. Look." in text
    sound = changes_summary(Path("out"), 1, (), ())
    assert "Nothing was found wrong with the fixed copy." in changes_markdown("Heart", sound)
    assert "The fixed copy has nothing wrong." in changes_text(sound)


def test_a_page_has_a_row_for_each_defect() -> None:
    table = change_table(SUMMARY)
    assert [row[0].shown for row in table.rows] == ["fixed", "fixed", "left out", "kept"]
    assert table.rows[1][4].shown == "Divided. Look at it."
