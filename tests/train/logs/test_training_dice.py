"""Dice of training patches: counted as the validation counts, without a random number."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vesal.data.labels import IGNORE, LabelSet
from vesal.metrics.overlap import confusions
from vesal.train.batches import Batch
from vesal.train.logs.training_dice import TrainingDice

PLAIN = LabelSet.from_values({"background": 0, "shell": 1, "core": 2, "absent": 3})
REGIONS = LabelSet.from_values(
    {"background": 0, "oedema": 1, "core": 2}, regions={"whole": ("oedema", "core"), "core": ("core",)}
)


def one_hot(labels: list[int], classes: int) -> torch.Tensor:
    """(1, K, V) logits whose largest is that of the label."""
    return torch.nn.functional.one_hot(torch.tensor([labels]), classes).movedim(-1, 1).float()


def test_dice_by_hand_with_an_ignored_voxel_and_a_class_that_is_nowhere() -> None:
    dice = TrainingDice(PLAIN)
    truth = torch.tensor([[1, 1, 1, 0, 2, IGNORE]], dtype=torch.uint8)
    dice.add(one_hot([1, 1, 0, 1, 0, 3], 4), Batch(torch.zeros(1), truth, None))
    found = dice.read()
    assert found["train_dice_per_class"] == {"shell": pytest.approx(4 / 6), "core": 0.0, "absent": None}
    assert found["train_dice"] == pytest.approx(2 / 6)
    assert dice.read() == {}


def test_regions_are_counted_each_by_itself_and_batches_together() -> None:
    dice = TrainingDice(REGIONS)
    truth = torch.tensor([[1, 2, 2, 0]], dtype=torch.uint8)
    logits = torch.tensor([[[1.0, 1.0, -1.0, 1.0], [-1.0, 1.0, -1.0, -1.0]]])
    dice.add([logits, logits[..., ::2]], Batch(torch.zeros(1), truth, None))
    assert dice.read()["train_dice_per_class"] == {
        "whole": pytest.approx(4 / 6),
        "core": pytest.approx(2 / 3),
    }
    for of in (truth, torch.full_like(truth, IGNORE)):
        dice.add(logits, Batch(torch.zeros(1), of, None))
    assert dice.read()["train_dice_per_class"]["core"] == pytest.approx(2 / 3)


def test_a_class_counts_only_in_cases_in_which_it_was_looked_for() -> None:
    dice = TrainingDice(PLAIN)
    truth = torch.tensor([[1, 0], [0, 0]], dtype=torch.uint8)
    logits = torch.cat([one_hot([1, 0], 4), one_hot([1, 1], 4)])
    annotated = torch.tensor([[True, True, True], [False, True, True]])
    dice.add(logits, Batch(torch.zeros(1), truth, annotated))
    assert dice.read()["train_dice_per_class"]["shell"] == 1.0


@pytest.mark.parametrize("labels", [PLAIN, REGIONS])
def test_it_agrees_with_the_scores_of_label_maps_and_draws_no_random_number(labels: LabelSet) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, labels.outputs, 6, 5, 4), generator=generator)
    truth = torch.randint(0, len(labels.labels) + 1, (2, 6, 5, 4), generator=generator, dtype=torch.uint8)
    truth[0, 0] = IGNORE
    before = torch.random.get_rng_state()
    dice = TrainingDice(labels)
    dice.add(logits, Batch(torch.zeros(1), truth, None))
    found = dice.read()["train_dice_per_class"]
    assert torch.equal(torch.random.get_rng_state(), before)
    for index, name in enumerate(labels.classes):
        mask = logits[:, index] > 0 if labels.regions else logits.argmax(1) == index + 1
        table = labels.class_table[index : index + 1]
        inside = int(np.flatnonzero(table[0])[0])
        predicted = (mask.numpy() * inside).astype(np.uint8)
        (counts,) = confusions(predicted, truth.numpy(), table, IGNORE)
        assert found[name] == pytest.approx(counts.dice)
