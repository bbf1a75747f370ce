"""The page of a robustness benchmark holds everything in one file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pytest

from vesal.data.labels import LabelSet
from vesal.evaluate.robustness.degradation import ArtifactScore, Estimate
from vesal.evaluate.robustness.limits import Limit
from vesal.evaluate.robustness.result import Cost, Robustness, conclude
from vesal.report.pages import robustness_page
from vesal.report.pages.robustness_page import write_robustness_report

LABELS = LabelSet.from_values({"a": 1, "b": 2})


def found(
    drops: dict[tuple[str, int | None, str], float],
    cases: Sequence[str] = ("x", "y"),
    clean: Mapping[str, float] = MappingProxyType({}),
    **wanted,
) -> Robustness:
    """Of cases whose clean Dice is 0.8 where `clean` does not say; (artefact, severity, condition) -> what is lost."""
    rows = [
        ArtifactScore(
            case=case, artifact=artifact, severity=severity, condition=condition, class_name=name,
            dice=clean.get(case, 0.8) - drop, hd95_mm=2.0, boundary_dice=0.5, clean_dice=clean.get(case, 0.8),
        )
        for (artifact, severity, condition), drop in {("clean", None, "clean"): 0.0, **drops}.items()
        for case in cases
        for name in ("a", "b")
    ]  # fmt: skip
    cost = Cost(seconds=90.0, predictions=6, memory_mb=2048.0)
    about = {"model": "runs/heart/fold_0/model.vesal", "data": "d", "settings": {"seed": 0}, "cost": cost}
    return conclude(rows, ["a", "b"], about=about, **wanted)


NOISE = {("noise", 1, "noise 1"): 0.08, ("noise", 3, "noise 3"): 0.4, ("blur", None, "blur=2"): 0.2}


@pytest.mark.filterwarnings("error")
def test_the_page_shows_drops_curves_limits_and_the_baseline(tmp_path):
    one = found(NOISE, limits=[Limit.parse("noise=10")], baseline=found(NOISE))
    write_robustness_report(tmp_path / "page.html", one, LABELS, baseline=found(NOISE))
    page = (tmp_path / "page.html").read_text()
    assert "Robustness of heart, fold 0" in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert page.count("<figure>") == 1
    assert "Dice over the severity of noise" in page
    for text in (
        "noise=10",
        ">failed<",
        "50.0 %",
        "own setting",
        "blur=2",
        "2.0 GiB",
        "Compared with the baseline",
    ):
        assert text in page
    assert re.search(r"color-mix\(in srgb, var\(--bad\) 58%, transparent\)", page)


def test_the_page_of_settings_of_ones_own_has_no_curves(tmp_path):
    write_robustness_report(tmp_path / "page.html", found({("blur", None, "blur=2"): 0.2}), LABELS)
    page = (tmp_path / "page.html").read_text()
    assert 'id="curves"' not in page
    assert 'id="heat"' in page


def drawn(tmp_path, monkeypatch, one: Robustness, baseline: Robustness) -> tuple[dict[int, Estimate], str]:
    """The baseline in the curve of noise, and the page."""
    lines = []
    monkeypatch.setattr(robustness_page, "degradation_chart", lambda *given: lines.append(given[2]) or b"")
    write_robustness_report(tmp_path / "page.html", one, LABELS, baseline=baseline)
    return lines[0], (tmp_path / "page.html").read_text()


def test_the_dashed_baseline_is_of_the_cases_that_are_compared(tmp_path, monkeypatch):
    theirs = found(NOISE, cases=("x", "y", "z"), clean={"z": 0.4})
    line, page = drawn(tmp_path, monkeypatch, found(NOISE, baseline=theirs), theirs)
    assert {severity: one.mean for severity, one in line.items()} == pytest.approx({0: 0.8, 1: 0.72, 3: 0.4})
    assert "dashed the baseline." in page
    fewer = found(NOISE, cases=("x",))
    line, page = drawn(tmp_path, monkeypatch, found(NOISE, baseline=fewer), fewer)
    assert line[0].mean == pytest.approx(0.8)
    assert "dashed the baseline on the 1 case that both have" in page


def test_a_baseline_that_is_not_compared_is_not_drawn(tmp_path, monkeypatch):
    other = found(NOISE, cases=("v", "w"))
    line, page = drawn(tmp_path, monkeypatch, found(NOISE, baseline=other), other)
    assert line == {}
    assert "dashed the baseline" not in page


@pytest.mark.filterwarnings("error")
def test_of_one_case_the_page_shows_no_interval(tmp_path):
    one = found(NOISE, cases=("x",))
    write_robustness_report(tmp_path / "page.html", one, LABELS)
    page = (tmp_path / "page.html").read_text()
    assert "noise 3: Dice 0.400, drop 50.0 %" in page
    assert "0.800 to 0.800" not in page
