"""Plans of two stages: the fine one keeps the data's spacing where the labels take a small part of the scan."""

from __future__ import annotations

import math

import pytest
from fingerprints import HEART, LABELS, SHORT_AXIS

from vesal.data.case_features import CaseFeatures, LabelFeatures
from vesal.data.fingerprint import CaseRecord, Fingerprint
from vesal.errors import UsageError
from vesal.planning import patch_size
from vesal.planning.cost import count_operations
from vesal.planning.planner import make_plan
from vesal.planning.settings import PlanSettings
from vesal.planning.two_stages import label_gaps, make_located_plan

BOX_MM = (90.0, 80.0, 70.0)


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_size, "cpu_count", lambda: 2)


def hearts(box_mm: tuple[float, ...] | None = BOX_MM) -> Fingerprint:
    """Scans of 400 x 400 x 164 mm, in which the labels fill this box; None: one of them is empty."""
    return labelled(HEART, box_mm)


def labelled(fingerprint: Fingerprint, box_mm: tuple[float, ...] | None = BOX_MM) -> Fingerprint:
    label = LabelFeatures(
        digest="", place=(0.5, 0.5, 0.5), box_mm=box_mm or BOX_MM, shape_picture="", surroundings="", faces=(),
        islands=0, island_voxels=0, island_gap_mm=0.0,
    )  # fmt: skip
    whole = CaseFeatures(picture="", minhash="", blank_slices=0, saturated=(0.0,), label=label)
    cases = [case.model_copy(update={"case_features": whole}) for case in fingerprint.cases]
    if box_mm is None:
        cases[0] = fingerprint.cases[0].model_copy(
            update={"case_features": whole.model_copy(update={"label": None})}
        )
    return fingerprint.model_copy(update={"cases": tuple(cases)})


def test_the_fine_stage_sees_its_whole_box_in_voxels_that_one_stage_cannot_pay_for() -> None:
    one = make_plan(hearts(), LABELS, budget_s=3600, rate=100e9)
    two = make_located_plan(hearts(), LABELS, budget_s=3600, rate=100e9)
    assert min(one.spacing_mm) > 2
    assert two.spacing_mm[0] == pytest.approx(1.2875)
    assert all(patch >= side for patch, side in zip(two.patch, two.median_shape, strict=True))
    assert make_located_plan(hearts(), LABELS, budget_s=7200, rate=100e9).spacing_mm == (1.25, 1.25, 1.37)
    assert two.locator is not None
    # The coarse network sees the whole scan at once.
    assert all(patch >= side for patch, side in zip(two.locator.patch, two.locator.median_shape, strict=True))
    assert two.locator.locator is None
    assert two.normalisation == two.locator.normalisation == one.normalisation


def test_the_coarse_stage_is_cheap_whatever_the_time_and_the_scan() -> None:
    """At 10 GFLOP/s, a fourth of what two cores do, 300 steps take less than its time of a run of five minutes."""
    for budget_s in (180.0, 1200.0, 36_000.0):
        coarse = make_located_plan(hearts(), LABELS, budget_s=budget_s, rate=100e9).locator
        assert coarse is not None
        assert count_operations(coarse) < 12e9
        assert math.prod(coarse.median_shape) <= 40_000
        assert coarse.labels.classes == ("foreground",)
        assert coarse.blocks
        assert coarse.mirror_axes == ()


def test_thick_slices_stay_as_they_are_in_the_coarse_stage() -> None:
    plan = make_located_plan(labelled(SHORT_AXIS, (100.0, 100.0, 80.0)), LABELS, budget_s=1200)
    assert (plan.dimension, plan.slice_axis) == (2, 2)
    assert plan.locator is not None
    assert (plan.locator.dimension, plan.locator.spacing_mm[2]) == (3, 10.0)


def test_the_fine_stage_is_planned_for_the_box_and_its_margin() -> None:
    plan = make_located_plan(hearts(), LABELS, budget_s=3600, rate=100e9)
    assert plan.margin_mm == 20.0  # a quarter of 90 mm is more
    expected = tuple(
        math.ceil((box + 40) / step) for box, step in zip(BOX_MM, HEART.cases[0].ras_spacing_mm, strict=True)
    )
    scale = plan.spacing_mm[0] / 1.25
    assert plan.median_shape == tuple(round(side / scale) for side in expected)
    share = math.prod(expected) / math.prod(HEART.cases[0].shape)
    assert f"20 mm around them are {share:.1%} of the median scan" in plan.reasons[0]


def test_the_margin_holds_a_coarse_voxel_at_least() -> None:
    plan = make_located_plan(hearts((8.0, 8.0, 8.0)), LABELS, budget_s=1200)
    assert plan.locator is not None
    assert plan.margin_mm == pytest.approx(max(plan.locator.spacing_mm), abs=1e-3)


def test_what_a_microscope_sees_is_planned_as_any_scan() -> None:
    """In voxels of 12 nm: a margin and sizes that were rounded to micrometres would be 0, and so would be spacings."""
    unit = 1e-5

    def seen(case: CaseRecord) -> CaseRecord:
        label = case.case_features.label
        small = label.model_copy(update={"box_mm": tuple(unit * side for side in label.box_mm)})
        spacing_mm = tuple(unit * step for step in case.spacing_mm)
        return case.model_copy(
            update={
                "spacing_mm": spacing_mm,
                "ras_spacing_mm": spacing_mm,
                "voxel_volume_mm3": unit**3 * case.voxel_volume_mm3,
                "case_features": case.case_features.model_copy(update={"label": small}),
            }
        )

    scans = hearts((60.0, 50.0, 40.0))
    cells = scans.model_copy(update={"cases": tuple(map(seen, scans.cases))})
    large, small = (make_located_plan(of, LABELS, budget_s=1200, rate=100e9) for of in (scans, cells))
    assert large.locator is not None
    assert small.locator is not None
    assert (small.patch, small.median_shape) == (large.patch, large.median_shape)
    assert small.locator.patch == large.locator.patch
    assert small.locator.spacing_mm == pytest.approx([unit * of for of in large.locator.spacing_mm], rel=1e-3)
    assert small.margin_mm == pytest.approx(unit * large.margin_mm, rel=1e-3)
    assert small.label_sizes == pytest.approx([unit**3 * of for of in large.label_sizes], rel=1e-3)


def test_a_plan_knows_how_far_labels_stay_away_from_the_border() -> None:
    def gaps(*of_cases: tuple[float, ...]) -> tuple[float, ...] | None:
        cases = labelled(hearts()).cases[: len(of_cases)]
        found = []
        for case, own in zip(cases, of_cases, strict=True):
            label = case.case_features.label.model_copy(update={"gaps_mm": own})
            features = case.case_features.model_copy(update={"label": label})
            found.append(case.model_copy(update={"case_features": features}))
        return label_gaps(found)

    assert gaps((9.0, 4.0, 3.0, 1.0, 0.0, 7.0), (2.0, 5.0, 8.0, 1.0, 3.0, 6.0)) == (
        2.0,
        4.0,
        3.0,
        1.0,
        0.0,
        6.0,
    )
    # A record of before.
    assert gaps((9.0, 4.0, 3.0, 1.0, 0.0, 7.0), ()) is None
    assert label_gaps([]) is None


def test_a_case_without_labels_is_no_obstacle_and_none_with_any_is() -> None:
    assert make_located_plan(hearts(None), LABELS, budget_s=1200).locator is not None
    with pytest.raises(UsageError, match="nothing to locate"):
        make_located_plan(HEART, LABELS, budget_s=1200)


def test_settings_are_the_fine_stage_s() -> None:
    asked = PlanSettings(locate=True, patch=(48, 48, 48), budget_s=600.0)
    plan = make_located_plan(hearts(), LABELS, asked)
    assert plan.patch == (48, 48, 48)
    assert plan.locator is not None
    assert plan.locator.patch != plan.patch
