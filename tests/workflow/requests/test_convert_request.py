"""What `vesal convert` takes as text."""

from __future__ import annotations

import pytest

from vesal.errors import UsageError
from vesal.workflow.requests.convert_request import ConvertRequest, parse_spacing, parse_window


@pytest.mark.parametrize("text", ["", "1", "5,5", "400,-1000", "a,b", "1,2,3", "nan,1", "0,inf"])
def test_an_impossible_window_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--window takes"):
        parse_window(text)


@pytest.mark.parametrize("text", ["", "1,x,3", "1;1;3"])
def test_an_impossible_spacing_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--spacing takes three distances"):
        parse_spacing(text)


@pytest.mark.parametrize("window", [(400, -1000), (5, 5), (1,), (1, 2, 3), (float("nan"), 1), ("a", "b"), 7])
def test_in_python_an_impossible_window_is_refused_before_any_slice_is_written(window: object) -> None:
    with pytest.raises(UsageError, match="--window takes"):
        ConvertRequest("scans", "png", "slices", window=window)


@pytest.mark.parametrize("window", [(-1000, 400), [-1000, 400], "-1000,400"])
def test_in_python_a_window_may_be_a_pair_or_its_text(window: object) -> None:
    assert ConvertRequest("scans", "png", "slices", window=window).window == (-1000.0, 400.0)
    assert ConvertRequest("scans", "png", "slices", window="full").window == "full"
