"""The arithmetic of degradation against numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.data.labels import MEAN
from vesal.evaluate.robustness.degradation import (
    CLEAN,
    compare_with,
    degradation_table,
    headline,
    worst_cases,
)


def of(levels, condition, class_name=MEAN):
    return next(one for one in levels if (one.condition, one.class_name) == (condition, class_name))


def test_the_drop_is_what_the_same_cases_lose_in_percent_of_their_clean_dice(rows, two):
    levels = degradation_table(rows(two), ["a"])
    assert of(levels, "noise 1").drop_percent.mean == pytest.approx(0.0)
    assert of(levels, "noise 3").drop_percent.mean == pytest.approx(100 * 0.4 / 1.4)
    assert of(levels, "noise 3").dice.mean == pytest.approx(0.5)
    assert of(levels, CLEAN).dice.mean == pytest.approx(0.7)
    assert of(levels, "blur 3", "a").drop_percent.mean == pytest.approx(100 * 0.3 / 1.4)


def test_the_interval_of_the_drop_is_that_of_the_ratio(rows):
    """All lose a tenth of their own Dice: there is nothing to be unsure of, though the Dice differ widely."""
    clean = {str(case): 0.3 + 0.06 * case for case in range(10)}
    corrupted = {case: 0.9 * dice for case, dice in clean.items()}
    drop = of(degradation_table(rows({CLEAN: clean, "noise 3": corrupted}), ["a"]), "noise 3").drop_percent
    assert (drop.low, drop.mean, drop.high) == pytest.approx((10, 10, 10))


def test_a_case_whose_clean_dice_is_almost_nothing_does_not_decide_the_drop(rows):
    some = {CLEAN: {"x": 0.9, "y": 0.9, "z": 0.001}, "noise 3": {"x": 0.9, "y": 0.9, "z": 0.01}}
    assert abs(of(degradation_table(rows(some), ["a"]), "noise 3").drop_percent.mean) < 1.0


def test_what_is_found_of_a_class_that_the_case_lacks_counts_in_the_mean_over_the_classes(rows):
    one = rows({CLEAN: {"x": 0.8}, "noise 3": {"x": 0.8}}, "a")
    other = rows({CLEAN: {"x": None}, "noise 3": {"x": 0.0}}, "b")
    levels = degradation_table([*one, *other], ["a", "b"])
    assert of(levels, "noise 3").drop_percent.mean == pytest.approx(50.0)
    assert of(levels, "noise 3", "b").drop_percent.mean is None


def test_the_headline_is_the_mean_over_artefacts_at_severity_three_or_the_nearest(rows, two):
    top = headline(rows(two))
    assert (top.severity, top.artifacts) == (3, 2)
    assert top.drop_percent.mean == pytest.approx(100 * (0.4 + 0.3) / 2 / 1.4)
    nearest = headline(rows({CLEAN: {"x": 0.8}, "noise 1": {"x": 0.4}, "noise 5": {"x": 0.2}}))
    assert (nearest.severity, nearest.drop_percent.mean) == (1, pytest.approx(50.0))
    assert headline(rows({CLEAN: {"x": 0.8}})) is None


def test_corruption_errors_are_those_of_the_paper_by_hand(rows):
    ours = rows({CLEAN: {"x": 0.9}, "noise 1": {"x": 0.8}, "noise 2": {"x": 0.6}, "blur 1": {"x": 0.9}})
    base = rows({CLEAN: {"x": 0.8}, "noise 1": {"x": 0.6}, "noise 2": {"x": 0.4}, "blur 1": {"x": 0.7}})
    found = compare_with(ours, base, "plain")
    noise, blur = found.artifacts
    assert noise.error == pytest.approx(100 * (0.2 + 0.4) / (0.4 + 0.6))
    assert blur.error == pytest.approx(100 * 0.1 / 0.3)
    assert found.mce == pytest.approx((60 + 100 / 3) / 2)
    assert noise.relative == pytest.approx(100 * (0.1 + 0.3) / (0.2 + 0.4))
    assert blur.relative == pytest.approx(0.0)
    assert (found.clean_dice, found.baseline_clean_dice) == pytest.approx((0.9, 0.8))


def test_a_baseline_is_compared_on_shared_cases_and_conditions_alone(rows, two):
    base = rows(
        {CLEAN: {"x": 0.8, "z": 0.1}, "noise 3": {"x": 0.4, "z": 0.1}, "gamma 3": {"x": 0.1, "z": 0.1}}
    )
    found = compare_with(rows(two), base, "other")
    assert (found.cases, [one.artifact for one in found.artifacts]) == (1, ["noise"])
    assert found.mce == pytest.approx(100.0)
    assert compare_with(rows(two), rows({CLEAN: {"z": 0.5}, "noise 3": {"z": 0.5}}), "none shared") is None
    assert compare_with(rows(two), [], "empty") is None


def test_a_baseline_that_loses_nothing_has_no_relative_error(rows, two):
    base = rows({CLEAN: {"x": 0.8, "y": 0.6}, "noise 3": {"x": 0.8, "y": 0.6}})
    assert compare_with(rows(two), base, "steady").artifacts[0].relative is None


def test_the_worst_case_of_each_artefact_is_named_once_and_the_hardest_first(rows, two):
    worst = worst_cases(rows(two | {"noise 3": {"x": 0.2, "y": 0.6}}))
    assert [(one.condition, one.case) for one in worst] == [("noise 3", "x"), ("blur 3", "y")]
    assert [one.drop_percent for one in worst] == pytest.approx([75.0, 50.0])


def test_intervals_draw_patients_where_some_have_several_cases(rows):
    drops = np.repeat(np.random.default_rng(0).uniform(0.1, 0.5, 8), 2).tolist()
    cases = [f"c{place:02}" for place in range(16)]
    made = rows({CLEAN: dict.fromkeys(cases, 0.9), "noise 3": dict(zip(cases, drops, strict=True))})
    patients = {case: str(place // 2) for place, case in enumerate(cases)}
    for one, other in (
        (of(degradation_table(made, ["a"], patients), "noise 3").drop_percent,
         of(degradation_table(made, ["a"]), "noise 3").drop_percent),
        (headline(made, patients).drop_percent, headline(made).drop_percent),
    ):  # fmt: skip
        assert one.mean == other.mean
        assert one.high - one.low > 1.3 * (other.high - other.low)


def test_one_case_and_cases_of_one_patient_have_no_interval(rows, two):
    for made, patients in (
        (rows({name: {"x": dice["x"]} for name, dice in two.items()}), {}),
        (rows(two), {"x": "p", "y": "p"}),
    ):
        top, drop = headline(made, patients), of(degradation_table(made, ["a"], patients), "noise 3")
        for one in (top.drop_percent, drop.drop_percent, drop.dice):
            assert one.mean is not None
            assert (one.low, one.high) == (None, None)
