"""The page of a comparison."""

from __future__ import annotations

import re

import numpy as np
import pytest

from vesal.evaluate.case_scores import METRICS, ClassScore
from vesal.evaluate.paired_comparison import Comparison, Side, compare
from vesal.evaluate.scores import Scores
from vesal.report.figures.colours import THEMES
from vesal.report.pages.compare_page import difference_chart, scatter_chart, write_comparison_page


def comparison(cases: int, gap: float = 0.05) -> Comparison:
    generator = np.random.default_rng(0)
    values = {
        (str(case), name): generator.uniform(0.5, 0.9) for case in range(cases) for name in ("a", "<b>")
    }

    def side(name: str, by: float) -> Side:
        rows = [
            ClassScore(case=case, class_name=of, volume_ml=1.0, truth_volume_ml=1.0, empty=None,
                       **(dict.fromkeys(METRICS) | {"dice": dice + by}))
            for (case, of), dice in values.items()
        ]  # fmt: skip
        return Side(name, [Scores(classes=("a", "<b>"), tolerance_mm=1.0, cases=tuple(rows), summary=())])

    return compare(side("A", 0.0), side("$x$ <i>", gap))


def test_the_page_holds_the_table_and_every_case_and_shows_no_name_as_markup(tmp_path):
    found = comparison(12)
    write_comparison_page(tmp_path / "page.html", found)
    page = (tmp_path / "page.html").read_text()
    assert "<i>" not in page
    assert "$x$ &lt;i&gt; is better" in page
    assert page.count('data-v="11"') == 3  # two classes and their mean
    assert "+0.050" in page
    sorted_as_words = re.findall(r"data-text><button[^>]*>([^<]*)<", page)
    assert sorted_as_words == ["Case", "Class"]


@pytest.mark.parametrize(("cases", "gap"), [(1, 0.05), (8, 0.0)])
def test_one_case_and_equal_models_can_be_drawn_on_light_and_on_dark_paper(cases, gap):
    found = comparison(cases, gap)
    for theme in THEMES.values():
        for png in (difference_chart(found, [found.overall], theme), scatter_chart(found, theme)):
            assert png.startswith(b"\x89PNG")
