"""The augmentation policy: what every transform owes, what is drawn, what follows from the plan."""

from __future__ import annotations

import json

import pytest
import torch
from pydantic import ValidationError

from vesal.augment.policy import INTENSITY, AugmentConfig, Parameters, Policy, default_policy
from vesal.data.labels import LabelSet
from vesal.data.plan import Normalisation, Plan, Stage

STRONG = AugmentConfig(strength=20, elastic_chance=0.3, mirror_chance=0.5)
SHAPES = {2: (24, 20), 3: (16, 20, 12)}


def make_plan(
    dimension: int = 3,
    *,
    spacing_mm: tuple[float, ...] | None = None,
    slice_axis: int | None = None,
    labels: LabelSet | None = None,
    schemes: tuple[str, ...] = ("zscore", "zscore"),
) -> Plan:
    ones = (1,) * dimension
    return Plan(
        dimension=dimension,
        slice_axis=slice_axis,
        spacing_mm=spacing_mm or (1.0,) * dimension,
        patch=SHAPES[dimension],
        batch=2,
        stages=(Stage(features=8, kernel=(3,) * dimension, stride=ones),),
        normalisation=tuple(Normalisation(scheme=scheme) for scheme in schemes),
        mirror_axes=tuple(range(dimension)),
        channels=tuple(f"channel {i}" for i in range(len(schemes))),
        labels=labels or LabelSet.from_values({"background": 0, "left": 1, "right": 2, "heart": 3}),
        median_shape=SHAPES[dimension],
    )


def make_batch(dimension: int, n: int = 3, channels: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn((n, channels, *SHAPES[dimension]), generator=generator)
    values = torch.tensor([0, 1, 2, 3, 255], dtype=torch.uint8)
    return image, values[torch.randint(0, 5, (n, *SHAPES[dimension]), generator=generator)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def only(name: str) -> AugmentConfig:
    """A configuration in which one transform is certain and all others are off."""
    chances = {field: 0.0 for field in AugmentConfig.model_fields if field.endswith("_chance")}
    return AugmentConfig(**(chances | {f"{name}_chance": 1.0, "channel_chance": 1.0}))


FAMILY = ["rotation", "scale", "elastic", "mirror", *INTENSITY]
PLANS = {
    "3D": make_plan(3, spacing_mm=(1.0, 1.5, 2.0)),
    "3D with thick slices": make_plan(3, spacing_mm=(1.0, 1.5, 8.0)),
    "2D": make_plan(2, slice_axis=2),
}


# --- what every transform owes --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PLANS)
@pytest.mark.parametrize("name", FAMILY)
def test_every_transform_keeps_shape_type_and_label_values_and_changes_the_image(
    name: str, kind: str
) -> None:
    plan = PLANS[kind]
    policy = default_policy(plan, only(name))
    image, label = make_batch(plan.dimension)
    before = image.clone(), label.clone()
    # Of several mirror draws one may hold no flip at all.
    drawn = [policy.draw(3, SHAPES[plan.dimension], seeded(seed)) for seed in range(4)]
    results = [policy.apply(image, label, parameters) for parameters in drawn]
    for out_image, out_label in results:
        assert out_image.shape == image.shape
        assert out_image.dtype == torch.float32
        assert out_image.isfinite().all()
        assert out_label.shape == label.shape
        assert out_label.dtype == torch.uint8
        assert set(out_label.unique().tolist()) <= {0, 1, 2, 3, 255}
        if name in INTENSITY:
            assert torch.equal(out_label, label)
    assert any(not torch.equal(out_image, image) for out_image, _ in results)
    assert torch.equal(image, before[0]), "the input was written to"
    assert torch.equal(label, before[1]), "the input was written to"


@pytest.mark.parametrize("kind", PLANS)
@pytest.mark.parametrize("name", FAMILY)
def test_parameters_that_went_through_json_give_the_same_result_to_the_bit(name: str, kind: str) -> None:
    plan = PLANS[kind]
    policy = default_policy(plan, only(name))
    image, label = make_batch(plan.dimension)
    parameters = policy.draw(3, SHAPES[plan.dimension], seeded(5))
    replayed = Parameters.from_dict(json.loads(json.dumps(parameters.to_dict())))
    first, again = policy.apply(image, label, parameters), policy.apply(image, label, parameters)
    other = policy.apply(image, label, replayed)
    for a, b, c in zip(first, again, other, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


@pytest.mark.parametrize("kind", PLANS)
def test_a_strong_policy_of_everything_replays_identically(kind: str) -> None:
    plan = PLANS[kind]
    policy = default_policy(plan, STRONG)
    image, label = make_batch(plan.dimension)
    for seed in range(5):
        parameters = policy.draw(3, SHAPES[plan.dimension], seeded(seed))
        replayed = Parameters.from_dict(json.loads(json.dumps(parameters.to_dict())))
        first, second = (policy.apply(image, label, of) for of in (parameters, replayed))
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[1], second[1])


@pytest.mark.parametrize("kind", PLANS)
def test_a_constant_image_stays_finite(kind: str) -> None:
    plan = PLANS[kind]
    policy = default_policy(plan, STRONG)
    _, label = make_batch(plan.dimension)
    image = torch.full((3, 2, *SHAPES[plan.dimension]), 0.7)
    for seed in range(5):
        out, _ = policy.apply(image, label, policy.draw(3, SHAPES[plan.dimension], seeded(seed)))
        assert out.isfinite().all()


# --- drawing --------------------------------------------------------------------------------------------


def test_drawing_is_a_function_of_the_generator_alone() -> None:
    policy = default_policy(PLANS["3D"], STRONG)
    torch.manual_seed(1)
    first = policy.draw(4, SHAPES[3], seeded(3)).to_dict()
    torch.manual_seed(2)
    assert policy.draw(4, SHAPES[3], seeded(3)).to_dict() == first
    assert policy.draw(4, SHAPES[3], seeded(4)).to_dict() != first


def test_applying_draws_nothing_from_the_global_generator() -> None:
    policy = default_policy(PLANS["3D"], STRONG)
    image, label = make_batch(3)
    parameters = policy.draw(3, SHAPES[3], seeded())
    state = torch.get_rng_state()
    policy.apply(image, label, parameters)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_chances_are_those_of_the_configuration() -> None:
    policy = default_policy(make_plan(3, schemes=("zscore",)))
    drawn = policy.draw(20_000, SHAPES[3], seeded())
    assert drawn.warp is not None
    assert drawn.mirror is not None
    record = drawn.intensity
    found = {
        "rotation": (drawn.warp.angles != 0).all(dim=1),
        "scale": drawn.warp.scale != 1,
        "mirror": drawn.mirror.flips[:, 1],
        "noise": record["noise"].std > 0,
        "blur": (record["blur"].sigma > 0).all(dim=2),
        "brightness": record["brightness"].factor != 1,
        "contrast": record["contrast"].factor != 1,
        "low_resolution": record["low_resolution"].share < 1,
        "gamma": record["gamma"].exponent != 1,
        "gamma_of_inverse": record["gamma_of_inverse"].exponent != 1,
    }
    for name, chosen in found.items():
        chance = getattr(AugmentConfig(), f"{name}_chance")
        assert chosen.float().mean().item() == pytest.approx(chance, abs=0.015), name


def test_what_is_drawn_stays_in_its_range() -> None:
    drawn = default_policy(PLANS["3D"], AugmentConfig(strength=100)).draw(5_000, SHAPES[3], seeded())
    assert drawn.warp is not None
    config = AugmentConfig()
    assert 29 < drawn.warp.angles.abs().max() <= config.rotation_degrees
    factors = {
        config.scale_range: drawn.warp.scale,
        config.noise_range: drawn.intensity["noise"].std,
        config.blur_range: drawn.intensity["blur"].sigma[drawn.intensity["blur"].sigma > 0],
        config.low_resolution_range: drawn.intensity["low_resolution"].share,
        config.gamma_range: drawn.intensity["gamma"].exponent,
        config.brightness_range: drawn.intensity["brightness"].factor,
    }
    for (low, high), values in factors.items():
        width = high - low
        assert low - 1e-6 <= values.min() < low + 0.05 * width
        assert high - 0.05 * width < values.max() <= high + 1e-6


def test_changing_one_chance_leaves_what_the_others_draw() -> None:
    plan = PLANS["3D"]
    usual = default_policy(plan).draw(8, SHAPES[3], seeded()).to_dict()
    config = AugmentConfig(rotation_chance=0.9, noise_chance=0.0, elastic_chance=0.5)
    other = default_policy(plan, config).draw(8, SHAPES[3], seeded()).to_dict()
    assert other["warp"]["angles"] != usual["warp"]["angles"]
    assert other["warp"]["scale"] == usual["warp"]["scale"]
    assert other["mirror"] == usual["mirror"]
    assert other["intensity"]["gamma"] == usual["intensity"]["gamma"]


def test_a_generator_of_another_device_or_another_shape_is_refused() -> None:
    policy = default_policy(PLANS["3D"])
    with pytest.raises(ValueError, match="3 axes"):
        policy.draw(2, (8, 8), seeded())


# --- configuration --------------------------------------------------------------------------------------


def test_without_augmentation_the_very_same_tensors_come_back() -> None:
    image, label = make_batch(3)
    policy = default_policy(PLANS["3D"], AugmentConfig.none())
    out = policy.apply(image, label, policy.draw(3, SHAPES[3], seeded()))
    assert out[0] is image
    assert out[1] is label


def test_strength_zero_leaves_only_mirroring() -> None:
    drawn = default_policy(PLANS["3D"], AugmentConfig(strength=0, elastic_chance=1)).draw(
        50, SHAPES[3], seeded()
    )
    assert drawn.warp is not None
    assert drawn.mirror is not None
    assert drawn.warp.changed == []
    image, _ = make_batch(3, n=50)
    assert all(record.apply(image) is image for record in drawn.intensity.values())
    assert drawn.mirror.flips.any()


def test_samples_for_which_nothing_was_drawn_are_identical_to_the_bit() -> None:
    policy = default_policy(PLANS["3D"], AugmentConfig(rotation_chance=0.5, mirror_chance=0, strength=0.3))
    image, label = make_batch(3, n=24)
    drawn = policy.draw(24, SHAPES[3], seeded())
    assert drawn.warp is not None
    touched = set(drawn.warp.changed)
    for record in drawn.intensity.values():
        out = record.apply(image)
        touched |= {row for row in range(24) if not torch.equal(out[row], image[row])}
    assert 0 < len(touched) < 24
    out_image, out_label = policy.apply(image, label, drawn)
    for row in set(range(24)) - touched:
        assert torch.equal(out_image[row], image[row])
        assert torch.equal(out_label[row], label[row])


@pytest.mark.parametrize(
    "wrong",
    [
        {"noise_chance": 1.5},
        {"scale_range": (1.4, 0.7)},
        {"gamma_range": (0.0, 1.0)},
        {"low_resolution_range": (0.5, 2.0)},
        {"no_such_field": 1},
    ],
)
def test_a_contradictory_configuration_raises_when_it_is_made(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AugmentConfig(**wrong)


def test_every_field_of_the_configuration_has_its_help() -> None:
    for name, field in AugmentConfig.model_fields.items():
        assert field.description, name
    assert AugmentConfig.model_validate_json(AugmentConfig().model_dump_json()) == AugmentConfig()


# --- what follows from the plan -------------------------------------------------------------------------


def test_zeros_outside_the_body_stay_zero_where_the_plan_normalises_within_it() -> None:
    policy = default_policy(make_plan(3, schemes=("zscore_nonzero", "zscore")), only("contrast"))
    image, label = make_batch(3)
    image = image + 3
    image[:, :, :4] = 0
    out, _ = policy.apply(image, label, policy.draw(3, SHAPES[3], seeded()))
    assert (out[:, 0, :4] == 0).all()
    assert (out[:, 0, 4:] != image[:, 0, 4:]).any()
    assert (out[:, 1, :4] != 0).any()


def lateral_case(policy: Policy) -> set[tuple[bool, ...]]:
    drawn = policy.draw(200, (8,) * len(policy.spacing_mm), seeded())
    assert drawn.mirror is not None
    return {tuple(row) for row in drawn.mirror.flips.tolist()}


def test_two_dimensional_images_with_left_and_right_are_not_mirrored() -> None:
    assert lateral_case(default_policy(make_plan(2))) == {(False, False)}
    plain = LabelSet.from_values({"background": 0, "tumour": 1})
    assert len(lateral_case(default_policy(make_plan(2, labels=plain)))) == 4
    assert len(lateral_case(default_policy(make_plan(2, slice_axis=0)))) == 4


def test_a_lone_left_organ_is_never_mirrored_to_the_right() -> None:
    lone = LabelSet.from_values({"kidney_left": 1, "liver": 2})
    in_3d = lateral_case(default_policy(make_plan(3, labels=lone)))
    assert {flips[0] for flips in in_3d} == {False}
    assert len(in_3d) == 4
    assert lateral_case(default_policy(make_plan(2, labels=lone))) == {(False, False)}
    assert len(lateral_case(default_policy(make_plan(2, labels=lone, slice_axis=0)))) == 4


@pytest.mark.parametrize(
    "names", [("RV", "Myo", "LV"), ("right ventricle", "myocardium", "left ventricle")], ids=str
)
def test_the_heart_is_mirrored_on_all_axes_and_its_ventricles_keep_their_names(
    names: tuple[str, ...],
) -> None:
    heart = LabelSet.from_values({name: i for i, name in enumerate(names, start=1)})
    policy = default_policy(make_plan(3, labels=heart))
    assert len(lateral_case(policy)) == 8
    assert policy.swaps == ()


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
    policy = default_policy(plan, only("mirror"))
    image, label = torch.zeros(40, 2, *shape), torch.zeros(40, *shape, dtype=torch.uint8)
    # The left organ lies at low indices of the first axis, as it does along R.
    label[:, : shape[0] // 2], label[:, shape[0] // 2 :] = 1, 2
    image[:, 0] = label
    drawn = default_policy(plan).draw(40, shape, seeded())
    assert drawn.mirror is not None
    _, out = policy.apply(image, label, Parameters(mirror=drawn.mirror))
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
