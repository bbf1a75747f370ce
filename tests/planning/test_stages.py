"""One stage or two: small labels at one place of scans that the time does not pay for."""

from __future__ import annotations

import pytest
from fingerprints import HEART, HIPPOCAMPUS, LABELS, SHORT_AXIS, prints

from vesal.data.case_features import CaseFeatures, LabelFeatures
from vesal.data.fingerprint import Fingerprint
from vesal.planning import patch_size
from vesal.planning.plan import Plan
from vesal.planning.settings import PlanSettings
from vesal.planning.stages import make_staged_plan


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_size, "cpu_count", lambda: 2)


def labelled(
    fingerprint: Fingerprint,
    box_mm: tuple[float, ...] = (90.0, 80.0, 70.0),
    *,
    scatter: float = 0.02,
    islands: int = 0,
    empty: int = 0,
) -> Fingerprint:
    """The data set with labels in such boxes; their centres lie on both sides of the middle, so far apart."""
    cases = []
    for number, case in enumerate(fingerprint.cases):
        label = LabelFeatures(
            digest="", place=(0.5, 0.5, 0.5 + scatter * (-1) ** number), box_mm=box_mm, shape_picture="",
            surroundings="", faces=(), islands=islands, island_voxels=0, island_gap_mm=0.0,
        )  # fmt: skip
        found = None if number < empty else label
        features = CaseFeatures(picture="", minhash="", blank_slices=0, saturated=(0.0,), label=found)
        cases.append(case.model_copy(update={"case_features": features}))
    return fingerprint.model_copy(update={"cases": tuple(cases)})


def planned(fingerprint: Fingerprint, budget_s: float = 1200.0, **settings) -> Plan:
    return make_staged_plan(fingerprint, LABELS, PlanSettings(**settings), budget_s=budget_s)


def test_a_small_organ_at_one_place_of_a_scan_that_one_stage_would_coarsen_is_located() -> None:
    plan = planned(labelled(HEART))
    assert plan.locator is not None
    assert "one place" in plan.reasons[0]
    assert "one stage would have voxels of 4.46" in plan.reasons[0]
    assert planned(labelled(HEART), locate=False).locator is None


@pytest.mark.parametrize(
    ("labels", "budget_s", "why"),
    [
        ({"scatter": 0.12}, 1200, "the labels lie here or there (their centres scatter by 18% of the scan)"),
        ({"islands": 2}, 1200, "the labels are scattered (a median of 3 pieces)"),
        ({"box_mm": (350.0, 300.0, 120.0)}, 1200, "the labels and 20 mm around them are"),
        ({"empty": 2}, 1200, "10 of 12 cases are labelled"),
        ({}, 1100, "in less than 20 min of a network two reach no more"),
    ],
)
def test_one_stage_says_why_it_is_no_two(labels: dict, budget_s: float, why: str) -> None:
    plan = planned(labelled(HEART, **labels), budget_s)
    assert plan.locator is None
    assert plan.reasons[0].startswith(f"One stage: {why}")
    # As asked all the same.
    assert planned(labelled(HEART, **labels), budget_s, locate=True).locator is not None


def test_scans_that_the_time_pays_for_with_the_widest_network_are_seen_whole() -> None:
    plan = planned(labelled(HIPPOCAMPUS, (15.0, 15.0, 15.0)), 7200.0)
    assert plan.stages[0].features == 32
    assert plan.locator is None
    assert not plan.reasons[0].startswith("One stage")


def test_slices_whose_heart_is_a_small_part_are_located_for_more_steps() -> None:
    heart = labelled(SHORT_AXIS, (110.0, 100.0, 80.0))
    plan = planned(heart, 300.0)
    assert plan.locator is not None
    assert plan.dimension == 2
    assert "one stage would have patches of 256 x 256 voxels in place of" in plan.reasons[0]
    short = planned(heart, 270.0)
    assert short.locator is None
    assert short.reasons[0].startswith("One stage: in less than 5 min of a network two reach no more")
    large = planned(labelled(SHORT_AXIS, (250.0, 300.0, 80.0)))
    assert large.locator is None
    assert large.reasons[0].startswith("One stage: the labels and 20 mm around them are")


@pytest.mark.parametrize(
    "settings",
    [
        {"patch": (96, 96, 96)},
        {"spacing_mm": (1.25, 1.25, 1.37)},
        {"spacing_mm": (3.0, 3.0, 3.0)},
        {"features": (8, 16, 32)},
    ],
)
def test_a_patch_spacing_or_network_that_was_asked_for_is_of_one_stage(settings: dict) -> None:
    assert planned(labelled(HEART), **settings).locator is None


def test_few_cases_do_not_teach_where_to_look() -> None:
    few = labelled(HEART)
    plan = planned(few.model_copy(update={"cases": few.cases[:7]}))
    assert plan.locator is None
    assert "7 cases are too few" in plan.reasons[0]


def test_a_device_without_a_limit_of_time_needs_no_second_stage() -> None:
    for width in (1.0, 0.6, 0.2, 0.01):
        settings = PlanSettings(width=width)
        assert make_staged_plan(labelled(HEART), LABELS, settings, device="cuda").locator is None


def test_slices_are_no_finer_than_volumes() -> None:
    stack = labelled(prints((256, 256, 14), (1.4, 1.4, 8.0), cases=12), (60.0, 60.0, 48.0))
    plan = planned(stack)
    assert plan.dimension == 3
    assert plan.reasons[0] == "One stage: two would bring neither finer voxels nor cheaper steps."
    assert planned(stack, locate=True).dimension == 2


def test_a_budget_is_of_all_networks_together() -> None:
    heart = labelled(HEART)
    three, one = planned(heart, 3600.0, networks=3), planned(heart)
    assert three.locator is not None
    assert three.patch == one.patch
    short = planned(heart, 1800.0, networks=2)
    assert short.reasons[0].startswith("One stage: in less than 20 min of a network two reach no more")
