"""A model's plan for other data."""

from __future__ import annotations

from typing import Any

import pytest
from fingerprints import HEART, LABELS, SHORT_AXIS
from test_two_stages import labelled

from vesal.data.labels import LabelSet
from vesal.errors import UsageError
from vesal.planning.adapted_plan import adapted_plan
from vesal.planning.plan import Normalisation, Plan
from vesal.planning.planner import make_plan
from vesal.planning.settings import PlanSettings
from vesal.planning.two_stages import make_located_plan

OTHER = LabelSet.from_values({"scar": 3})
CT = Normalisation(scheme="ct", lower=-100.0, upper=300.0, mean=50.0, std=70.0)


def model(**changes: Any) -> Plan:
    plan = make_plan(HEART, LABELS, PlanSettings(patch=(64, 64, 32)), budget_s=600)
    return Plan.model_validate({**plan.model_dump(), **changes})


def test_what_the_weights_were_learned_with_stays_and_labels_are_the_datas() -> None:
    kept = ("spacing_mm", "patch", "batch", "stages", "heads", "normalisation", "image_order", "mirror_axes")
    old = model(networks=3, mirror_axes=(1,))
    new = adapted_plan(old, "m.vesal", HEART, OTHER)
    assert {name: getattr(new, name) for name in kept} == {name: getattr(old, name) for name in kept}
    assert new.labels == OTHER
    assert new.networks == 1
    assert new.median_shape == old.median_shape
    assert "m.vesal" in new.reasons[0]


def test_an_imported_model_no_longer_mirrors_left_and_right_where_labels_name_them() -> None:
    # nnU-Net mirrors without swapping labels; a training of ours swaps them.
    sided = LabelSet.from_values({"kidney_left": 1, "kidney_right": 2})
    imported = model(rules="nnunet", mirror_axes=(0, 1, 2))
    assert adapted_plan(imported, "m", HEART, sided).mirror_axes == (1, 2)
    assert adapted_plan(imported, "m", HEART, OTHER).mirror_axes == (0, 1, 2)
    assert adapted_plan(model(mirror_axes=(0, 1, 2)), "m", HEART, sided).mirror_axes == (0, 1, 2)


def test_sigmoids_stay_sigmoids() -> None:
    assert adapted_plan(model(labels=LABELS.as_regions()), "m", HEART, OTHER).labels == OTHER.as_regions()


def test_channels_are_normalised_by_their_names_and_unknown_ones_as_the_planner_would() -> None:
    first = HEART.channels[0]
    two = HEART.model_copy(
        update={
            "channels": (first.upper(), "new"),
            "cases": tuple(
                case.model_copy(update={"channels": (*case.channels, *case.channels)}) for case in HEART.cases
            ),
        }
    )
    found = adapted_plan(model(normalisation=(CT,)), "m", two, LABELS)
    assert found.normalisation == (CT, Normalisation(scheme="zscore"))
    assert any("new (zscore)" in reason for reason in found.reasons)
    unknown = HEART.model_copy(update={"channels": ("something",)})
    assert adapted_plan(model(normalisation=(CT,)), "m", unknown, LABELS).normalisation == (CT,)


def test_patch_and_batch_may_be_chosen_and_a_patch_is_enlarged_to_the_strides() -> None:
    old = model()
    asked = PlanSettings(batch=1, patch=(33, 40, 20))
    new = adapted_plan(old, "m", HEART, LABELS, asked)
    assert new.batch == 1
    assert all(
        size >= wanted and size % step == 0
        for size, wanted, step in zip(new.patch, asked.patch or (), old.total_stride, strict=True)
    )
    with pytest.raises(UsageError, match="needs 3 numbers"):
        adapted_plan(old, "m", HEART, LABELS, PlanSettings(patch=(32, 32)))


def test_scans_with_other_axes_are_refused() -> None:
    flat = HEART.model_copy(
        update={"cases": tuple(case.model_copy(update={"ras_shape": (64, 64)}) for case in HEART.cases)}
    )
    with pytest.raises(UsageError, match="trained on 3D scans and these are 2D"):
        adapted_plan(model(), "m", flat, LABELS)


def test_a_2d_plan_of_volumes_keeps_its_slices() -> None:
    old = make_plan(SHORT_AXIS, LABELS)
    assert old.slice_axis is not None
    new = adapted_plan(old, "m", SHORT_AXIS, OTHER)
    assert (new.slice_axis, new.median_shape) == (old.slice_axis, old.median_shape)


def test_of_two_stages_both_are_fitted() -> None:
    old = make_located_plan(labelled(HEART), LABELS, budget_s=3600, rate=100e9)
    new = adapted_plan(old, "m", labelled(HEART), OTHER)
    assert old.locator is not None
    assert new.locator is not None
    assert new.locator.stages == old.locator.stages
    assert new.locator.labels.regions[0].members == ("scar",)
    assert new.locator.normalisation == new.normalisation
    assert new.median_shape == old.median_shape
