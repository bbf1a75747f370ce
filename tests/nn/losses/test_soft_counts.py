"""Cross-entropies beside torch's: weighted, smoothed, balanced, and of classes that nobody looked for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vesal.nn.losses.soft_counts import Head, SigmoidCounts, SoftmaxCounts, ratio

WEIGHTS = torch.tensor([0.2, 1.0, 4.0, 2.0])
#: Regions {1, 2, 3}, {2, 3}, {3} of contiguous labels.
TABLE = F.pad(torch.tensor([[0.0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]), (0, 252))


def draw(outputs: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(2, outputs, 6, 7, generator=generator)
    return logits, torch.randint(0, 4, (2, 6, 7), generator=generator, dtype=torch.uint8)


def softmax(
    logits: torch.Tensor,
    target: torch.Tensor,
    annotated: torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
) -> SoftmaxCounts:
    return SoftmaxCounts(Head(logits, target, annotated, weights, (1.0, 1.0)))


def sigmoid(
    logits: torch.Tensor,
    target: torch.Tensor,
    annotated: torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
) -> SigmoidCounts:
    return SigmoidCounts(Head(logits, target, annotated, weights, (1.0, 1.0)), TABLE)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_weights_smoothing_and_ignored_voxels_are_torchs(
    weights: torch.Tensor | None, smoothing: float
) -> None:
    logits, target = draw()
    target[:, 1:3, 2] = 255
    expected = F.cross_entropy(logits, target.long(), weights, ignore_index=255, label_smoothing=smoothing)
    ours = softmax(logits, target, weights=weights).cross_entropy(smoothing=smoothing)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_an_unseen_class_makes_it_torchs_of_the_remaining_classes(smoothing: float) -> None:
    logits, target = draw()
    target[target == 2] = 0
    p = logits.softmax(1)
    merged = torch.stack([p[:, 0] + p[:, 2], p[:, 1], p[:, 3]], dim=1).log()
    renumbered = torch.tensor([0, 1, 0, 2])[target.long()]
    expected = F.cross_entropy(merged, renumbered, WEIGHTS[[0, 1, 3]], label_smoothing=smoothing)
    annotated = torch.tensor([[True, False, True]] * 2)
    ours = softmax(logits, target, annotated, WEIGHTS).cross_entropy(smoothing=smoothing)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_balanced_is_the_mean_over_the_classes_of_their_own_means(gamma: float) -> None:
    logits, target = draw()
    target[target == 3] = 1  # so that one class is absent
    target[0, 0] = 255
    log_p = logits.log_softmax(1)
    means = []
    for value in (0, 1, 2):
        hit = log_p[:, value][target == value]
        means.append((-((1 - hit.exp()) ** gamma) * hit).mean())
    ours = softmax(logits, target).cross_entropy(gamma=gamma, balanced=True)
    torch.testing.assert_close(ours, torch.stack(means).mean())
    weighted = softmax(logits, target, weights=WEIGHTS).cross_entropy(gamma=gamma, balanced=True)
    expected = (0.2 * means[0] + 1.0 * means[1] + 4.0 * means[2]) / 5.2
    torch.testing.assert_close(weighted, expected)


def test_balance_does_not_blow_up_the_smoothing_of_a_rare_class() -> None:
    # With the balance inside the sum over classes, where torch has its weights, each of the 999 voxels would pay
    # 999 times over for not being of the lone voxel's class.
    logits = torch.zeros(1, 2, 1, 1000)
    target = torch.zeros(1, 1, 1000, dtype=torch.uint8)
    target[0, 0, 0] = 1
    ours = softmax(logits, target).cross_entropy(smoothing=0.1, balanced=True)
    torch.testing.assert_close(ours, torch.tensor(2.0).log())


def test_binary_cross_entropy_is_torchs_weighted_by_region_and_smoothed() -> None:
    logits, target = draw(3)
    target[:, 2, 2:] = 255
    weights = torch.tensor([1.0, 3.0, 0.5])
    valid = (target != 255)[:, None].float()
    truth = TABLE[:, target.long()].movedim(0, 1)
    each = F.binary_cross_entropy_with_logits(logits, truth * 0.8 + 0.1, reduction="none") * valid
    by_region = each.sum((0, 2, 3)) / valid.sum()
    ours = sigmoid(logits, target, weights=weights).cross_entropy(smoothing=0.2)
    torch.testing.assert_close(ours, (by_region * weights).sum() / 4.5)


def test_balanced_binary_cross_entropy_is_the_mean_of_inside_and_outside() -> None:
    logits, target = draw(3)
    target[target == 3] = 2  # the innermost region is nowhere
    annotated = torch.tensor([[True, True, True], [True, False, True]])
    truth = TABLE[:, target.long()].movedim(0, 1)
    each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    whole = (each[:, 0][truth[:, 0] > 0].mean() + each[:, 0][truth[:, 0] == 0].mean()) / 2
    core, inner = each[0, 1], each[:, 2].mean()
    core = (core[truth[0, 1] > 0].mean() + core[truth[0, 1] == 0].mean()) / 2
    ours = sigmoid(logits, target, annotated).cross_entropy(balanced=True)
    torch.testing.assert_close(ours, (whole + core + inner) / 3)


@pytest.mark.parametrize("voxels", [1, 4096, 4097, 1_000_003])
def test_counts_of_large_organs_are_as_exact_as_those_of_small_ones(voxels: int) -> None:
    logits = torch.stack([torch.zeros(1, voxels), torch.full((1, voxels), 3.5)], dim=1)
    target = torch.ones(1, voxels, dtype=torch.uint8)
    target[:, voxels // 2 + 1 :] = 0
    inside = target.sum().item()
    counts = softmax(logits, target)
    of, p = counts.overlap(background=False), torch.tensor(3.5, dtype=torch.float64).sigmoid().item()
    assert of.both.item() == pytest.approx(p * inside, rel=1e-4)
    assert of.prediction.item() == pytest.approx(p * voxels, rel=1e-4)
    assert counts.truth.tolist() == [[voxels - inside, inside]]


def test_a_focal_term_of_a_certain_answer_has_a_finite_gradient() -> None:
    for gamma in (0.1, 0.5, 1.0, 2.0):
        logits = torch.tensor([100.0, -100.0])[None, :, None, None].requires_grad_()
        for value in (0, 1):
            target = torch.full((1, 1, 1), value, dtype=torch.uint8)
            (gradient,) = torch.autograd.grad(softmax(logits, target).cross_entropy(gamma=gamma), logits)
            assert gradient.isfinite().all()


def test_maps_leave_out_what_does_not_count() -> None:
    logits, target = draw()
    target[0, 0] = 255
    annotated = torch.tensor([[True, True, True], [True, False, True]])
    maps = softmax(logits, target, annotated, WEIGHTS).maps(background=True)
    assert not maps.truth[0, :, :7].any()
    assert maps.weights[1].tolist() == pytest.approx([0.2, 1.0, 0.0, 2.0])
    known = maps.probability[1, [0, 1, 3]].sum(0)  # the unseen class is in the background
    torch.testing.assert_close(known, torch.ones_like(known))
    assert softmax(logits, target).maps(background=False).probability.shape == (2, 3, 42)


def test_a_ratio_of_nothing_is_0_without_gradient() -> None:
    part = torch.tensor(3.0, requires_grad=True)
    value = ratio(part, torch.tensor(0.0))
    (gradient,) = torch.autograd.grad(value, part)
    assert value.item() == 0
    assert gradient.item() == 0
