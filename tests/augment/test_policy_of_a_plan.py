"""What the policy leaves alone, and what follows from the plan."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from augment_examples import OFF, PLANS, SHAPES, make_batch, make_plan, only, seeded

from vesal.augment.artifacts.registry import ArtifactConfig
from vesal.augment.config import AugmentConfig
from vesal.augment.policy import Parameters, Policy
from vesal.data.labels import LabelSet
from vesal.errors import UsageError
from vesal.planning.plan import Normalisation, Plan


def test_without_augmentation_the_very_same_tensors_come_back() -> None:
    image, label = make_batch(3)
    policy = Policy(PLANS["3D"], AugmentConfig(enabled=False))
    out = policy.draw(3, SHAPES[3], seeded()).apply(image, label)
    assert out[0] is image
    assert out[1] is label


def test_strength_zero_leaves_only_mirroring() -> None:
    drawn = Policy(PLANS["3D"], AugmentConfig(strength=0, elastic_probability=1)).draw(
        50, SHAPES[3], seeded()
    )
    assert drawn.warp is not None
    assert drawn.mirror is not None
    assert drawn.warp.changed == []
    image, _ = make_batch(3, n=50)
    assert all(record.apply(image) is image for record in drawn.intensity.values())
    assert drawn.mirror.flips.any()


def test_samples_for_which_nothing_was_drawn_are_identical_to_the_bit() -> None:
    policy = Policy(PLANS["3D"], AugmentConfig(rotation_probability=0.5, mirror_probability=0, strength=0.3))
    image, label = make_batch(3, n=24)
    drawn = policy.draw(24, SHAPES[3], seeded())
    assert drawn.warp is not None
    touched = set(drawn.warp.changed)
    for record in drawn.intensity.values():
        out = record.apply(image)
        touched |= {row for row in range(24) if not torch.equal(out[row], image[row])}
    assert 0 < len(touched) < 24
    out_image, out_label = drawn.apply(image, label)
    for row in set(range(24)) - touched:
        assert torch.equal(out_image[row], image[row])
        assert torch.equal(out_label[row], label[row])


# --- what follows from the plan -------------------------------------------------------------------------


def test_zeros_outside_the_body_stay_zero_where_the_plan_normalises_within_it() -> None:
    policy = Policy(make_plan(3, schemes=("zscore_nonzero", "zscore")), only("contrast"))
    image, label = make_batch(3)
    image = image + 3
    image[:, :, :4] = 0
    out, _ = policy.draw(3, SHAPES[3], seeded()).apply(image, label)
    assert (out[:, 0, :4] == 0).all()
    assert (out[:, 0, 4:] != image[:, 0, 4:]).any()
    assert (out[:, 1, :4] != 0).any()


def test_artifacts_see_the_outside_as_dark_and_leave_it_zero() -> None:
    """A scan normalised within the body has its 0 in the middle of its range; no ghost may come of it."""
    plan = make_plan(2, schemes=("zscore_nonzero",))
    config = AugmentConfig(
        **OFF,
        artifacts=ArtifactConfig(ghosting={"probability": 1, "strength": (0.5, 0.5), "period": (4, 4)}),
    )
    policy = Policy(plan, config)
    image = torch.zeros(1, 1, 32, 32)
    image[..., 8:24, 8:24] = torch.randn(16, 16, generator=seeded(3))
    label = torch.zeros(1, 32, 32, dtype=torch.uint8)
    drawn = policy.draw(1, (32, 32), seeded())
    out, _ = drawn.apply(image, label)
    outside = image == 0
    assert (out[outside] == 0).all()
    dark = torch.where(outside, image.min(), image)
    expected = drawn.artifacts["ghosting"].apply(dark)
    assert torch.equal(out[~outside], expected[~outside])
    assert not torch.allclose(
        drawn.artifacts["ghosting"].apply(image)[~outside], expected[~outside], atol=0.01
    )


@pytest.mark.parametrize(
    ("how", "low", "high"),
    [
        (Normalisation(scheme="ct", lower=-100, upper=300, mean=60, std=80), -2.0, 3.0),
        (Normalisation(scheme="window", lower=-100, upper=300), 0.0, 1.0),
    ],
    ids=["ct", "window"],
)
def test_artefacts_leave_nothing_beyond_what_preparation_clips(
    how: Normalisation, low: float, high: float
) -> None:
    """They happen in the scanner, and no scan has metal of 38 standard deviations once it is prepared."""
    plan = make_plan(3, schemes=("zscore", "zscore"))
    plan = plan.model_copy(update={"normalisation": (how, Normalisation(scheme="zscore"))})
    policy = Policy(plan, AugmentConfig(**OFF, artifacts=ArtifactConfig(share=0.8)))
    image = low + (high - low) * torch.rand(60, 2, *SHAPES[3], generator=seeded())
    image[:, 0, 0, 0, 0] = high + 0.1  # a spline's
    label = torch.zeros(60, *SHAPES[3], dtype=torch.uint8)
    drawn = policy.draw(60, SHAPES[3], seeded())
    out, _ = drawn.apply(image, label)
    free, _ = replace(drawn, ranges=()).apply(image, label)
    assert (free[:, 0] > high + 0.1).any()
    assert out[:, 0].min() >= low
    assert out[:, 0].max() <= high + 0.1
    inside = (free[:, 0] >= low) & (free[:, 0] <= high)
    assert torch.equal(out[:, 0][inside], free[:, 0][inside])
    assert torch.equal(out[:, 1], free[:, 1])
    rows = [row for row in range(60) if torch.equal(free[row], image[row])]
    assert 4 < len(rows) < 40
    assert torch.equal(out[rows], image[rows])


@pytest.mark.parametrize("kind", PLANS)
def test_samples_without_an_artefact_are_identical_to_the_bit_beside_others_that_have_one(kind: str) -> None:
    """Also in what the transforms after the artefacts make of them."""
    plan = PLANS[kind].model_copy(update={"normalisation": (Normalisation(scheme="zscore_nonzero"),) * 2})
    config = AugmentConfig(**(OFF | {"contrast_probability": 0.8}), artifacts=ArtifactConfig(probability=0.1))
    policy = Policy(plan, config)
    image, label = make_batch(plan.dimension, n=24)
    image[:, :, :6] = 0
    drawn = policy.draw(24, SHAPES[plan.dimension], seeded())
    out, out_label = drawn.apply(image, label)
    without, _ = replace(drawn, artifacts={}).apply(image, label)
    changed = torch.zeros(24, dtype=torch.bool)
    for record in drawn.artifacts.values():
        changed |= (record.apply(image) != image).flatten(1).any(dim=1)
    same = [torch.equal(out[row], without[row]) for row in range(24)]
    assert same == (~changed).tolist()
    assert 2 < sum(same) < 24
    assert torch.equal(out_label, label)
    assert (out[:, :, :6] == 0).all()


def lateral_case(policy: Policy) -> set[tuple[bool, ...]]:
    drawn = policy.draw(200, (8,) * len(policy.plan.spacing_mm), seeded())
    assert drawn.mirror is not None
    return {tuple(row) for row in drawn.mirror.flips.tolist()}


def test_two_dimensional_images_with_left_and_right_are_not_mirrored() -> None:
    assert lateral_case(Policy(make_plan(2))) == {(False, False)}
    plain = LabelSet.from_values({"background": 0, "tumour": 1})
    assert len(lateral_case(Policy(make_plan(2, labels=plain)))) == 4
    assert len(lateral_case(Policy(make_plan(2, slice_axis=0)))) == 4


def test_mirroring_can_be_confined_to_one_axis() -> None:
    plain = LabelSet.from_values({"background": 0, "tumour": 1})
    only_first = AugmentConfig(mirror_only_axes=(0,))
    assert lateral_case(Policy(make_plan(2, labels=plain), only_first)) == {
        (False, False),
        (True, False),
    }
    never = AugmentConfig(mirror_only_axes=())
    assert lateral_case(Policy(make_plan(2, labels=plain), never)) == {(False, False)}
    # What the plan forbids stays forbidden.
    assert lateral_case(Policy(make_plan(2), only_first)) == {(False, False)}
    with pytest.raises(UsageError, match="mirror_only_axes"):
        Policy(make_plan(2, labels=plain), AugmentConfig(mirror_only_axes=(2,)))


def test_a_lone_left_organ_is_never_mirrored_to_the_right() -> None:
    lone = LabelSet.from_values({"kidney_left": 1, "liver": 2})
    in_3d = lateral_case(Policy(make_plan(3, labels=lone)))
    assert {flips[0] for flips in in_3d} == {False}
    assert len(in_3d) == 4
    assert lateral_case(Policy(make_plan(2, labels=lone))) == {(False, False)}
    assert len(lateral_case(Policy(make_plan(2, labels=lone, slice_axis=0)))) == 4


@pytest.mark.parametrize(
    ("names", "slice_axis", "mirrored", "turned"),
    [
        (("kidney_left", "kidney_right"), None, 0.5, False),
        (("kidney_left", "kidney_right"), 2, 0.5, False),
        (("kidney_left", "liver"), None, 0.5, False),
        (("kidney_left", "kidney_right"), None, 0.0, True),
        (("kidney_left", "kidney_right"), 0, 0.5, True),
        (("kidney", "liver"), None, 0.5, True),
    ],
)
def test_turns_and_mirrors_together_make_no_left_organ_of_a_right_one(
    names: tuple[str, str], slice_axis: int | None, mirrored: float, turned: bool
) -> None:
    """The same image never has two labels, and a lone left organ never lies on the right of a body as it was."""
    labels = LabelSet.from_values({"background": 0, names[0]: 1, names[1]: 2})
    dimension = 3 if slice_axis is None else 2
    plan = make_plan(dimension, labels=labels, slice_axis=slice_axis, schemes=("zscore",))
    config = AugmentConfig(**(OFF | {"rotate90_probability": 0.6, "mirror_probability": mirrored}))
    shape = (8,) * dimension
    image = torch.randn(1, 1, *shape, generator=seeded()).repeat(200, *[1] * (dimension + 1))
    label = torch.zeros(200, *shape, dtype=torch.uint8)
    label[:, :3], label[:, 5:] = 1, 2
    drawn = Policy(plan, config).draw(200, shape, seeded())
    assert (drawn.turn is not None) == turned
    out, out_label = drawn.apply(image, label)
    if slice_axis == 0 or names == ("kidney", "liver"):
        return
    labels_of: dict[bytes, set[bytes]] = {}
    for scan, mask in zip(out, out_label, strict=True):
        labels_of.setdefault(scan.numpy().tobytes(), set()).add(mask.numpy().tobytes())
    assert {len(of) for of in labels_of.values()} == {1}
    if labels.one_sided:
        assert image[0].flip(1).numpy().tobytes() not in labels_of


@pytest.mark.parametrize(
    "names", [("RV", "Myo", "LV"), ("right ventricle", "myocardium", "left ventricle")], ids=str
)
def test_the_heart_is_mirrored_on_all_axes_and_its_ventricles_keep_their_names(
    names: tuple[str, ...],
) -> None:
    heart = LabelSet.from_values({name: i for i, name in enumerate(names, start=1)})
    policy = Policy(make_plan(3, labels=heart))
    assert len(lateral_case(policy)) == 8
    assert policy.draw(1, SHAPES[3], seeded()).mirror.swaps == ()


@pytest.mark.parametrize(
    ("plan", "lateral"),
    [
        (make_plan(3), 0),
        (make_plan(2, slice_axis=2), 0),
        (make_plan(2, slice_axis=1), 0),
        (make_plan(2, slice_axis=0), None),
    ],
    ids=["3D", "axial", "coronal", "sagittal"],
)
def test_a_left_right_mirror_swaps_left_and_right_and_no_other_mirror_does(
    plan: Plan, lateral: int | None
) -> None:
    shape = SHAPES[plan.dimension]
    image, label = torch.zeros(40, 2, *shape), torch.zeros(40, *shape, dtype=torch.uint8)
    # The left organ lies at low indices of the first axis, as it does along R.
    label[:, : shape[0] // 2], label[:, shape[0] // 2 :] = 1, 2
    image[:, 0] = label
    drawn = Policy(plan).draw(40, shape, seeded())
    assert drawn.mirror is not None
    _, out = Parameters(mirror=drawn.mirror).apply(image, label)
    for row, flips in enumerate(drawn.mirror.flips.tolist()):
        if lateral is not None:
            assert torch.equal(out[row], label[row]), "left has to stay at the patient's left"
        else:
            expected = (
                label[row].flip([axis for axis, flip in enumerate(flips) if flip])
                if any(flips)
                else label[row]
            )
            assert torch.equal(out[row], expected)
    assert drawn.mirror.flips[:, 0].any()
