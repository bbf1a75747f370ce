"""The planner's rules, each on fingerprints made for it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from fingerprints import (
    ABDOMEN,
    HEART,
    HIPPOCAMPUS,
    LABELS,
    PHOTOS,
    PROSTATE,
    SHORT_AXIS,
    prints,
    record,
)
from pydantic import ValidationError

from vesal.data.fingerprint import Failure, Fingerprint, fingerprint
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError
from vesal.planning import patch_size
from vesal.planning.cost import count_operations
from vesal.planning.plan import Plan
from vesal.planning.planner import make_plan
from vesal.planning.settings import PlanSettings

MINUTES = 60.0


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_size, "cpu_count", lambda: 2)


def features(plan: Plan) -> list[int]:
    return [stage.features for stage in plan.stages]


# --- whole plans -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minutes", "wanted"),
    [
        (5, [8, 32, 64, 128]),
        (15, [16, 32, 64, 128]),
        (60, [16, 32, 64, 128]),
        (120, [32, 64, 128, 256]),
    ],
)
def test_small_volumes_are_taken_whole_by_a_network_that_is_as_wide_as_the_time_pays_for(
    minutes: int, wanted: list[int]
) -> None:
    plan = make_plan(HIPPOCAMPUS, LABELS, budget_s=minutes * MINUTES)
    assert (plan.dimension, plan.patch, plan.batch, plan.heads) == (3, (40, 56, 40), 2, 2)
    assert features(plan) == wanted
    assert plan.total_stride == (8, 8, 8)
    assert plan.spacing_mm == (1.0, 1.0, 1.0)


def test_slices_get_a_wider_network_only_where_the_time_pays_for_many_of_them_in_a_step() -> None:
    plans = {hours: make_plan(SHORT_AXIS, LABELS, budget_s=3600.0 * hours) for hours in (0.25, 1, 12, 72)}
    assert {plan.dimension for plan in plans.values()} == {2}
    assert [features(plan)[0] for plan in plans.values()] == [8, 8, 16, 32]
    assert [plan.batch for plan in plans.values()] == [5, 8, 8, 8]


def test_a_gpu_without_a_limit_of_time_gets_the_plan_of_nnunet() -> None:
    plan = make_plan(HIPPOCAMPUS, LABELS, device="cuda")
    assert (plan.patch, features(plan), plan.heads) == ((40, 56, 40), [32, 64, 128, 256], 2)
    assert 6 <= plan.batch <= 10  # nnU-Net: 9
    large = make_plan(ABDOMEN, LABELS, device="cuda:1")
    assert large.spacing_mm == (0.8, 0.8, 1.0)
    assert features(large) == [32, 64, 128, 256, 320, 320]
    assert 0.5 < math.prod(large.patch) / 128**3 < 2  # nnU-Net's 8 GB give about 128 x 128 x 128
    assert large.heads == 4
    assert large.batch == 2


def test_the_plan_says_when_left_and_right_are_not_mirrored() -> None:
    lone = LabelSet.from_values({"kidney_left": 1, "tumour": 2})
    assert any("left/right axis is not mirrored" in reason for reason in make_plan(ABDOMEN, lone).reasons)
    assert not any("not mirrored" in reason for reason in make_plan(ABDOMEN, LABELS).reasons)


# --- single rules ----------------------------------------------------------------------------------------


def test_the_plan_says_which_values_no_region_writes() -> None:
    values = {"organ": 1, "rim": 2, "tumour": 3}
    whole = {"all": ["organ", "rim", "tumour"], "tumour": ["tumour"]}
    labels = LabelSet.from_values(values, regions=whole)
    reasons = make_plan(HIPPOCAMPUS, labels, budget_s=600).reasons
    assert any("Value 2 (rim) is never written into a predicted label map" in reason for reason in reasons)
    whole = {**whole, "rim and tumour": ["rim", "tumour"]}
    full = LabelSet.from_values(
        values, regions={name: whole[name] for name in ("all", "rim and tumour", "tumour")}
    )
    assert not any("never written" in reason for reason in make_plan(HIPPOCAMPUS, full, budget_s=600).reasons)


def test_the_spacing_is_the_median_and_a_coarse_axis_takes_its_tenth_percentile() -> None:
    thick = [record(i, (256, 256, 30), (0.5, 0.5, z)) for i, z in enumerate((3.0, 5.0, 5.0, 5.0, 6.0))]
    plan = make_plan(Fingerprint(dataset="x", channels=("MRI",), cases=tuple(thick)), LABELS, device="cuda")
    assert plan.spacing_mm == pytest.approx((0.5, 0.5, np.percentile([3, 5, 5, 5, 6], 10)))
    equal = [record(i, (64, 64, 64), (s, s, s)) for i, s in enumerate((1.0, 1.2, 3.0))]
    plan = make_plan(Fingerprint(dataset="x", channels=("MRI",), cases=tuple(equal)), LABELS, device="cuda")
    assert plan.spacing_mm == pytest.approx((1.2, 1.2, 1.2))


def test_few_thick_slices_are_planned_in_2d_and_many_in_3d() -> None:
    flat = make_plan(SHORT_AXIS, LABELS, budget_s=20 * MINUTES)
    assert (flat.dimension, flat.slice_axis, len(flat.patch)) == (2, 2, 2)
    assert flat.spacing_mm == (1.5625, 1.5625)
    assert flat.median_shape == (223, 255)
    assert make_plan(PROSTATE, LABELS, budget_s=20 * MINUTES).dimension == 3
    assert make_plan(prints((223, 255, 10), (3.0, 3.0, 4.0)), LABELS).dimension == 3
    assert make_plan(prints((200, 1, 200), (1.0, 1.0, 1.0)), LABELS).slice_axis == 1


def test_the_dimension_that_is_asked_for_is_taken() -> None:
    assert make_plan(SHORT_AXIS, LABELS, PlanSettings(dimension=3)).dimension == 3
    plan = make_plan(HEART, LABELS, PlanSettings(dimension=2))
    assert (plan.dimension, plan.slice_axis) == (2, 2)
    sagittal = make_plan(prints((24, 256, 256), (4.0, 1.0, 1.0)), LABELS, PlanSettings(dimension=2))
    assert (sagittal.slice_axis, sagittal.spacing_mm) == (0, (1.0, 1.0))
    cells = make_plan(prints((900, 200, 300), (1e-4, 1e-4, 4e-4)), LABELS, PlanSettings(dimension=2))
    assert cells.slice_axis == 2, "the coarsest, of a light sheet's voxels too"


def test_ct_is_clipped_by_its_foreground_and_other_channels_are_scored_by_image() -> None:
    ct = make_plan(ABDOMEN, LABELS, device="cuda").normalisation[0]
    samples = (-50.0, 20.0, 40.0, 60.0, 300.0) * len(ABDOMEN.cases)
    assert ct.scheme == "ct"
    assert (ct.lower, ct.upper) == pytest.approx(tuple(np.percentile(samples, (0.5, 99.5))))
    assert (ct.mean, ct.std) == pytest.approx((np.mean(samples), np.std(samples)))
    schemes = [n.scheme for n in make_plan(PROSTATE, LABELS).normalisation]
    assert schemes == ["zscore", "zscore"]
    named = prints((64, 64, 64), (1.0, 1.0, 1.0), names=("noNorm", "rescale_to_0_1", "CT"))
    # A CT without a labelled voxel tells no foreground intensities.
    assert [n.scheme for n in make_plan(named, LABELS).normalisation] == ["none", "minmax", "zscore"]


@pytest.mark.parametrize(("crop", "scheme"), [((100, 100, 74), "zscore_nonzero"), ((100, 100, 76), "zscore")])
def test_scans_that_are_mostly_empty_are_scored_over_their_nonzero_voxels(crop, scheme: str) -> None:
    plan = make_plan(prints((100, 100, 100), (1.0, 1.0, 1.0), crop=crop), LABELS)
    assert plan.normalisation[0].scheme == scheme
    assert plan.crop_to_nonzero


def test_what_is_asked_for_is_taken_and_told() -> None:
    plan = make_plan(
        HEART, LABELS, PlanSettings(spacing_mm=(2, 2, 2), patch=(60, 60, 60), batch=3), budget_s=600
    )
    assert (plan.spacing_mm, plan.batch) == ((2.0, 2.0, 2.0), 3)
    assert plan.patch == (64, 64, 64)  # in multiples of the strides, never less than asked
    assert any("as asked" in reason for reason in plan.reasons)
    assert make_plan(HEART, LABELS, PlanSettings(patch=(64, 64, 64)), budget_s=600).spacing_mm == (
        1.25,
        1.25,
        1.37,
    )


# --- what cannot be planned ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"device": "tpu"}, "cpu, cuda, mps"),
        ({"budget_s": 0}, "budget"),
        ({"budget_s": math.nan}, "budget"),
        ({"rate": 0.0}, "rate"),
        ({"settings": PlanSettings(spacing_mm=(1, 1))}, "3 positive numbers"),
        ({"settings": PlanSettings(patch=(8, 8))}, "3 positive numbers"),
        ({"settings": PlanSettings(heads=40)}, "40 resolutions with a loss do not fit"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_plan(HIPPOCAMPUS, LABELS, **settings)


@pytest.mark.parametrize(
    "wish", [{"memory_gb": -1}, {"dimension": 4}, {"patch": (8, 8, 0)}, {"batch": 0}, {"width": 0}]
)
def test_wishes_out_of_range_are_refused_where_they_are_made(wish: dict) -> None:
    with pytest.raises(ValidationError, match=next(iter(wish))):
        PlanSettings(**wish)


def test_a_named_network_is_planned_as_it_was_drawn() -> None:
    asked = PlanSettings(
        features=(16, 32, 64), patch=(60, 64, 30), convolutions=3, norm="batch", activation="prelu",
        pooling=True, bias=True, normalisation={"scheme": "minmax"}, foreground_channel=True, sigmoid=True,
    )  # fmt: skip
    plan = make_plan(HEART, LABELS, asked, budget_s=20 * MINUTES)
    assert [stage.features for stage in plan.stages] == [16, 32, 64]
    assert {stage.convolutions for stage in plan.stages} == {3}
    assert plan.total_stride == (4, 4, 4)
    assert plan.patch == (60, 64, 32)
    assert (plan.norm, plan.activation, plan.pooling, plan.bias) == ("batch", "prelu", True, True)
    assert [how.scheme for how in plan.normalisation] == ["minmax"]
    assert plan.inputs == 2
    assert plan.labels.outputs == len(LABELS.labels)
    half = make_plan(HEART, LABELS, asked.model_copy(update={"width": 0.5}))
    assert [stage.features for stage in half.stages] == [8, 16, 32]


@pytest.mark.parametrize("wish", [{"features": (64, 128, 256)}, {"width": 2}, {"convolutions": 4}, {}])
def test_the_cost_that_is_told_is_that_of_the_network_as_asked(wish: dict) -> None:
    plan = make_plan(HEART, LABELS, PlanSettings(**wish), budget_s=20 * MINUTES)
    told = next(reason for reason in plan.reasons if reason.startswith("Patch"))
    assert told.startswith(f"Patch {' x '.join(map(str, plan.patch))}: ")
    cost = float(told.rpartition("), ")[2].partition(" GFLOP")[0].replace(",", ""))
    assert cost == pytest.approx(count_operations(plan) / plan.batch * 2 / 1e9, rel=5e-3)


def test_a_data_set_that_cannot_be_planned_is_told() -> None:
    empty = Fingerprint(
        dataset="nothing", channels=("MRI",), cases=(), failures=(Failure(id="a", message="b"),)
    )
    with pytest.raises(DataError, match=r"nothing has no readable annotated case \(1 could not be read\)"):
        make_plan(empty, LABELS)
    mixed = Fingerprint(dataset="x", channels=("red", "green", "blue"), cases=(*PHOTOS.cases, *HEART.cases))
    with pytest.raises(DataError, match="2D and case case_0 3D"):
        make_plan(mixed, LABELS)
    with pytest.raises(DataError, match="case_0 is 1 where the data set declares 2"):
        make_plan(HEART.model_copy(update={"channels": ("T1", "T2")}), LABELS)
    with pytest.raises(UsageError, match="2D"):
        make_plan(PHOTOS, LABELS, PlanSettings(dimension=3))


# --- the arithmetic --------------------------------------------------------------------------------------


def test_planning_imports_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, vesal.planning.planner, vesal.preprocessing.prepare, vesal.preprocessing.patches; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_real_hippocampus_data_get_the_plan_that_is_known_to_work(data_dir: Path) -> None:
    from vesal.layouts.registry import load_dataset

    dataset = load_dataset(data_dir / "Task04_Hippocampus")
    plan = make_plan(fingerprint(dataset), dataset.labels, budget_s=20 * MINUTES)
    assert (plan.patch, plan.batch, plan.heads, features(plan)) == ((40, 56, 40), 2, 2, [16, 32, 64, 128])


def test_a_run_of_steps_can_be_planned_for_a_time() -> None:
    for seconds in (60.0, 6000.0):
        asked = make_plan(HEART, LABELS, PlanSettings(budget_s=seconds))
        assert asked == make_plan(HEART, LABELS, budget_s=seconds)
