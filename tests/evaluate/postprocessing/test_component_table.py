"""Components and holes of one case, counted by hand."""

from __future__ import annotations

import numpy as np

from vesal.data.labels import IGNORE, LabelSet
from vesal.evaluate.postprocessing.component_table import case_rows

LABELS = LabelSet.from_values({"a": 1, "b": 2})


def drawn(*rows: str) -> np.ndarray:
    """A 2D label map: a digit a voxel, a dot for background, a question mark for unknown truth."""
    values = {".": 0, "?": IGNORE}
    return np.array(
        [[values.get(letter, ord(letter) - ord("0")) for letter in row] for row in rows], np.uint8
    )


def counted(prediction: np.ndarray, truth: np.ndarray, **wanted):
    return case_rows("case", "patient", prediction, truth, LABELS, voxel_mm3=1.0, **wanted)


def test_every_component_is_counted_with_its_overlap_and_its_first_voxel():
    rows = counted(
        drawn("11....", "11..1.", "......", "..22.."),
        drawn("1?....", "11....", "......", "..2..."),
    )
    one, two = rows.classes
    assert (one.sizes.tolist(), one.counted.tolist(), one.tp.tolist()) == ([4, 1], [3, 1], [3, 0])
    assert (two.sizes.tolist(), two.tp.tolist()) == ([2], [1])
    assert (one.truth, two.truth) == (3, 1)
    assert one.truth_sizes.tolist() == [3]
    assert rows.foreground.tolist() == [4, 1, 2]
    assert one.foreground.tolist() == [0, 1]
    assert two.foreground.tolist() == [2]


def test_a_hole_is_counted_with_the_class_that_surrounds_it():
    holes = counted(drawn("11111", "1.121", "11111"), drawn("11111", "11111", "11111")).holes
    assert holes.counted.tolist() == [1]
    assert holes.tp.tolist() == [[1, 0]]
    assert holes.of.tolist() == [[True, False]]


def test_a_class_that_was_not_drawn_is_not_judged_and_an_empty_prediction_has_no_rows():
    rows = counted(drawn("....", "...."), drawn("11..", "...."), annotated=("b",))
    assert [one.judged for one in rows.classes] == [False, True]
    assert [len(one.sizes) for one in rows.classes] == [0, 0]
    assert len(rows.holes.counted) == 0
