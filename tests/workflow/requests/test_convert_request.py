"""What `vesal convert` takes as text."""

from __future__ import annotations

import pytest

from vesal.errors import UsageError
from vesal.workflow.requests.convert_request import parse_spacing, parse_window


@pytest.mark.parametrize("text", ["", "1", "5,5", "400,-1000", "a,b", "1,2,3", "nan,1", "0,inf"])
def test_an_impossible_window_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--window takes"):
        parse_window(text)


@pytest.mark.parametrize("text", ["", "1,x,3", "1;1;3"])
def test_an_impossible_spacing_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--spacing takes three distances"):
        parse_spacing(text)
