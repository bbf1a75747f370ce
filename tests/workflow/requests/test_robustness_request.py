"""Which severities a robustness benchmark is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesal.errors import UsageError
from vesal.workflow.requests.robustness_request import RobustnessRequest, parse_severities


def test_all_severities_are_measured_unless_some_are_chosen() -> None:
    assert RobustnessRequest(Path("m")).chosen_severities == (1, 2, 3, 4, 5)
    assert RobustnessRequest(Path("m"), quick=True).chosen_severities == (1, 3, 5)
    assert RobustnessRequest(Path("m"), severities=(2,)).chosen_severities == (2,)
    with pytest.raises(UsageError, match="leave it or --severity out"):
        RobustnessRequest(Path("m"), severities=(2,), quick=True)


@pytest.mark.parametrize("text", ["", "x", "1-3", "3,", "3..1", "²", "0", "1..9"])
def test_impossible_severities_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--severity is whole numbers"):
        parse_severities(text)
