"""The losses: by hand, beside MONAI's, masked, deeply supervised, in half precision."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from loss_cases import BINARY, CLASSES, EVERYTHING, EVERYTHING_OF_REGIONS, REGIONS, draw, make_loss, one_hot
from pydantic import ValidationError

from vesal.data.labels import LabelSet
from vesal.errors import UsageError
from vesal.nn.losses.losses import LOSSES, LossOptions, shrink_target


@pytest.fixture(params=["classes", "regions"])
def labels(request: pytest.FixtureRequest) -> LabelSet:
    return {"classes": CLASSES, "regions": REGIONS}[request.param]


@pytest.fixture(params=sorted(LOSSES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["plain", "everything"])
def options(request: pytest.FixtureRequest, labels: LabelSet) -> LossOptions:
    everything = EVERYTHING_OF_REGIONS if labels.regions else EVERYTHING
    return {"plain": LossOptions(), "everything": everything}[request.param]


# --- by hand ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Two voxels, p of the foreground 0.8 and 0.3; the first is foreground.
        ("dice", 1 - (2 * 0.8 + 1e-5) / (0.8 + 0.3 + 1 + 1e-5)),
        ("ce", -(math.log(0.8) + math.log(0.7)) / 2),
        ("focal", -(0.2**2 * math.log(0.8) + 0.3**2 * math.log(0.7)) / 2),
        ("tversky", 1 - (0.8 + 1e-5) / (0.8 + 0.3 * 0.3 + 0.7 * 0.2 + 1e-5)),
        ("focal_tversky", (1 - (0.8 + 1e-5) / (0.8 + 0.3 * 0.3 + 0.7 * 0.2 + 1e-5)) ** 0.75),
        # The boundary lies between the two, 2 mm from either: 2 mm inside 1 - 0.8, 2 mm outside 0.3.
        ("boundary", (2 * 0.2 + 2 * 0.3) / 2),
        ("dice_boundary", 1 - 1.6 / 2.1 + 0.01 * 0.5),
    ],
)
@pytest.mark.parametrize("sigmoid", [False, True])
def test_two_voxels_by_hand(name: str, expected: float, sigmoid: bool) -> None:
    p = torch.tensor([0.8, 0.3])
    logits = (p / (1 - p)).log()[None, None, None]
    if not sigmoid:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    loss = make_loss(name, BINARY.as_regions() if sigmoid else BINARY, spacing_mm=(1.0, 2.0))
    assert loss(logits, torch.tensor([[[1, 0]]])).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("sigmoid", [False, True])
def test_balanced_cross_entropy_of_four_voxels_by_hand(sigmoid: bool) -> None:
    p = torch.tensor([0.8, 0.3, 0.1, 0.4])  # the first is foreground
    logits = (p / (1 - p)).log()[None, None, None]
    if not sigmoid:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    loss = make_loss("balanced_ce", BINARY.as_regions() if sigmoid else BINARY, spacing_mm=(1.0, 1.0))
    inside, outside = -math.log(0.8), -(math.log(0.7) + math.log(0.9) + math.log(0.6)) / 3
    assert loss(logits, torch.tensor([[[1, 0, 0, 0]]])).item() == pytest.approx((inside + outside) / 2)
    # Without foreground there is only the other mean.
    nothing = loss(logits, torch.zeros(1, 1, 4, dtype=torch.uint8)).item()
    assert nothing == pytest.approx((-math.log(0.2) + 3 * outside) / 4)


def test_compound_losses_are_the_sums_of_their_parts(labels: LabelSet) -> None:
    logits, target = draw(labels)
    value = {name: make_loss(name, labels)(logits, target) for name in LOSSES}
    torch.testing.assert_close(value["dice_ce"], value["dice"] + value["ce"])
    torch.testing.assert_close(value["dice_balanced_ce"], value["dice"] + value["balanced_ce"])
    options = LossOptions(boundary_weight=0.5)
    torch.testing.assert_close(
        make_loss("dice_boundary", labels, options)(logits, target), value["dice"] + 0.5 * value["boundary"]
    )


def test_tversky_of_equal_costs_is_dice_and_focal_of_no_focus_is_cross_entropy(labels: LabelSet) -> None:
    logits, target = draw(labels)
    options = LossOptions(tversky_alpha=0.5, tversky_beta=0.5, focal_gamma=0, label_smoothing=0.1)
    for plain, special in [("dice", "tversky"), ("ce", "focal")]:
        torch.testing.assert_close(
            make_loss(special, labels, options)(logits, target),
            make_loss(plain, labels, options)(logits, target),
        )


def test_tversky_punishes_what_was_missed_more_than_what_was_added() -> None:
    target = torch.zeros(1, 1, 4, dtype=torch.uint8)
    target[..., :2] = 1
    missed, added = target.clone(), target.clone()
    missed[..., 1], added[..., 2] = 0, 1
    loss = make_loss("tversky", BINARY, spacing_mm=(1.0, 1.0))
    costs = [loss(40 * (2 * one_hot(BINARY, of) - 1), target).item() for of in (missed, added)]
    assert costs == pytest.approx([1 - 1 / 1.7, 1 - 2 / 2.3], abs=1e-4)


def test_an_absent_class_without_prediction_costs_nothing_in_dice() -> None:
    logits = torch.full((1, 4, 4, 4), -60.0)
    logits[:, 0] = 60
    target = torch.zeros(1, 4, 4, dtype=torch.uint8)
    assert make_loss("dice", spacing_mm=(1.0, 1.0))(logits, target).item() == pytest.approx(0, abs=1e-5)


def test_the_right_answer_costs_nothing_and_the_wrong_one_much(name: str, labels: LabelSet) -> None:
    logits, target = draw(labels)
    truth = one_hot(labels, target)
    loss = make_loss(name, labels)
    assert loss(40 * (2 * truth - 1), target).item() == pytest.approx(0, abs=1e-4)
    assert loss(-40 * (2 * truth - 1), target).item() > 0.5
    assert loss(logits, target).item() > 0.01


# --- what does not count ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(6, 5), (6, 5, 4)])
def test_every_loss_is_a_finite_scalar_with_a_finite_gradient(
    name: str, labels: LabelSet, options: LossOptions, size: tuple[int, ...]
) -> None:
    logits, target = draw(labels, *size)
    logits.requires_grad_()
    value = make_loss(name, labels, options, spacing_mm=(1.0,) * len(size))(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert gradient.isfinite().all()
    assert all(gradient[:, channel].any() for channel in range(labels.outputs))


def test_ignored_voxels_have_no_say_and_no_gradient(
    name: str, labels: LabelSet, options: LossOptions
) -> None:
    logits, target = draw(labels)
    loss = make_loss(name, labels, options)
    cut = loss(logits[..., :3], target[..., :3])
    target[..., 3:] = 255
    logits.requires_grad_()
    whole = loss(logits, target)
    torch.testing.assert_close(whole, cut)
    (gradient,) = torch.autograd.grad(whole, logits)
    assert not gradient[..., 3:].any()
    assert gradient[..., :3].any()


def test_a_patch_that_is_ignored_altogether_is_finite(
    name: str, labels: LabelSet, options: LossOptions
) -> None:
    logits, target = draw(labels)
    logits.requires_grad_()
    value = make_loss(name, labels, options)(logits, torch.full_like(target, 255))
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None
    assert not logits.grad.any()


def test_a_patch_of_background_alone_is_finite(name: str, labels: LabelSet, options: LossOptions) -> None:
    logits, target = draw(labels)
    if not labels.regions:
        options = replace(options, class_weights={"background": 0.0})
    logits.requires_grad_()
    value = make_loss(name, labels, options)(logits, torch.zeros_like(target))
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_all_classes_annotated_is_the_plain_loss(name: str, labels: LabelSet, options: LossOptions) -> None:
    logits, target = draw(labels)
    loss = make_loss(name, labels, options)
    torch.testing.assert_close(loss(logits, target, torch.ones(2, 3, dtype=torch.bool)), loss(logits, target))


def test_an_unseen_class_gets_no_gradient_but_as_part_of_the_background(
    name: str, labels: LabelSet, options: LossOptions
) -> None:
    logits, target = draw(labels)
    target[1][target[1] == 2] = 0  # nobody drew class b in the second case
    annotated = torch.tensor([[True, True, True], [True, False, True]])
    logits.requires_grad_()
    value = make_loss(name, labels, options)(logits, target, annotated)
    (gradient,) = torch.autograd.grad(value, logits)
    if labels.regions:
        assert not gradient[1, 1].any()
        assert gradient[1, 0].any()
    else:
        # Only the sum of background and class b matters, so their gradients are as their probabilities.
        p = logits.detach().softmax(1)[1]
        torch.testing.assert_close(gradient[1, 2] * p[0], gradient[1, 0] * p[2], atol=1e-7, rtol=1e-4)
        assert gradient[1, 0].any()


@pytest.mark.parametrize("options", [LossOptions(), EVERYTHING], ids=["plain", "everything"])
def test_a_stray_voxel_of_an_unseen_class_is_background(name: str, options: LossOptions) -> None:
    logits, target = draw()
    target[target == 2] = 0
    annotated = torch.tensor([[True, False, True]] * 2)
    stray = target.clone()
    stray[0, 0, 0, :2] = 2
    target[0, 0, 0, :2] = 0
    loss = make_loss(name, CLASSES, options)
    torch.testing.assert_close(loss(logits, stray, annotated), loss(logits, target, annotated))


@pytest.mark.parametrize("name", ["dice", "tversky", "focal_tversky"])
def test_the_mean_of_overlaps_is_over_what_was_annotated(name: str, labels: LabelSet) -> None:
    logits, target = draw(labels)
    target[1][target[1] == 2] = 0
    annotated = torch.tensor([[True, True, True], [True, False, True]])
    loss = make_loss(name, labels)
    per_case = [loss(logits[i : i + 1], target[i : i + 1], annotated[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(loss(logits, target, annotated), (3 * per_case[0] + 2 * per_case[1]) / 5)


def test_nothing_annotated_costs_nothing(name: str, labels: LabelSet, options: LossOptions) -> None:
    logits, target = draw(labels)
    logits.requires_grad_()
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    value = make_loss(name, labels, options)(logits, torch.zeros_like(target), nothing)
    value.backward()
    # Focal Tversky is never quite 0 where it counts the background: (1e-6)^(3/4).
    assert value.item() == pytest.approx(0, abs=4e-5 if name == "focal_tversky" else 1e-6)
    assert logits.grad is not None
    assert logits.grad.abs().max().item() == pytest.approx(0, abs=1e-6)


# --- options ----------------------------------------------------------------------------------------------


def test_a_class_of_weight_0_has_no_say_in_overlaps_and_boundaries(labels: LabelSet) -> None:
    logits, target = draw(labels)
    without = torch.tensor([[True, False, True]] * 2)
    options = LossOptions(class_weights={labels.classes[1]: 0})
    for name in ("dice", "tversky", "focal_tversky", "boundary"):
        left_out = make_loss(name, labels)(logits, target, without)
        torch.testing.assert_close(make_loss(name, labels, options)(logits, target), left_out)


def test_equal_weights_are_no_weights(name: str, labels: LabelSet) -> None:
    logits, target = draw(labels)
    names = labels.classes if labels.regions else ("background", *labels.classes)
    options = LossOptions(class_weights=dict.fromkeys(names, 7.0))
    torch.testing.assert_close(
        make_loss(name, labels, options)(logits, target), make_loss(name, labels)(logits, target)
    )


def test_the_background_has_a_weight_under_a_softmax_alone() -> None:
    options = LossOptions(class_weights={"background": 0.1})
    logits, target = draw()
    weights = torch.tensor([0.1, 1, 1, 1])
    expected = F.cross_entropy(logits, target.long(), weights)
    torch.testing.assert_close(make_loss("ce", CLASSES, options)(logits, target), expected)
    with pytest.raises(UsageError, match="'background'; choose one of: core, inner, whole"):
        make_loss("ce", REGIONS, options)


def test_an_unknown_class_lists_the_choices() -> None:
    with pytest.raises(UsageError, match="'tumour'; choose one of: a, b, background, c"):
        make_loss("ce", CLASSES, LossOptions(class_weights={"tumour": 2.0}))


def test_weights_that_are_all_0_are_refused() -> None:
    with pytest.raises(UsageError, match="All class weights are 0"):
        make_loss("ce", BINARY, LossOptions(class_weights={"background": 0, "a": 0}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"label_smoothing": 1.0},
        {"label_smoothing": -0.1},
        {"smooth": 0.0},
        {"focal_gamma": -1.0},
        {"focal_gamma": math.nan},
        {"tversky_alpha": -0.3},
        {"tversky_alpha": 0.0, "tversky_beta": 0.0},
        {"focal_tversky_gamma": 0.0},
        {"boundary_weight": math.inf},
        {"class_weights": {"a": -1.0}},
        {"class_weights": {"a": math.nan}},
    ],
)
def test_options_out_of_their_range_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        LossOptions(**wrong)  # type: ignore[arg-type]


def test_an_unknown_loss_lists_the_choices() -> None:
    with pytest.raises(UsageError, match="choose one of: balanced_ce, boundary, ce, dice, dice_balanced_ce"):
        make_loss("hinge")


# --- deep supervision, precision ----------------------------------------------------------------------------


def test_heads_weigh_half_of_the_one_above_and_one_together(
    name: str, labels: LabelSet, options: LossOptions
) -> None:
    spacing_mm = (1.0, 0.5, 2.0)
    logits, target = draw(labels, 8, 12, 6)
    small, _ = draw(labels, 4, 4, 6)
    smaller, _ = draw(labels, 2, 4, 3)
    first, second, third = (
        make_loss(name, labels, options, spacing)
        for spacing in (spacing_mm, (2.0, 1.5, 2.0), (4.0, 1.5, 4.0))
    )
    expected = (
        4 * first(logits, target)
        + 2 * second(small, shrink_target(target, (4, 4, 6)))
        + third(smaller, shrink_target(target, (2, 4, 3)))
    ) / 7
    torch.testing.assert_close(first([logits, small, smaller], target), expected)


def test_a_shrunken_target_is_torchs_nearest_exact() -> None:
    _, target = draw(CLASSES, 8, 12, 6)
    for size in [(8, 12, 6), (4, 4, 6), (2, 4, 3), (1, 1, 1)]:
        expected = F.interpolate(target[:, None], size, mode="nearest-exact")[:, 0]
        assert torch.equal(shrink_target(target, size), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_of_any_size_give_a_finite_float32_loss(
    name: str, labels: LabelSet, options: LossOptions, dtype: torch.dtype
) -> None:
    logits, target = draw(labels, 16, 16, 16)
    half = (1000 * logits).to(dtype).requires_grad_()
    annotated = torch.tensor([[True, True, True], [True, False, True]])
    loss = make_loss(name, labels, options)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(half, target, annotated)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert half.grad is not None
    assert half.grad.isfinite().all()
    torch.testing.assert_close(value.detach(), loss(half.detach().float(), target, annotated))


def test_gradients_are_those_of_finite_differences(name: str, labels: LabelSet, options: LossOptions) -> None:
    logits, target = draw(labels, 3, 3)
    target[0, 0, 0] = 255
    annotated = torch.tensor([[True, True, True], [True, False, True]])
    loss = make_loss(name, labels, options, spacing_mm=(1.0, 1.0))
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits, target, annotated), logits)
    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    step = 1e-2
    with torch.no_grad():
        up, down = (loss(logits + s * step * direction, target, annotated) for s in (1, -1))
    expected = ((up - down) / (2 * step)).item()
    assert (gradient * direction).sum().item() == pytest.approx(expected, abs=3e-4)
