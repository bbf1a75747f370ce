"""The tables say what scoring the volumes says."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.data.labels import IGNORE, LabelSet
from vesal.evaluate.case_scores import score_case
from vesal.evaluate.postprocessing.component_table import case_rows
from vesal.evaluate.postprocessing.simulate import ValidationCases
from vesal.infer.postprocess import Step, in_order
from vesal.metrics.overlap import confusions

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
def test_the_tables_give_the_dice_of_the_volumes_after_any_steps(
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
            processed = validation._process(case, ordered)
            filled += np.count_nonzero((processed.prediction > 0) & (prediction == 0))
            counts = confusions(processed.prediction, truth, labels.class_table)
            wanted = [1.0 if one.dice is None else one.dice for one in counts]
            np.testing.assert_allclose(found[case], wanted, atol=1e-12, err_msg=str((ordered, case)))
    assert filled > 0


def test_the_distances_are_those_of_the_volumes_and_a_class_that_was_not_drawn_has_none(
    validation_cases,
) -> None:
    generator = np.random.default_rng(5)
    pairs = [(speckled(generator, (16, 16), 2, 0.3), speckled(generator, (16, 16), 2, 0.3)) for _ in range(3)]
    validation = validation_cases(pairs, TWO, (1.0, 2.0))
    steps = (Step(do="largest", of="a"),)
    processed = validation._process(1, steps)
    rows = score_case("", processed.prediction, processed.truth, processed.geometry, TWO)
    assert validation.hd95([1], 0, steps)[0] == rows[0].hd95_mm
    assert validation.hd95([1], None, steps)[0] == pytest.approx((rows[0].hd95_mm + rows[1].hd95_mm) / 2)
    undrawn = case_rows("c", "p", *pairs[0], TWO, voxel_mm3=2.0, annotated=("b",))
    alone = ValidationCases(TWO, [undrawn], lambda case, steps: validation._process(0, steps), workers=1)
    assert np.isnan(alone.dice(0, ())[0])
    assert not np.isnan(alone.dice(1, ())[0])
    assert alone.dice(None, ())[0] == alone.dice(1, ())[0]
