"""Losses and their gradients beside MONAI's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from loss_cases import CLASSES, REGIONS, draw, make_loss, one_hot

from vesal.data.labels import LabelSet
from vesal.nn.losses.losses import LossOptions


@pytest.fixture(params=["classes", "regions"])
def labels(request: pytest.FixtureRequest) -> LabelSet:
    return {"classes": CLASSES, "regions": REGIONS}[request.param]


@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize("background", [False, True])
def test_dice_agrees_with_monai(labels: LabelSet, batch_dice: bool, background: bool) -> None:
    losses = pytest.importorskip("monai.losses", reason="MONAI is the referee")
    logits, target = draw(labels)
    options = LossOptions(batch_dice=batch_dice, background=background, smooth=1e-2)
    kind = {"sigmoid": True} if labels.regions else {"softmax": True, "include_background": background}
    monai = losses.DiceLoss(batch=batch_dice, smooth_nr=1e-2, smooth_dr=1e-2, **kind)
    ours = make_loss("dice", labels, options)(logits, target)
    torch.testing.assert_close(ours, monai(logits, one_hot(labels, target)), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize("background", [False, True])
def test_tversky_agrees_with_monai(labels: LabelSet, batch_dice: bool, background: bool) -> None:
    losses = pytest.importorskip("monai.losses", reason="MONAI is the referee")
    logits, target = draw(labels)
    options = LossOptions(batch_dice=batch_dice, background=background, tversky_alpha=0.2, tversky_beta=0.9)
    kind = {"sigmoid": True} if labels.regions else {"softmax": True, "include_background": background}
    monai = losses.TverskyLoss(alpha=0.2, beta=0.9, batch=batch_dice, **kind)
    ours = make_loss("tversky", labels, options)(logits, target)
    torch.testing.assert_close(ours, monai(logits, one_hot(labels, target)), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 3.5])
def test_focal_and_its_gradient_agree_with_monai(labels: LabelSet, gamma: float) -> None:
    losses = pytest.importorskip("monai.losses", reason="MONAI is the referee")
    logits, target = draw(labels)
    logits.requires_grad_()
    ours = make_loss("focal", labels, LossOptions(focal_gamma=gamma))(logits, target)
    monai = losses.FocalLoss(gamma=gamma, use_softmax=not labels.regions)
    theirs = monai(logits, one_hot(labels, target))
    if not labels.regions:
        theirs = labels.outputs * theirs  # MONAI's mean is over the classes too, of which all but one are 0
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    gradients = [torch.autograd.grad(value, logits)[0] for value in (ours, theirs)]
    torch.testing.assert_close(*gradients, atol=1e-7, rtol=1e-4)


def test_weighted_dice_agrees_with_monai(labels: LabelSet) -> None:
    losses = pytest.importorskip("monai.losses", reason="MONAI is the referee")
    logits, target = draw(labels)
    options = LossOptions(class_weights=dict(zip(labels.classes, (1.0, 2.0, 5.0), strict=True)))
    kind = {"sigmoid": True} if labels.regions else {"softmax": True, "include_background": False}
    monai = losses.DiceLoss(weight=[1.0, 2.0, 5.0], **kind)
    ours = make_loss("dice", labels, options)(logits, target)
    # MONAI weights, and then divides by the number of classes.
    theirs = 3 / 8 * monai(logits, one_hot(labels, target))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_dice_and_cross_entropy_and_their_gradient_agree_with_monai(labels: LabelSet) -> None:
    losses = pytest.importorskip("monai.losses", reason="MONAI is the referee")
    logits, target = draw(labels)
    logits.requires_grad_()
    truth = one_hot(labels, target)
    ours = make_loss("dice_ce", labels)(logits, target)
    if labels.regions:
        binary = F.binary_cross_entropy_with_logits(logits, truth)
        theirs = losses.DiceLoss(sigmoid=True)(logits, truth) + binary
    else:
        monai = losses.DiceCELoss(softmax=True)
        monai.dice = losses.DiceLoss(softmax=True, include_background=False)
        theirs = monai(logits, truth)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    gradients = [torch.autograd.grad(value, logits)[0] for value in (ours, theirs)]
    torch.testing.assert_close(*gradients, atol=1e-7, rtol=1e-4)
