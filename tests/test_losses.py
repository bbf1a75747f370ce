"""The losses: by hand, beside MONAI's, masked, deeply supervised, in half precision."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from vesal.data.labels import LabelSet
from vesal.data.plan import Normalisation, Plan, Stage
from vesal.errors import UsageError
from vesal.nn.losses import LOSSES, Loss, build_loss, shrink_target

CLASSES = LabelSet.from_values({"background": 0, "a": 1, "b": 2, "c": 3})
REGIONS = LabelSet.from_values(
    {"background": 0, "a": 1, "b": 2, "c": 3},
    regions={"whole": ["a", "b", "c"], "core": ["b", "c"], "inner": ["c"]},
)


def make_loss(name: str, labels: LabelSet = CLASSES, *, batch_dice: bool = False) -> Loss:
    plan = Plan(
        dimension=2,
        spacing_mm=(1.0, 1.0),
        patch=(8, 8),
        batch=2,
        stages=(Stage(features=4, kernel=(3, 3), stride=(1, 1)),),
        normalisation=(Normalisation(scheme="zscore"),),
        mirror_axes=(),
        channels=("image",),
        labels=labels,
        median_shape=(8, 8),
    )
    return build_loss(name, plan, batch_dice=batch_dice)


def draw(labels: LabelSet = CLASSES, *size: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    size = size or (6, 5, 4)
    logits = 2 * torch.randn(2, labels.outputs, *size, generator=generator)
    return logits, torch.randint(0, 4, (2, *size), generator=generator, dtype=torch.uint8)


@pytest.fixture(params=["classes", "regions"])
def labels(request: pytest.FixtureRequest) -> LabelSet:
    return {"classes": CLASSES, "regions": REGIONS}[request.param]


@pytest.fixture(params=sorted(LOSSES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


# --- by hand ----------------------------------------------------------------------------------------------


def test_dice_of_two_voxels_by_hand() -> None:
    labels = LabelSet.from_values({"background": 0, "a": 1})
    p = torch.tensor([0.8, 0.3])  # of the foreground
    logits = torch.stack([torch.zeros(2), (p / (1 - p)).log()])[None, :, None]
    target = torch.tensor([[[1, 0]]])
    expected = 1 - (2 * 0.8 + 1e-5) / (0.8 + 0.3 + 1 + 1e-5)
    assert make_loss("dice", labels)(logits, target).item() == pytest.approx(expected, abs=1e-6)


def test_cross_entropy_of_two_voxels_by_hand() -> None:
    labels = LabelSet.from_values({"background": 0, "a": 1})
    p = torch.tensor([0.8, 0.3])
    logits = torch.stack([torch.zeros(2), (p / (1 - p)).log()])[None, :, None]
    target = torch.tensor([[[1, 0]]])
    expected = -(math.log(0.8) + math.log(0.7)) / 2
    assert make_loss("ce", labels)(logits, target).item() == pytest.approx(expected, abs=1e-6)


def test_an_absent_class_without_prediction_costs_nothing_in_dice() -> None:
    logits = torch.full((1, 4, 4, 4), -60.0)
    logits[:, 0] = 60
    assert make_loss("dice")(logits, torch.zeros(1, 4, 4, dtype=torch.uint8)).item() == pytest.approx(
        0, abs=1e-5
    )


def test_the_right_answer_costs_nothing_and_the_wrong_one_much(name: str, labels: LabelSet) -> None:
    _, target = draw(labels)
    if labels.regions:
        table = torch.from_numpy(labels.class_table)
        truth = table[:, target.long()].movedim(0, 1).float()
    else:
        truth = F.one_hot(target.long(), 4).movedim(-1, 1).float()
    loss = make_loss(name, labels)
    assert loss(40 * (2 * truth - 1), target).item() < 1e-4
    assert loss(-40 * (2 * truth - 1), target).item() > 0.9


# --- beside MONAI's ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_dice", [False, True])
def test_dice_agrees_with_monai(labels: LabelSet, batch_dice: bool) -> None:
    losses = pytest.importorskip("monai.losses")
    logits, target = draw(labels)
    truth = torch.from_numpy(labels.masks(target.numpy())).movedim(0, 1).float()
    if labels.regions:
        monai = losses.DiceLoss(sigmoid=True, batch=batch_dice)
    else:
        truth = torch.cat([(target == 0)[:, None], truth], dim=1)
        monai = losses.DiceLoss(softmax=True, include_background=False, batch=batch_dice)
    ours = make_loss("dice", labels, batch_dice=batch_dice)(logits, target)
    torch.testing.assert_close(ours, monai(logits, truth), atol=1e-6, rtol=1e-5)


def test_dice_and_cross_entropy_and_their_gradient_agree_with_monai(labels: LabelSet) -> None:
    losses = pytest.importorskip("monai.losses")
    logits, target = draw(labels)
    logits.requires_grad_()
    truth = torch.from_numpy(labels.masks(target.numpy())).movedim(0, 1).float()
    ours = make_loss("dice_ce", labels)(logits, target)
    if labels.regions:
        theirs = losses.DiceLoss(sigmoid=True)(logits, truth) + F.binary_cross_entropy_with_logits(
            logits, truth
        )
    else:
        truth = torch.cat([(target == 0)[:, None], truth], dim=1)
        monai = losses.DiceCELoss(softmax=True)
        monai.dice = losses.DiceLoss(softmax=True, include_background=False)
        theirs = monai(logits, truth)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    (ours_gradient,) = torch.autograd.grad(ours, logits)
    (theirs_gradient,) = torch.autograd.grad(theirs, logits)
    torch.testing.assert_close(ours_gradient, theirs_gradient, atol=1e-7, rtol=1e-4)


# --- what does not count ----------------------------------------------------------------------------------


def test_ignored_voxels_have_no_say_and_no_gradient(name: str, labels: LabelSet) -> None:
    logits, target = draw(labels)
    loss = make_loss(name, labels)
    cut = loss(logits[..., :3], target[..., :3])
    target[..., 3:] = 255
    logits.requires_grad_()
    whole = loss(logits, target)
    torch.testing.assert_close(whole, cut)
    (gradient,) = torch.autograd.grad(whole, logits)
    assert not gradient[..., 3:].any()
    assert gradient[..., :3].any()


def test_a_patch_that_is_ignored_altogether_is_finite(name: str, labels: LabelSet) -> None:
    logits, target = draw(labels)
    logits.requires_grad_()
    value = make_loss(name, labels)(logits, torch.full_like(target, 255))
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None
    assert not logits.grad.any()


def test_all_classes_annotated_is_the_plain_loss(name: str, labels: LabelSet) -> None:
    logits, target = draw(labels)
    loss = make_loss(name, labels)
    torch.testing.assert_close(loss(logits, target, torch.ones(2, 3, dtype=torch.bool)), loss(logits, target))


def test_a_case_without_annotation_of_a_class_does_not_teach_about_it(labels: LabelSet) -> None:
    logits, target = draw(labels)
    annotated = torch.tensor([[True, True, True], [True, False, True]])
    drawn = target.clone()
    drawn[1][drawn[1] == 2] = 0  # nobody drew class b in the second case
    loss = make_loss("dice", labels)
    channel = 1 if labels.regions else 2
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits, drawn, annotated), logits)
    if labels.regions:
        assert not gradient[1, channel].any()
        assert gradient[1, 0].any()
    per_case = [loss(logits[i : i + 1], drawn[i : i + 1], annotated[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(loss(logits, drawn, annotated), (3 * per_case[0] + 2 * per_case[1]) / 5)


def test_cross_entropy_counts_unseen_classes_as_background() -> None:
    logits, target = draw()
    target[target == 2] = 0
    annotated = torch.tensor([[True, False, True]] * 2)
    p = logits.softmax(1)
    merged = torch.stack([p[:, 0] + p[:, 2], p[:, 1], p[:, 3]], dim=1)
    renumbered = torch.tensor([0, 1, 0, 2])[target.long()]
    expected = F.nll_loss(merged.log(), renumbered)
    torch.testing.assert_close(make_loss("ce")(logits, target, annotated), expected)
    # A stray voxel of the unseen class means background too.
    target[0, 0, 0, 0] = 0
    stray = target.clone()
    stray[0, 0, 0, 0] = 2
    torch.testing.assert_close(
        make_loss("dice_ce")(logits, stray, annotated), make_loss("dice_ce")(logits, target, annotated)
    )


def test_nothing_annotated_is_finite(name: str, labels: LabelSet) -> None:
    logits, target = draw(labels)
    logits.requires_grad_()
    value = make_loss(name, labels)(logits, torch.zeros_like(target), torch.zeros(2, 3, dtype=torch.bool))
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


# --- deep supervision, precision ----------------------------------------------------------------------------


def test_heads_weigh_half_of_the_one_above_and_one_together(name: str, labels: LabelSet) -> None:
    logits, target = draw(labels, 8, 12, 6)
    small, _ = draw(labels, 4, 4, 6)
    smaller, _ = draw(labels, 2, 4, 3)
    loss = make_loss(name, labels)
    expected = (
        4 * loss(logits, target)
        + 2 * loss(small, shrink_target(target, (4, 4, 6)))
        + loss(smaller, shrink_target(target, (2, 4, 3)))
    ) / 7
    torch.testing.assert_close(loss([logits, small, smaller], target), expected)


def test_a_shrunken_target_is_torchs_nearest_exact() -> None:
    _, target = draw(CLASSES, 8, 12, 6)
    for size in [(8, 12, 6), (4, 4, 6), (2, 4, 3), (1, 1, 1)]:
        expected = F.interpolate(target[:, None], size, mode="nearest-exact")[:, 0]
        assert torch.equal(shrink_target(target, size), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_of_any_size_give_a_finite_float32_loss(
    name: str, labels: LabelSet, dtype: torch.dtype
) -> None:
    logits, target = draw(labels, 32, 32, 32)
    half = (1000 * logits).to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = make_loss(name, labels)(half, target)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert half.grad is not None
    assert half.grad.isfinite().all()
    exact = make_loss(name, labels)(half.detach().float(), target)
    torch.testing.assert_close(value.detach(), exact)


def test_gradients_are_those_of_finite_differences(name: str, labels: LabelSet) -> None:
    logits, target = draw(labels, 3, 3)
    target[0, 0, 0] = 255
    annotated = torch.tensor([[True, True, True], [True, False, True]])
    loss = make_loss(name, labels)
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits, target, annotated), logits)
    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    step = 1e-2
    with torch.no_grad():
        up, down = (loss(logits + s * step * direction, target, annotated) for s in (1, -1))
    assert ((up - down) / (2 * step)).item() == pytest.approx((gradient * direction).sum().item(), abs=2e-4)


def test_an_unknown_loss_lists_the_choices() -> None:
    with pytest.raises(UsageError, match="choose one of: ce, dice, dice_ce"):
        make_loss("focal")
