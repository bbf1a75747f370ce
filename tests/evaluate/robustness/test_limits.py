"""Limits: how they are written, judged, and refused."""

from __future__ import annotations

import pytest

from vesal.errors import UsageError
from vesal.evaluate.robustness.degradation import degradation_table
from vesal.evaluate.robustness.limits import Limit, check_limit_names, check_limits


@pytest.mark.parametrize(
    ("text", "name", "severity", "most"),
    [
        ("motion=30", "motion", None, 30),
        ("dice-drop=2.5%", "dice-drop", None, 2.5),
        ("noise:5 = 40", "noise", 5, 40),
    ],
)
def test_a_limit_is_a_name_maybe_a_severity_and_percent(text, name, severity, most):
    limit = Limit.parse(text)
    assert (limit.name, limit.severity, limit.most_percent) == (name, severity, most)


@pytest.mark.parametrize("text", ["motion", "motion=", "=3", "motion=nan", "motion=a lot", "motion:x=3"])
def test_a_limit_that_is_none_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="motion:5=40"):
        Limit.parse(text)


def test_limits_are_judged_by_the_mean_drop_at_their_severity(rows, two):
    limits = [
        Limit.parse(text) for text in ("noise=30", "noise:1=1", "blur=21", "dice-drop=25", "dice-drop=26")
    ]
    results = check_limits(limits, degradation_table(rows(two), ["a"]))
    assert [one.passed for one in results] == [True, True, False, True, True]
    assert "blur at severity 3 costs 21.4 % of the Dice, above the 21 % allowed" in results[2].sentence()


def test_limits_on_what_is_not_tested_are_refused_before_the_work():
    tested = [("noise", 1), ("noise", 3), ("blur", 1)]
    check_limit_names([Limit.parse("noise=3"), Limit.parse("blur:1=3")], tested)
    with pytest.raises(UsageError, match="names what is not tested; tested are dice-drop, noise, blur"):
        check_limit_names([Limit.parse("motion=3")], tested)
    with pytest.raises(UsageError, match="severity 3, which is not tested; tested are 1"):
        check_limit_names([Limit.parse("blur=3")], tested)
