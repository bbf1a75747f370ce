"""The augmentation policy: what every transform owes, what is drawn, what follows from the plan."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from vesal.augment.config import ArtifactConfig, AugmentConfig
from vesal.augment.policy import INTENSITY, Parameters, Policy, default_policy
from vesal.data.labels import LabelSet
from vesal.errors import UsageError
from vesal.planning.plan import Normalisation, Plan, Stage

STRONG = AugmentConfig(strength=20, elastic_chance=0.3, mirror_chance=0.5)
EVERYTHING = AugmentConfig(
    strength=2,
    elastic_chance=0.3,
    translate_chance=0.3,
    shear_chance=0.3,
    grid_chance=0.3,
    rotate90_chance=0.3,
    shift_chance=0.3,
    dropout_chance=0.3,
    artifacts=ArtifactConfig(chance=0.3, ghosting_chance=0.3, slice_chance=0.3),
)
OFF = {name: 0.0 for name in AugmentConfig.model_fields if name.endswith("_chance")} | {"channel_chance": 1.0}
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
    return AugmentConfig(**(OFF | {f"{name}_chance": 1.0}))


FAMILY = ["rotation", "scale", "elastic", "translate", "shear", "grid", "rotate90", "mirror", *INTENSITY]
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


@pytest.mark.parametrize("config", [STRONG, EVERYTHING], ids=["strong", "everything"])
@pytest.mark.parametrize("kind", PLANS)
def test_a_strong_policy_of_everything_replays_identically(kind: str, config: AugmentConfig) -> None:
    plan = PLANS[kind]
    policy = default_policy(plan, config)
    image, label = make_batch(plan.dimension)
    for seed in range(5):
        parameters = policy.draw(3, SHAPES[plan.dimension], seeded(seed))
        replayed = Parameters.from_dict(json.loads(json.dumps(parameters.to_dict())))
        first, second = (policy.apply(image, label, of) for of in (parameters, replayed))
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[1], second[1])


@pytest.mark.parametrize("kind", PLANS)
def test_no_transform_looks_at_a_number_of_the_image(kind: str) -> None:
    # On a GPU that would be to wait for it. The meta device has no numbers, and no generator to make noise with.
    plan = PLANS[kind]
    silent = ArtifactConfig(
        motion_chance=0.5,
        bias_chance=0.5,
        spike_chance=0.5,
        gamma_chance=0.5,
        blur_chance=0.5,
        ghosting_chance=0.5,
        slice_chance=0.5,
    )
    policy = default_policy(plan, EVERYTHING.model_copy(update={"noise_chance": 0.0, "artifacts": silent}))
    image, label = (of.to("meta") for of in make_batch(plan.dimension))
    for seed in range(8):
        # Not by the policy, whose autocast does not know the device.
        out, _ = policy.draw(3, SHAPES[plan.dimension], seeded(seed)).apply(image, label)
        assert out.device.type == "meta"


@pytest.mark.parametrize("config", [STRONG, EVERYTHING], ids=["strong", "everything"])
@pytest.mark.parametrize("kind", PLANS)
def test_a_constant_image_stays_finite(kind: str, config: AugmentConfig) -> None:
    plan = PLANS[kind]
    policy = default_policy(plan, config)
    _, label = make_batch(plan.dimension)
    image = torch.full((3, 2, *SHAPES[plan.dimension]), 0.7)
    for seed in range(5):
        out, _ = policy.apply(image, label, policy.draw(3, SHAPES[plan.dimension], seeded(seed)))
        assert out.isfinite().all()


@pytest.mark.parametrize("kind", PLANS)
def test_a_mask_after_the_scans_channels_moves_with_them_and_keeps_its_values(kind: str) -> None:
    plan = PLANS[kind]
    policy = default_policy(plan, EVERYTHING)
    image, label = make_batch(plan.dimension, n=8)
    label = (label == 1).to(torch.uint8)
    masked = torch.cat([image, label[:, None].float()], dim=1)
    for seed in range(4):
        drawn = policy.draw(8, SHAPES[plan.dimension], seeded(seed))
        out, out_label = policy.apply(masked, label, drawn)
        without, same_label = policy.apply(image, label, drawn)
        assert torch.equal(out[:, :2], without)
        assert torch.equal(out_label, same_label)
        swapped = (out_label == 2).float() if plan.labels.swaps else 0.0
        assert torch.equal(out[:, 2], (out_label == 1).float() + swapped)


@pytest.mark.parametrize("name", INTENSITY)
def test_no_intensity_transform_touches_a_channel_after_the_scans(name: str) -> None:
    policy = default_policy(PLANS["3D"], only(name))
    image, label = make_batch(3, channels=4)
    out, _ = policy.apply(image, label, policy.draw(3, SHAPES[3], seeded()))
    assert not torch.equal(out[:, :2], image[:, :2])
    assert torch.equal(out[:, 2:], image[:, 2:])


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


def test_the_default_policy_draws_what_it_drew_before_there_were_more_transforms() -> None:
    """Numbers of the first version on this seed: an experiment of then can be repeated now."""
    policy = default_policy(make_plan(3, schemes=("zscore_nonzero", "zscore")))
    image, label = make_batch(3, n=16)
    generator = seeded(11)
    drawn = policy.draw(16, SHAPES[3], generator)
    assert drawn.warp is not None
    assert drawn.mirror is not None
    assert drawn.warp.angles.double().sum().item() == pytest.approx(-34.42840385437012, rel=1e-6)
    assert drawn.warp.scale.double().sum().item() == pytest.approx(16.27273154258728, rel=1e-6)
    assert drawn.intensity["noise"].seed[:3].tolist() == [120049758, 367818076, 2043483746]
    assert drawn.intensity["gamma"].exponent.double().sum().item() == pytest.approx(
        32.81778925657272, rel=1e-6
    )
    assert drawn.mirror.flips.sum() == 22
    assert list(drawn.intensity) == list(INTENSITY)[:7]
    assert not drawn.artifacts
    assert drawn.turn is None
    # The generator stands where it stood, so a second batch is the same as well.
    again = seeded(11)
    default_policy(PLANS["3D"], EVERYTHING).draw(16, SHAPES[3], again)
    assert torch.equal(again.get_state(), generator.get_state())
    assert torch.randint(0, 2**31, (3,), generator=generator).tolist() == [271672164, 1112779331, 274110578]
    out_image, out_label = policy.apply(image, label, drawn)
    lengths = [23.110715, 36.44119, 88.138428, 73.606012, 90.157335, 88.07812, 93.160918, 87.655338]
    assert out_image[:8].double().flatten(1).norm(dim=1).tolist() == pytest.approx(lengths, rel=1e-5)
    assert out_image.double().sum().item() == pytest.approx(-162.04402, abs=0.01)
    assert out_label.long().sum() == pytest.approx(3092231, rel=1e-4)


@pytest.mark.parametrize("name", ["translate", "shear", "grid", "rotate90", "shift", "dropout", "artifacts"])
def test_a_later_transform_leaves_what_all_others_draw(name: str) -> None:
    change = {"artifacts": ArtifactConfig()} if name == "artifacts" else {f"{name}_chance": 0.0}
    plan = PLANS["3D with thick slices"]
    everything = default_policy(plan, EVERYTHING).draw(4, SHAPES[3], seeded()).to_dict()
    without = (
        default_policy(plan, EVERYTHING.model_copy(update=change)).draw(4, SHAPES[3], seeded()).to_dict()
    )
    place = {
        "translate": ("warp", "shift_mm"),
        "shear": ("warp", "shear"),
        "grid": ("warp", "widths"),
        "rotate90": ("turn",),
        "shift": ("intensity", "shift"),
        "dropout": ("intensity", "dropout"),
        "artifacts": ("artifacts",),
    }[name]
    for data in (everything, without):
        inside = data
        for key in place[:-1]:
            inside = inside[key]
        inside[place[-1]] = None
    without["intensity"].setdefault(name, None) if name in INTENSITY else None
    assert without == everything


def test_a_generator_of_another_device_or_another_shape_is_refused() -> None:
    policy = default_policy(PLANS["3D"])
    with pytest.raises(ValueError, match="3 axes"):
        policy.draw(2, (8, 8), seeded())


def test_the_later_chances_are_those_of_the_configuration() -> None:
    config = AugmentConfig(
        translate_chance=0.1,
        shear_chance=0.2,
        grid_chance=0.3,
        rotate90_chance=0.4,
        shift_chance=0.5,
        dropout_chance=0.6,
    )
    drawn = default_policy(make_plan(3, schemes=("zscore",)), config).draw(5000, SHAPES[3], seeded())
    assert drawn.warp is not None
    assert drawn.turn is not None
    found = {
        "translate": (drawn.warp.shift_mm != 0).any(dim=1),
        "shear": (drawn.warp.shear != 0).flatten(1).any(dim=1),
        "grid": (drawn.warp.widths != 1).flatten(1).any(dim=1),
        "rotate90": drawn.turn.turns != 0,
        "shift": drawn.intensity["shift"].offset != 0,
        "dropout": (drawn.intensity["dropout"].stop > drawn.intensity["dropout"].start).any(dim=(1, 2)),
    }
    for name, chosen in found.items():
        chance = getattr(config, f"{name}_chance")
        assert chosen.float().mean().item() == pytest.approx(chance, abs=0.03), name


def test_holes_have_the_size_and_number_that_was_asked_for_and_lie_within_the_patch() -> None:
    config = AugmentConfig(dropout_chance=1, dropout_holes=(2, 4), dropout_size=(0.1, 0.3))
    dropout = default_policy(make_plan(2), config).draw(500, (100, 80), seeded()).intensity["dropout"]
    size = dropout.stop - dropout.start
    there = (size > 0).all(dim=2)
    assert set(there.sum(dim=1).tolist()) == {2, 3, 4}
    for axis, side in enumerate((100, 80)):
        assert size[there][:, axis].min() == round(0.1 * side)
        assert size[there][:, axis].max() == round(0.3 * side)
        assert dropout.start[..., axis].min() == 0
        assert dropout.stop[..., axis].max() == side


def test_shifts_of_the_patch_stay_in_their_range_and_go_either_way() -> None:
    config = AugmentConfig(translate_chance=1, translate_range=(0.1, 0.2))
    warp = default_policy(make_plan(2, spacing_mm=(2.0, 1.0)), config).draw(2000, (50, 80), seeded()).warp
    assert warp is not None
    assert warp.shift_mm is not None
    share = warp.shift_mm / torch.tensor([100.0, 80.0])
    assert 0.1 - 1e-6 <= share.abs().min() < 0.105
    assert 0.195 < share.abs().max() <= 0.2 + 1e-6
    assert (share > 0).float().mean().item() == pytest.approx(0.5, abs=0.03)


def test_patches_turn_by_quarters_only_where_they_are_square() -> None:
    config = AugmentConfig(rotate90_chance=1)

    def turns(plan: Plan, shape: tuple[int, ...]) -> set[int]:
        drawn = default_policy(plan, config).draw(60, shape, seeded())
        assert drawn.turn is not None
        return set(drawn.turn.turns.tolist())

    assert turns(make_plan(2), (24, 24)) == {1, 2, 3}
    assert turns(make_plan(2), (24, 20)) == {2}
    assert turns(make_plan(2, spacing_mm=(1.0, 1.5)), (24, 24)) == {2}
    assert turns(make_plan(3, spacing_mm=(8.0, 1.0, 1.0)), (5, 16, 16)) == {1, 2, 3}
    drawn = default_policy(make_plan(3, spacing_mm=(8.0, 1.0, 1.0)), config).draw(1, (5, 16, 16), seeded())
    assert drawn.turn is not None
    assert drawn.turn.axes == (1, 2)


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
        {"grid_range": (0.5, 1.0)},
        {"dropout_holes": (0, 3)},
        {"shift_range": (0.2, -0.2)},
        {"mirror_only_axes": (3,)},
        {"artifacts": {"motion_chance": 2.0}},
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


def test_artifacts_see_the_outside_as_dark_and_leave_it_zero() -> None:
    """A scan normalised within the body has its 0 in the middle of its range; no ghost may come of it."""
    plan = make_plan(2, schemes=("zscore_nonzero",))
    config = AugmentConfig(
        **OFF,
        artifacts=ArtifactConfig(ghosting_chance=1, ghosting_range=(0.5, 0.5), ghosting_period=(4, 4)),
    )
    policy = default_policy(plan, config)
    image = torch.zeros(1, 1, 32, 32)
    image[..., 8:24, 8:24] = torch.randn(16, 16, generator=seeded(3))
    label = torch.zeros(1, 32, 32, dtype=torch.uint8)
    drawn = policy.draw(1, (32, 32), seeded())
    out, _ = policy.apply(image, label, drawn)
    outside = image == 0
    assert (out[outside] == 0).all()
    dark = torch.where(outside, image.min(), image)
    expected = drawn.artifacts["ghosting"].apply(dark)
    assert torch.equal(out[~outside], expected[~outside])
    assert not torch.allclose(
        drawn.artifacts["ghosting"].apply(image)[~outside], expected[~outside], atol=0.01
    )


@pytest.mark.parametrize("kind", PLANS)
def test_samples_without_a_fault_are_identical_to_the_bit_beside_others_that_have_one(kind: str) -> None:
    """Also in what the transforms after the faults make of them."""
    plan = PLANS[kind].model_copy(update={"normalisation": (Normalisation(scheme="zscore_nonzero"),) * 2})
    config = AugmentConfig(**(OFF | {"contrast_chance": 0.8}), artifacts=ArtifactConfig(chance=0.1))
    policy = default_policy(plan, config)
    image, label = make_batch(plan.dimension, n=24)
    image[:, :, :6] = 0
    drawn = policy.draw(24, SHAPES[plan.dimension], seeded())
    out, out_label = policy.apply(image, label, drawn)
    without, _ = policy.apply(image, label, replace(drawn, artifacts={}))
    struck = torch.zeros(24, dtype=torch.bool)
    for record in drawn.artifacts.values():
        struck |= (record.apply(image) != image).flatten(1).any(dim=1)
    same = [torch.equal(out[row], without[row]) for row in range(24)]
    assert same == (~struck).tolist()
    assert 2 < sum(same) < 24
    assert torch.equal(out_label, label)
    assert (out[:, :, :6] == 0).all()


def lateral_case(policy: Policy) -> set[tuple[bool, ...]]:
    drawn = policy.draw(200, (8,) * len(policy.spacing_mm), seeded())
    assert drawn.mirror is not None
    return {tuple(row) for row in drawn.mirror.flips.tolist()}


def test_two_dimensional_images_with_left_and_right_are_not_mirrored() -> None:
    assert lateral_case(default_policy(make_plan(2))) == {(False, False)}
    plain = LabelSet.from_values({"background": 0, "tumour": 1})
    assert len(lateral_case(default_policy(make_plan(2, labels=plain)))) == 4
    assert len(lateral_case(default_policy(make_plan(2, slice_axis=0)))) == 4


def test_mirroring_can_be_confined_to_one_axis() -> None:
    plain = LabelSet.from_values({"background": 0, "tumour": 1})
    only_first = AugmentConfig(mirror_only_axes=(0,))
    assert lateral_case(default_policy(make_plan(2, labels=plain), only_first)) == {
        (False, False),
        (True, False),
    }
    never = AugmentConfig(mirror_only_axes=())
    assert lateral_case(default_policy(make_plan(2, labels=plain), never)) == {(False, False)}
    # What the plan forbids stays forbidden.
    assert lateral_case(default_policy(make_plan(2), only_first)) == {(False, False)}
    with pytest.raises(UsageError, match="mirror_only_axes"):
        default_policy(make_plan(2, labels=plain), AugmentConfig(mirror_only_axes=(2,)))


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
