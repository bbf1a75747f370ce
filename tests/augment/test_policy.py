"""The policy: what every transform of the family does, and what is drawn."""

from __future__ import annotations

import contextlib
import pickle
from dataclasses import replace

import pytest
import torch
from augment_examples import (
    EVERYTHING,
    INTENSITY,
    PLANS,
    SHAPES,
    STRONG,
    make_batch,
    make_plan,
    only,
    plain,
    seeded,
)

from vesal.augment.artifacts.registry import ArtifactConfig
from vesal.augment.config import AugmentConfig
from vesal.augment.policy import Policy
from vesal.planning.plan import Plan

FAMILY = ["rotation", "scale", "elastic", "translate", "shear", "grid", "rotate90", "mirror", *INTENSITY]
# --- what every transform owes --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PLANS)
@pytest.mark.parametrize("name", FAMILY)
def test_every_transform_keeps_shape_type_and_label_values_and_changes_the_image(
    name: str, kind: str
) -> None:
    plan = PLANS[kind]
    policy = Policy(plan, only(name))
    image, label = make_batch(plan.dimension)
    before = image.clone(), label.clone()
    # Of several mirror draws one may hold no flip at all.
    drawn = [policy.draw(3, SHAPES[plan.dimension], seeded(seed)) for seed in range(4)]
    results = [parameters.apply(image, label) for parameters in drawn]
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
def test_parameters_that_were_pickled_give_the_same_result_to_the_bit(name: str, kind: str) -> None:
    plan = PLANS[kind]
    policy = Policy(plan, only(name))
    image, label = make_batch(plan.dimension)
    parameters = policy.draw(3, SHAPES[plan.dimension], seeded(5))
    replayed = pickle.loads(pickle.dumps(parameters))
    first, again = parameters.apply(image, label), parameters.apply(image, label)
    other = replayed.apply(image, label)
    for a, b, c in zip(first, again, other, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


@pytest.mark.parametrize("config", [STRONG, EVERYTHING], ids=["strong", "everything"])
@pytest.mark.parametrize("kind", PLANS)
def test_a_strong_policy_of_everything_replays_identically(kind: str, config: AugmentConfig) -> None:
    plan = PLANS[kind]
    policy = Policy(plan, config)
    image, label = make_batch(plan.dimension)
    for seed in range(5):
        parameters = policy.draw(3, SHAPES[plan.dimension], seeded(seed))
        replayed = pickle.loads(pickle.dumps(parameters))
        first, second = (of.apply(image, label) for of in (parameters, replayed))
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[1], second[1])


@pytest.mark.parametrize("kind", PLANS)
def test_no_transform_looks_at_a_number_of_the_image(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a GPU that would be to wait for it. The meta device has no numbers, and no generator to make noise with.
    plan = PLANS[kind]
    names = ("motion", "bias", "spike", "gamma", "blur", "ghosting", "slice")
    silent = ArtifactConfig(**{name: {"probability": 0.5} for name in names})
    policy = Policy(plan, EVERYTHING.model_copy(update={"noise_probability": 0.0, "artifacts": silent}))
    image, label = (of.to("meta") for of in make_batch(plan.dimension))
    # Autocast does not know the device.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    for seed in range(8):
        out, _ = policy.draw(3, SHAPES[plan.dimension], seeded(seed)).apply(image, label)
        assert out.device.type == "meta"


@pytest.mark.parametrize("config", [STRONG, EVERYTHING], ids=["strong", "everything"])
@pytest.mark.parametrize("kind", PLANS)
def test_a_constant_image_stays_finite(kind: str, config: AugmentConfig) -> None:
    plan = PLANS[kind]
    policy = Policy(plan, config)
    _, label = make_batch(plan.dimension)
    image = torch.full((3, 2, *SHAPES[plan.dimension]), 0.7)
    for seed in range(5):
        out, _ = policy.draw(3, SHAPES[plan.dimension], seeded(seed)).apply(image, label)
        assert out.isfinite().all()


@pytest.mark.parametrize("kind", PLANS)
def test_a_mask_after_the_scans_channels_moves_with_them_and_keeps_its_values(kind: str) -> None:
    plan = PLANS[kind]
    policy = Policy(plan, EVERYTHING)
    image, label = make_batch(plan.dimension, n=8)
    label = (label == 1).to(torch.uint8)
    masked = torch.cat([image, label[:, None].float()], dim=1)
    for seed in range(4):
        drawn = policy.draw(8, SHAPES[plan.dimension], seeded(seed))
        out, out_label = drawn.apply(masked, label)
        without, same_label = drawn.apply(image, label)
        assert torch.equal(out[:, :2], without)
        assert torch.equal(out_label, same_label)
        swapped = (out_label == 2).float() if plan.labels.swaps else 0.0
        assert torch.equal(out[:, 2], (out_label == 1).float() + swapped)


@pytest.mark.parametrize("name", INTENSITY)
def test_no_intensity_transform_touches_a_channel_after_the_scans(name: str) -> None:
    policy = Policy(PLANS["3D"], only(name))
    image, label = make_batch(3, channels=4)
    out, _ = policy.draw(3, SHAPES[3], seeded()).apply(image, label)
    assert not torch.equal(out[:, :2], image[:, :2])
    assert torch.equal(out[:, 2:], image[:, 2:])


# --- drawing --------------------------------------------------------------------------------------------


def test_drawing_is_a_function_of_the_generator_alone() -> None:
    policy = Policy(PLANS["3D"], STRONG)
    torch.manual_seed(1)
    first = plain(policy.draw(4, SHAPES[3], seeded(3)))
    torch.manual_seed(2)
    assert plain(policy.draw(4, SHAPES[3], seeded(3))) == first
    assert plain(policy.draw(4, SHAPES[3], seeded(4))) != first


def test_applying_draws_nothing_from_the_global_generator() -> None:
    policy = Policy(PLANS["3D"], STRONG)
    image, label = make_batch(3)
    parameters = policy.draw(3, SHAPES[3], seeded())
    state = torch.get_rng_state()
    parameters.apply(image, label)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_probabilities_are_those_of_the_configuration() -> None:
    policy = Policy(make_plan(3, schemes=("zscore",)))
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
        "brightness": record["brightness"].amount != 1,
        "contrast": record["contrast"].amount != 1,
        "low_resolution": record["low_resolution"].share < 1,
        "gamma": record["gamma"].amount != 1,
        "gamma_of_inverse": record["gamma_of_inverse"].amount != 1,
    }
    for name, chosen in found.items():
        probability = getattr(AugmentConfig(), f"{name}_probability")
        assert chosen.float().mean().item() == pytest.approx(probability, abs=0.015), name


def test_what_is_drawn_stays_in_its_range() -> None:
    drawn = Policy(PLANS["3D"], AugmentConfig(strength=100)).draw(5_000, SHAPES[3], seeded())
    assert drawn.warp is not None
    config = AugmentConfig()
    assert 29 < drawn.warp.angles.abs().max() <= config.rotation_degrees
    factors = {
        config.scale_range: drawn.warp.scale,
        config.noise_range: drawn.intensity["noise"].std,
        config.blur_range: drawn.intensity["blur"].sigma[drawn.intensity["blur"].sigma > 0],
        config.low_resolution_range: drawn.intensity["low_resolution"].share,
        config.gamma_range: drawn.intensity["gamma"].amount,
        config.brightness_range: drawn.intensity["brightness"].amount,
    }
    for (low, high), values in factors.items():
        width = high - low
        assert low - 1e-6 <= values.min() < low + 0.05 * width
        assert high - 0.05 * width < values.max() <= high + 1e-6


def test_changing_one_probability_leaves_what_the_others_draw() -> None:
    plan = PLANS["3D"]
    usual = plain(Policy(plan).draw(8, SHAPES[3], seeded()))
    config = AugmentConfig(rotation_probability=0.9, noise_probability=0.0, elastic_probability=0.5)
    other = plain(Policy(plan, config).draw(8, SHAPES[3], seeded()))
    assert other["warp"]["angles"] != usual["warp"]["angles"]
    assert other["warp"]["scale"] == usual["warp"]["scale"]
    assert other["mirror"] == usual["mirror"]
    assert other["intensity"]["gamma"] == usual["intensity"]["gamma"]


def test_the_default_policy_draws_what_it_drew_before_there_were_more_transforms() -> None:
    """Numbers of the first version on this seed: an experiment of then can be repeated now."""
    policy = Policy(make_plan(3, schemes=("zscore_nonzero", "zscore")))
    image, label = make_batch(3, n=16)
    generator = seeded(11)
    drawn = policy.draw(16, SHAPES[3], generator)
    assert drawn.warp is not None
    assert drawn.mirror is not None
    assert drawn.warp.angles.double().sum().item() == pytest.approx(-34.42840385437012, rel=1e-6)
    assert drawn.warp.scale.double().sum().item() == pytest.approx(16.27273154258728, rel=1e-6)
    assert drawn.intensity["noise"].seed[:3].tolist() == [120049758, 367818076, 2043483746]
    assert drawn.intensity["gamma"].amount.double().sum().item() == pytest.approx(32.81778925657272, rel=1e-6)
    assert drawn.mirror.flips.sum() == 22
    assert list(drawn.intensity) == list(INTENSITY)[:7]
    assert not drawn.artifacts
    assert drawn.turn is None
    # The generator stands where it stood, so a second batch is the same as well.
    again = seeded(11)
    Policy(PLANS["3D"], EVERYTHING).draw(16, SHAPES[3], again)
    assert torch.equal(again.get_state(), generator.get_state())
    assert torch.randint(0, 2**31, (3,), generator=generator).tolist() == [271672164, 1112779331, 274110578]
    out_image, out_label = drawn.apply(image, label)
    lengths = [23.110715, 36.44119, 88.138428, 73.606012, 90.157335, 88.07812, 93.160918, 87.655338]
    assert out_image[:8].double().flatten(1).norm(dim=1).tolist() == pytest.approx(lengths, rel=1e-5)
    assert out_image.double().sum().item() == pytest.approx(-162.04402, abs=0.01)
    assert out_label.long().sum() == pytest.approx(3092231, rel=1e-4)


@pytest.mark.parametrize("name", ["translate", "shear", "grid", "rotate90", "shift", "dropout", "artifacts"])
def test_a_later_transform_leaves_what_all_others_draw(name: str) -> None:
    change = {"artifacts": ArtifactConfig()} if name == "artifacts" else {f"{name}_probability": 0.0}
    plan = PLANS["3D with thick slices"]
    everything, without = (
        plain(Policy(plan, config).draw(4, SHAPES[3], seeded()))
        for config in (EVERYTHING, EVERYTHING.model_copy(update=change))
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
    policy = Policy(PLANS["3D"])
    with pytest.raises(ValueError, match="3 axes"):
        policy.draw(2, (8, 8), seeded())


def test_the_later_probabilities_are_those_of_the_configuration() -> None:
    config = AugmentConfig(
        translate_probability=0.1,
        shear_probability=0.2,
        grid_probability=0.3,
        rotate90_probability=0.4,
        shift_probability=0.5,
        dropout_probability=0.6,
        # Not beside turns where labels name left and right.
        mirror_probability=0.0,
    )
    drawn = Policy(make_plan(3, schemes=("zscore",)), config).draw(5000, SHAPES[3], seeded())
    assert drawn.warp is not None
    assert drawn.turn is not None
    found = {
        "translate": (drawn.warp.shift_mm != 0).any(dim=1),
        "shear": (drawn.warp.shear != 0).flatten(1).any(dim=1),
        "grid": (drawn.warp.widths != 1).flatten(1).any(dim=1),
        "rotate90": drawn.turn.turns != 0,
        "shift": drawn.intensity["shift"].amount != 0,
        "dropout": (drawn.intensity["dropout"].stop > drawn.intensity["dropout"].start).any(dim=(1, 2)),
    }
    for name, chosen in found.items():
        probability = getattr(config, f"{name}_probability")
        assert chosen.float().mean().item() == pytest.approx(probability, abs=0.03), name


def test_holes_have_the_size_and_number_that_was_asked_for_and_lie_within_the_patch() -> None:
    config = AugmentConfig(dropout_probability=1, dropout_holes=(2, 4), dropout_size=(0.1, 0.3))
    dropout = Policy(make_plan(2), config).draw(500, (100, 80), seeded()).intensity["dropout"]
    size = dropout.stop - dropout.start
    there = (size > 0).all(dim=2)
    assert set(there.sum(dim=1).tolist()) == {2, 3, 4}
    for axis, side in enumerate((100, 80)):
        assert size[there][:, axis].min() == round(0.1 * side)
        assert size[there][:, axis].max() == round(0.3 * side)
        assert dropout.start[..., axis].min() == 0
        assert dropout.stop[..., axis].max() == side


def test_shifts_of_the_patch_stay_in_their_range_and_go_either_way() -> None:
    config = AugmentConfig(translate_probability=1, translate_range=(0.1, 0.2))
    warp = Policy(make_plan(2, spacing_mm=(2.0, 1.0)), config).draw(2000, (50, 80), seeded()).warp
    assert warp is not None
    assert warp.shift_mm is not None
    share = warp.shift_mm / torch.tensor([100.0, 80.0])
    assert 0.1 - 1e-6 <= share.abs().min() < 0.105
    assert 0.195 < share.abs().max() <= 0.2 + 1e-6
    assert (share > 0).float().mean().item() == pytest.approx(0.5, abs=0.03)


def test_patches_turn_by_quarters_only_where_they_are_square() -> None:
    config = AugmentConfig(rotate90_probability=1)

    def turns(plan: Plan, shape: tuple[int, ...]) -> set[int]:
        drawn = Policy(plan, config).draw(60, shape, seeded())
        assert drawn.turn is not None
        return set(drawn.turn.turns.tolist())

    assert turns(make_plan(2), (24, 24)) == {1, 2, 3}
    assert turns(make_plan(2), (24, 20)) == {2}
    assert turns(make_plan(2, spacing_mm=(1.0, 1.5)), (24, 24)) == {2}
    assert turns(make_plan(3, spacing_mm=(8.0, 1.0, 1.0)), (5, 16, 16)) == {1, 2, 3}
    drawn = Policy(make_plan(3, spacing_mm=(8.0, 1.0, 1.0)), config).draw(1, (5, 16, 16), seeded())
    assert drawn.turn is not None
    assert drawn.turn.axes == (1, 2)


def test_channels_are_absent_as_often_as_asked_and_never_all_of_a_sample() -> None:
    plan = PLANS["3D"]
    config = AugmentConfig(drop_channels=0.4)
    drawn = [Policy(plan, config).draw(4, SHAPES[3], seeded(seed)).absent for seed in range(200)]
    absent = torch.cat([record.absent for record in drawn if record is not None])
    assert absent.shape == (800, 2)
    assert not absent.all(dim=1).any()
    # Both would be in 0.16 of the samples, of which one is kept: 0.4 - 0.08.
    assert absent.float().mean().item() == pytest.approx(0.32, abs=0.03)
    image, label = make_batch(3)
    parameters = next(
        found
        for seed in range(20)
        if (found := Policy(plan, config).draw(3, SHAPES[3], seeded(seed))).absent is not None
        and found.absent.absent.any()
    )
    before = image.clone()
    out, _ = parameters.apply(image, label)
    assert parameters.absent is not None
    assert ((out[:, :2] == 0).flatten(2).all(dim=2) == parameters.absent.absent).all()
    assert torch.equal(image, before)


def test_without_absent_channels_all_else_is_drawn_as_before() -> None:
    plan = PLANS["3D"]
    image, label = make_batch(3)
    plain, dropping = (
        Policy(plan, AugmentConfig(drop_channels=share)).draw(3, SHAPES[3], seeded(3)) for share in (0.0, 0.5)
    )
    assert plain.absent is None
    same = replace(dropping, absent=None)
    assert torch.equal(plain.apply(image, label)[0], same.apply(image, label)[0])
