"""Validation during training: which classes count, and that many classes take no more memory than one."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from vesal.data.labels import IGNORE, LabelSet
from vesal.train import validation


class Answers:
    """A model that answers with given label maps, one case after the other."""

    def __init__(self, labels: LabelSet, maps: list[np.ndarray]) -> None:
        self.labels = labels
        self.plan = SimpleNamespace(dimension=3)
        self._maps = iter(maps)

    def windows(self, *, overlap: float = 0.5) -> None:
        return None

    def logits(self, _image: np.ndarray, _windows: None) -> np.ndarray:
        return next(self._maps)


@pytest.fixture(autouse=True)
def _answers_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "labels_from_logits", lambda logits, shape, labels: logits)


def case(truth: np.ndarray, annotated: tuple[str, ...] | None = None) -> SimpleNamespace:
    return SimpleNamespace(annotated=annotated, load=lambda mmap: (np.zeros((1, *truth.shape)), truth))


def row(*values: int) -> np.ndarray:
    return np.array(values, np.uint8)


def test_empty_and_undrawn_classes_are_left_out_and_ignored_voxels_not_counted() -> None:
    labels = LabelSet.from_values({"a": 1, "b": 2, "c": 3})
    cases = [case(row(1, 1, 0, IGNORE)), case(row(2, 2, 0, 1), annotated=("b",))]
    found = validation.validate(Answers(labels, [row(1, 0, 0, 1), row(2, 2, 1, 0)]), cases)
    assert found.per_class == {"a": pytest.approx(2 / 3), "b": 1.0, "c": None}
    assert found.dice == pytest.approx(5 / 6)
    assert found.cases == 2


def test_a_hundred_classes_are_counted_without_a_mask_of_each() -> None:
    labels = LabelSet.from_values({f"c{value}": value for value in range(1, 101)})
    truth = np.random.default_rng(0).integers(0, 101, (100, 100, 200)).astype(np.uint8)
    tracemalloc.start()
    found = validation.validate(Answers(labels, [truth]), [case(truth)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.dice == 1.0
    assert peak < 30 * truth.size


def test_the_example_is_the_first_case_with_foreground_and_else_the_first() -> None:
    labels = LabelSet.from_values({"a": 1})
    cases = [case(row(0, 0, 0)), case(row(0, IGNORE, 0)), case(row(0, 1, 0)), case(row(1, 1, 1))]
    answers = [row(0, 0, 1), row(1, 0, 0), row(0, 1, 1), row(1, 1, 0)]
    example = validation.validate(Answers(labels, answers), cases).example
    assert example is not None
    assert example.case is cases[2]
    assert example.predicted.tolist() == [0, 1, 1]
    example = validation.validate(Answers(labels, answers), cases[:2]).example
    assert example is not None
    assert example.case is cases[0]


def test_a_validation_shows_enough_cases_unless_they_take_far_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels = LabelSet.from_values({"a": 1})
    truths = [row(0, 1, 1)] * 7

    def looked_at(allowed: validation.Allowance | None, case_s: float) -> int:
        clock = iter(case_s * number for number in range(len(truths) + 1))
        monkeypatch.setattr(validation.time, "monotonic", lambda: next(clock))
        model = Answers(labels, truths)
        return validation.validate(model, [case(truth) for truth in truths], allowed=allowed).cases

    allowed = validation.Allowance(enough_s=6, least=4, most_s=30)
    seconds = (0.5, 1.1, 2.0, 7.0, 7.6, 16.0, 31.0)
    assert [looked_at(allowed, each) for each in seconds] == [7, 6, 4, 4, 4, 2, 1]
    assert looked_at(None, 100.0) == 7
