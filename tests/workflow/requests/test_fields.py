"""Texts that fields of requests are read from."""

from __future__ import annotations

import pytest

from vesal.errors import UsageError
from vesal.workflow.requests.fields import parse_fold


@pytest.mark.parametrize("text", ["x", "-1", "1.5", ""])
def test_a_fold_is_a_number_or_all(text: str) -> None:
    with pytest.raises(UsageError, match="--fold takes a number, all or none"):
        parse_fold(text)
