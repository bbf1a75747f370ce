"""How numbers, sizes, names and times read."""

from __future__ import annotations

import pytest

from vesal import text


@pytest.mark.parametrize("value", [0.0, -0.0, -0.0004, 1e-9])
def test_what_rounds_to_zero_has_no_sign(value):
    assert text.number(value) == text.signed(value) == "0.000"


def test_an_interval_needs_both_ends_and_a_value():
    assert text.with_interval(1.0, 0.5, 1.5, 1) == "1.0 [0.5, 1.5]"
    assert text.with_interval(1.0, 0.5, None, 1) == "1.0"
    assert text.with_interval(None, 0.5, 1.5, 1) == text.UNDEFINED
    assert text.interval(None, 1.0) == ""


def test_whole_sizes_are_never_rounded():
    assert text.times((100_001, 3.0, 0.123456)) == "100001 x 3 x 0.1235"


def test_many_names_are_counted_and_few_are_listed():
    assert text.listed([]) == ""
    assert text.listed(["a"], last=" and ") == "a"
    assert text.listed(["a", "b"], last=" and ") == "a and b"
    assert text.listed(["a", "b", "c"], most=1) == "a and 2 more"


def test_a_text_of_the_longest_length_is_not_shortened():
    assert text.shortened("abc", 3) == "abc"
    assert text.shortened("abcd", 3) == "a…d"
    assert text.shortened("abcd", 2) == "a…"


def test_markup_in_names_is_shown_and_not_applied():
    assert text.markdown_text("_a_ | [b](c)\n#d") == "\\_a\\_ \\| \\[b\\](c) \\#d"
    assert text.markdown_text("left_atrium") == "left_atrium"
