"""Texts that fields of requests are read from."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesal.errors import UsageError
from vesal.workflow.requests.convert_request import ConvertRequest
from vesal.workflow.requests.fields import given_flags, parse_fold
from vesal.workflow.requests.kernel_options import KernelOptions
from vesal.workflow.requests.robustness_request import RobustnessRequest
from vesal.workflow.requests.train_request import OverfitRequest, TrainRequest


@pytest.mark.parametrize("text", ["x", "-1", "1.5", ""])
def test_a_fold_is_a_number_or_all(text: str) -> None:
    with pytest.raises(UsageError, match="--fold takes a number, all or none"):
        parse_fold(text)


def test_in_python_paths_may_be_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    request = TrainRequest("scans", "~/run", folds_file="split.json", recipe="auto", fold="all", budget="5m")
    assert request == TrainRequest(
        Path("scans"),
        Path("/home/someone/run"),
        folds_file=Path("split.json"),
        recipe="auto",
        fold="all",
        budget="5m",
    )
    assert OverfitRequest("scans").data == Path("scans")
    assert RobustnessRequest("run", "scans").data == Path("scans")
    assert ConvertRequest("scans", "png", "slices").to == "png"


def test_in_python_a_single_value_stands_for_several() -> None:
    assert RobustnessRequest("run", artifacts="noise", severities=3, limits="noise=5") == RobustnessRequest(
        Path("run"), artifacts=("noise",), severities=(3,), limits=("noise=5",)
    )
    assert ConvertRequest("scans", "png", "slices", cases="case-1").cases == ("case-1",)
    assert TrainRequest("scans", "run", settings="lr=0.1").settings == ("lr=0.1",)


def test_the_flags_that_were_given_are_those_whose_values_are_not_of_the_class() -> None:
    assert given_flags(KernelOptions()) == []
    given = KernelOptions(fold="all", earlier="me/run", short=True)
    assert given_flags(given) == ["--fold", "--continue-from", "--short"]
