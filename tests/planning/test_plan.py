"""The plan as a frozen, versioned record."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from vesal.data.labels import LabelSet
from vesal.errors import VesalError
from vesal.files import content_hash
from vesal.infer.model import Model
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.preprocessing import cache


def make(**changes) -> Plan:
    settings = {
        "dimension": 3,
        "spacing_mm": (1.0, 1.0, 2.0),
        "patch": (16, 16, 8),
        "batch": 2,
        "stages": (
            Stage(features=8, kernel=(3, 3, 1), stride=(1, 1, 1)),
            Stage(features=16, kernel=(3, 3, 3), stride=(2, 2, 1)),
            Stage(features=32, kernel=(3, 3, 3), stride=(2, 2, 2)),
        ),
        "heads": 2,
        "normalisation": (Normalisation(scheme="zscore"),),
        "mirror_axes": (0, 1, 2),
        "channels": ("MRI",),
        "labels": LabelSet.from_values({"background": 0, "organ": 3}),
        "median_shape": (20, 20, 10),
    }
    return Plan(**(settings | changes))


def test_a_saved_plan_comes_back_equal(tmp_path: Path) -> None:
    plan = make(reasons=("Because.",))
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    assert json.loads((tmp_path / "plan.json").read_text())["version"] == 1


def test_a_plan_is_frozen_and_knows_its_strides() -> None:
    plan = make()
    assert plan.total_stride == (4, 4, 2)
    with pytest.raises(ValidationError):
        plan.batch = 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patch": (18, 16, 8)}, "not a multiple of the strides"),
        ({"patch": (16, 16)}, "3 axes each"),
        ({"dimension": 2}, "2 axes each"),
        ({"heads": 3}, "3 heads do not fit 3 stages"),
        ({"channels": ("T1", "T2")}, "2 channels but 1 normalisations"),
        ({"version": 2}, "plan version 2"),
        ({"colour": "blue"}, "Extra inputs"),
    ],
)
def test_contradictions_raise_when_the_plan_is_made(changes: dict, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        make(**changes)


@pytest.mark.parametrize(("scheme", "modality"), [("ct", "CT"), ("window", "MR"), ("zscore", "MR")])
def test_scans_are_ct_only_where_a_channel_is_normalised_as_ct(scheme: str, modality: str) -> None:
    how = Normalisation(scheme=scheme, lower=0.0, upper=1.0, mean=0.5, std=1.0)
    assert make(normalisation=(how,)).modality == modality


@pytest.mark.parametrize(
    ("scheme", "given"), [("ct", {"lower": 0.0, "upper": 1.0, "mean": 0.5}), ("window", {"lower": 0.0})]
)
def test_a_normalisation_without_its_numbers_is_refused(scheme: str, given: dict) -> None:
    with pytest.raises(ValidationError, match="needs"):
        Normalisation(scheme=scheme, **given)


@pytest.mark.parametrize("text", ["{", "{}", '{"version": 9}', "[1, 2]"])
def test_a_file_that_is_no_plan_is_told_in_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(VesalError, match=r"plan\.json"):
        Plan.load(tmp_path / "plan.json")


#: As a plan was stored before it had `rules`, `axis_order`, `as_stored` and `Stage.decoder`.
STORED = {
    "dimension": 3,
    "spacing_mm": [1.0, 1.0, 1.0],
    "patch": [8, 8, 8],
    "batch": 1,
    "stages": [
        {"features": 4, "kernel": [3, 3, 3], "stride": [1, 1, 1]},
        {"features": 8, "kernel": [3, 3, 3], "stride": [2, 2, 2]},
    ],
    "normalisation": [{"scheme": "zscore"}],
    "mirror_axes": [0],
    "channels": ["MRI"],
    "labels": {"labels": [{"name": "organ", "value": 1}]},
    "median_shape": [8, 8, 8],
}


def digests(**changes: object) -> tuple[str, str]:
    """(of the model, of what its preparation depends on) of the stored plan with a locator like it."""
    plan = Plan.model_validate(STORED | {"locator": STORED} | changes)
    model = Model(plan, (), None, (SimpleNamespace(weights_digest="weights"),))
    return model.digest, content_hash(cache._plan_key(plan, 0))


def test_digests_of_plans_of_before_stay_whatever_fields_came_later() -> None:
    """Else results are made anew, and scans prepared again, for a field that changes nothing. As the version computed
    them that did not have these fields yet; whoever adds a field to a plan names it in `vesal.planning.plan`."""
    before = ("eb5ac8e9da2521f0ca5b5c000d13f923", "3b85759b6425d10a9a75ac0de5a31b4c")
    assert digests() == before
    with_defaults = [stage | {"decoder": None} for stage in STORED["stages"]]
    assert digests(rules="vesal", axis_order=None, as_stored=False, stages=with_defaults) == before
    assert digests(rules="nnunet")[1] != before[1]
    deeper = [stage | {"decoder": 3} for stage in STORED["stages"]]
    assert digests(stages=deeper)[0] != before[0]
    assert digests(locator=STORED | {"as_stored": True})[0] != before[0]
    assert digests(handed_on="box") == before
    cascade = {"rules": "nnunet", "handed_on": "mask", "locator": STORED | {"rules": "nnunet"}}
    assert digests(**cascade)[0] != digests(**cascade | {"handed_on": "box"})[0]


def test_a_plan_that_takes_masks_has_a_channel_a_label_more_and_looks_in_no_box() -> None:
    labels = {"labels": [{"name": "organ", "value": 1}, {"name": "lesion", "value": 2}]}
    first = STORED | {"rules": "nnunet", "labels": labels}
    plan = Plan.model_validate(first | {"locator": first, "handed_on": "mask"})
    assert (plan.inputs, plan.takes_masks, plan.looks_in_box) == (3, True, False)
    boxed = Plan.model_validate(first | {"locator": first})
    assert (boxed.inputs, boxed.takes_masks, boxed.looks_in_box) == (1, False, True)
    for wrong, words in (
        ({"locator": None}, "by nnU-Net's cascade alone"),
        ({"rules": "vesal"}, "by nnU-Net's cascade alone"),
        ({"locator": first | {"rules": "vesal"}}, "by nnU-Net's cascade alone"),
        ({"locator": first | {"labels": STORED["labels"]}}, "of other scans or labels"),
    ):
        with pytest.raises(ValidationError, match=words):
            Plan.model_validate(first | {"locator": first, "handed_on": "mask"} | wrong)
