"""Dice and HD95 after steps are those of the processed volumes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vesal.data.labels import IGNORE, LabelSet
from vesal.evaluate.case_scores import score_case
from vesal.infer.postprocess import Postprocess, Step, in_order
from vesal.metrics.overlap import confusions
from vesal.volume.geometry import Geometry

TWO = LabelSet.from_values({"a": 1, "b": 2})
TUMOUR = LabelSet.from_values(
    {"necrosis": 1, "oedema": 2, "enhancing": 4},
    regions={
        "whole": ["necrosis", "oedema", "enhancing"],
        "core": ["necrosis", "enhancing"],
        "active": ["enhancing"],
    },
)


def speckled(generator: np.random.Generator, shape: tuple[int, ...], values: int, share: float) -> np.ndarray:
    """Blobs of a few voxels with holes in them."""
    from scipy.ndimage import uniform_filter

    fields = [uniform_filter(generator.random(shape), 3) for _ in range(values)]
    limits = [np.quantile(field, 1 - share) for field in fields]
    array = np.zeros(shape, dtype=np.uint8)
    for value, (field, limit) in enumerate(zip(fields, limits, strict=True), start=1):
        array[field > limit] = value
    array[generator.random(shape) < 0.02] = 0
    return array


def every_step(labels: LabelSet) -> list[Step]:
    found = [Step(do="largest")]
    for name in labels.classes:
        found += [
            Step(do="largest", of=name),
            Step(do="min_size", of=name, mm3=20.0),
            Step(do="min_size", of=name, voxels=3),
            Step(do="min_volume", of=name, mm3=400.0),
            Step(do="fill_holes", of=name),
        ]
    return found


@pytest.mark.parametrize("labels", [TWO, TUMOUR, TWO.as_regions()], ids=["classes", "regions", "one by one"])
@pytest.mark.parametrize("shape", [(12, 10, 8), (30, 26)], ids=["3D", "2D"])
def test_dice_after_any_steps_is_that_of_the_processed_volumes(
    validation_cases, labels: LabelSet, shape: tuple[int, ...]
) -> None:
    generator = np.random.default_rng(len(shape))
    spacing = (1.0, 2.0, 3.0)[: len(shape)]
    values = len(labels.labels)
    pairs = []
    for share in (0.45, 0.3, 0.1):
        truth = speckled(generator, shape, values, 0.2)
        truth[generator.random(shape) < 0.05] = IGNORE
        pairs.append((speckled(generator, shape, values, share), truth))
    pairs.append((np.zeros(shape, dtype=np.uint8), pairs[0][1]))
    pairs.append((pairs[0][0], np.zeros(shape, dtype=np.uint8)))
    validation = validation_cases(pairs, labels, spacing)
    all_steps = every_step(labels)
    draws = [tuple(step for step in all_steps if generator.random() < 0.25) for _ in range(12)]
    filled = 0
    for steps in [(), *((step,) for step in all_steps), *draws]:
        ordered = in_order(steps, labels)
        found = np.stack([validation.dice(index, ordered) for index in range(len(labels.classes))], axis=1)
        for case, (prediction, truth) in enumerate(pairs):
            processed = prediction.copy()
            Postprocess(steps=ordered).apply(processed, labels, math.prod(spacing))
            filled += np.count_nonzero((processed > 0) & (prediction == 0))
            counts = confusions(processed, truth, labels.class_table)
            wanted = [1.0 if one.dice is None else one.dice for one in counts]
            np.testing.assert_allclose(found[case], wanted, atol=1e-12, err_msg=str((ordered, case)))
    assert filled > 0


def test_distances_are_those_of_the_processed_volumes(validation_cases) -> None:
    generator = np.random.default_rng(5)
    pairs = [(speckled(generator, (16, 16), 2, 0.3), speckled(generator, (16, 16), 2, 0.3)) for _ in range(3)]
    validation = validation_cases(pairs, TWO, (1.0, 2.0))
    steps = (Step(do="largest", of="a"),)
    processed, truth = pairs[1][0].copy(), pairs[1][1]
    Postprocess(steps=steps).apply(processed, TWO, 2.0)
    rows = score_case("", processed, truth, Geometry.from_spacing((16, 16), (1.0, 2.0)), TWO)
    assert validation.hd95([1], 0, steps)[0] == rows[0].hd95_mm
    assert validation.hd95([1], None, steps)[0] == pytest.approx((rows[0].hd95_mm + rows[1].hd95_mm) / 2)
    dropped = (Step(do="min_volume", of="a", voxels=1000),)
    assert validation.hd95([0], 0, dropped)[0] == pytest.approx(math.hypot(16, 32))


def drawn(*rows: str) -> np.ndarray:
    """A 2D label map: a digit a voxel, a dot for background, a question mark for unknown truth."""
    values = {".": 0, "?": IGNORE}
    return np.array(
        [[values.get(letter, ord(letter) - ord("0")) for letter in row] for row in rows], np.uint8
    )


def test_dice_and_changes_of_a_drawn_case_are_those_counted_by_hand(validation_cases) -> None:
    prediction = drawn("11....", "11..1.", "......", "..22..")
    truth = drawn("1?....", "11....", "......", "..2...")
    validation = validation_cases([(prediction, truth)], TWO, (1.0, 1.0))
    assert [sizes.tolist() for sizes in validation.cases[0].truth_sizes] == [[3], [1]]
    assert validation.dice(0, ()).tolist() == [6 / 7]
    assert validation.dice(1, ()).tolist() == [2 / 3]
    assert validation.dice(None, ()).tolist() == [pytest.approx((6 / 7 + 2 / 3) / 2)]
    steps = (Step(do="min_size", of="a", voxels=2),)
    assert validation.dice(0, steps).tolist() == [1.0]
    assert validation.changed(0, steps, ()).tolist() == [True]
    assert validation.changed(1, steps, ()).tolist() == [False]
    assert validation.changed(None, steps, ()).tolist() == [True]


def test_a_filled_hole_counts_for_the_class_that_surrounds_it(validation_cases) -> None:
    pair = drawn("11111", "1.121", "11111"), drawn("11111", "11111", "11111")
    validation = validation_cases([pair], TWO, (1.0, 1.0))
    for of, changed in (("a", True), ("b", False)):
        steps = (Step(do="fill_holes", of=of),)
        assert validation.dice(0, steps).tolist() == [2 * (13 + changed) / (28 + changed)]
        assert validation.changed(None, steps, ()).tolist() == [changed]


def test_a_class_that_was_not_drawn_has_no_dice_and_an_empty_prediction_is_scored(validation_cases) -> None:
    empty = drawn("....", "....")
    validation = validation_cases([(empty, drawn("11..", "...."))], TWO, (1.0, 1.0), annotated=("b",))
    assert np.isnan(validation.dice(0, ())).tolist() == [True]
    assert validation.dice(1, ()).tolist() == validation.dice(None, ()).tolist() == [1.0]
    assert validation.cases[0].truth_sizes[0].tolist() == []
    assert validation.hd95([0], None, ()).tolist() == [0.0]
    drawn_class = validation_cases([(empty, drawn("11..", "...."))], TWO, (1.0, 1.0))
    assert drawn_class.dice(0, ()).tolist() == [0.0]
