"""A benchmark in words: every number of the tables is that of the result."""

from __future__ import annotations

import csv
import io

import pytest

from vesal.evaluate.robustness.degradation import CLEAN
from vesal.evaluate.robustness.limits import Limit
from vesal.evaluate.robustness.result_text import (
    condition_table,
    limits_sentence,
    robustness_markdown,
    robustness_text,
    save_robustness,
    summary,
)


def test_the_first_sentences_name_cases_dice_drop_and_time(result):
    text = summary(result())
    assert text.startswith(
        "2 cases, clean mean Dice 0.700. The mean relative drop of Dice over 2 artefacts at severity 3:"
    )
    assert "25.0 [" in text
    assert text.endswith("4 predictions in 8 s (2.00 s each).")


def test_the_console_shows_the_drops_by_artefact_and_severity_with_own_settings_in_a_row_of_their_own(
    result, rows
):
    own = rows({CLEAN: {"x": 0.8}, "noise 1": {"x": 0.8}, "noise 3": {"x": 0.6}, "blur=2": {"x": 0.4}})
    lines = robustness_text(result(own)).splitlines()[2:5]
    assert [line.split() for line in lines] == [
        ["Drop", "of", "Dice", "in", "%", "at", "severity", "1", "3", "own"],
        ["noise", "0.0", "25.0"],
        ["blur=2", "50.0"],
    ]


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ([], ""),
        (["noise=30"], "The limit is kept."),
        (["noise=30", "blur=30"], "All 2 limits are kept."),
        (
            ["noise=30", "blur=3"],
            "1 of 2 limits failed: blur at severity 3 costs 21.4 % of the Dice, above the 3 % allowed.",
        ),
    ],
)
def test_what_came_of_the_limits_is_one_sentence(result, limits, sentence):
    found = result(limits=[Limit.parse(text) for text in limits])
    assert limits_sentence(found) == sentence
    assert sentence in robustness_markdown(found)


def test_markdown_holds_the_tables_the_comparison_and_the_notes(result):
    text = robustness_markdown(result(baseline=result(), about={"remarks": ["Two cases alone."]}))
    for title in (
        "## Mean over the classes",
        "## Compared with the baseline",
        "## Worst case of each artefact",
    ):
        assert title in text
    assert "mean corruption error 100.0 %" in text
    assert "- Two cases alone." in text


def test_the_table_of_conditions_is_of_one_class_or_of_all(result):
    found = result()
    assert (
        len(condition_table(found.conditions).rows)
        == 2 * len(condition_table(found.conditions, "a").rows)
        == 8
    )


def test_the_csv_holds_every_row_in_full(result, tmp_path):
    found = result()
    save_robustness(tmp_path, found)
    lines = list(csv.DictReader(io.StringIO((tmp_path / "robustness.csv").read_text())))
    assert [(line["case"], line["class"], float(line["dice"])) for line in lines] == [
        (row.case, row.class_name, row.dice) for row in found.rows
    ]
