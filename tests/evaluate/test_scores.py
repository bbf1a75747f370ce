"""Many cases: means, medians, intervals, and what is excluded from them."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.data.labels import LabelSet
from vesal.errors import VesalError
from vesal.evaluate.case_scores import METRICS, ClassScore, score_case
from vesal.evaluate.scores import Scores, summarise
from vesal.volume.geometry import Geometry

TWO = LabelSet.from_values({"anterior": 1, "posterior": 2})


GRID = Geometry.from_spacing((12, 10, 8), (1.0, 1.5, 2.0))


def box(value, *slices, shape=GRID.shape, into=None):
    array = np.zeros(shape, np.uint8) if into is None else into
    array[tuple(slice(*pair) for pair in slices)] = value
    return array


def row(case, name, dice, empty=None):
    values = dict.fromkeys(METRICS) | {"dice": dice}
    return ClassScore(case=case, class_name=name, volume_ml=1.0, truth_volume_ml=1.0, empty=empty, **values)


def test_a_summary_averages_defined_values_and_counts_the_others():
    rows = [row("a", "anterior", 0.9), row("b", "anterior", 0.7), row("c", "anterior", None, "both")]
    summary = summarise(rows, TWO, tolerance_mm=1.0).of("dice", "anterior")
    assert (summary.mean, summary.median) == pytest.approx((0.8, 0.8))
    assert (summary.count, summary.excluded) == (2, 1)
    assert 0.0 <= summary.low < 0.8 < summary.high <= 1.0
    assert 0.7 <= summary.median_low < 0.8 < summary.median_high <= 0.9


def test_the_mean_over_classes_is_taken_in_each_case_first():
    rows = [row("a", "anterior", 1.0), row("a", "posterior", 0.5), row("b", "anterior", 0.5)]
    rows += [row("b", "posterior", None, "both"), row("c", "anterior", None, "both")]
    summary = summarise(rows, TWO, tolerance_mm=1.0).of("dice")
    assert summary.mean == pytest.approx((0.75 + 0.5) / 2)
    assert (summary.count, summary.excluded) == (2, 1)


def test_a_class_without_a_defined_value_has_no_mean_and_no_interval():
    summary = summarise([row("a", "anterior", 0.5)], TWO, tolerance_mm=1.0).of("dice", "posterior")
    assert (summary.mean, summary.median, summary.low, summary.high) == (None,) * 4
    assert (summary.count, summary.excluded) == (0, 0)


def test_the_same_rows_give_the_same_summary():
    rows = [row(str(case), "anterior", case / 10) for case in range(10)]
    assert summarise(rows, TWO, tolerance_mm=1.0) == summarise(rows, TWO, tolerance_mm=1.0)


def test_an_unknown_metric_or_class_has_no_summary():
    with pytest.raises(KeyError, match="liver"):
        summarise([row("a", "anterior", 0.5)], TWO, tolerance_mm=1.0).of("dice", "liver")


@pytest.fixture
def scores():
    """Of three cases: one good, one with a class that was missed, one where a class is in neither."""
    good = box(2, (7, 10), (2, 6), (2, 6), into=box(1, (2, 7), (2, 6), (2, 6)))
    shifted = box(2, (8, 10), (2, 6), (2, 6), into=box(1, (2, 8), (2, 6), (2, 6)))
    one = box(1, (2, 7), (2, 6), (2, 6))
    rows = score_case("good", shifted, good, GRID, TWO)
    rows += score_case("missed|one", one, good, GRID, TWO)
    rows += score_case("neither", one, one, GRID, TWO)
    return summarise(rows, TWO, tolerance_mm=2.0, remarks=["Something to know."])


def test_a_damaged_or_foreign_scores_file_is_named(tmp_path):
    path = tmp_path / "scores.json"
    with pytest.raises(VesalError, match=r"scores\.json"):
        Scores.load(tmp_path)
    path.write_text('{"version": 7}')
    with pytest.raises(VesalError, match=r"scores\.json does not hold scores"):
        Scores.load(path)


def liver(*spots):
    """A liver with tumours of one voxel."""
    label = box(1, (1, 11), (1, 9), (1, 7))
    for spot in spots:
        label[spot] = 2
    return label


def test_pictures_are_of_slices_with_a_label_where_there_are_any():
    def flat(case, dice, empty):
        return row(case, "a", dice, empty).model_copy(
            update={"volume_ml": None, "truth_volume_ml": None, "area_mm2": 1.0, "truth_area_mm2": 1.0}
        )

    labels = LabelSet.from_values({"a": 1})
    rows = [
        flat("x", 0.5, None),
        flat("y", None, "both"),
        flat("z", 0.0, "truth"),
        flat("w", 0.0, "prediction"),
    ]
    assert summarise(rows, labels, tolerance_mm=1).shown_dice() == {"x": 0.5, "w": 0.0}
    assert summarise(rows[1:3], labels, tolerance_mm=1).shown_dice() == {"y": None, "z": 0.0}
    solid = [row("x", "a", 0.5), row("z", "a", 0.0, "truth")]
    assert summarise(solid, labels, tolerance_mm=1).shown_dice() == {"x": 0.5, "z": 0.0}


def test_intervals_draw_patients_where_some_have_several_cases():
    generator = np.random.default_rng(0)
    dice = np.repeat(generator.uniform(0.6, 0.9, 8), 2) + generator.normal(0, 0.005, 16)
    rows = [row(f"c{place:02}", "anterior", value) for place, value in enumerate(dice.tolist())]
    patients = {one.case: f"Patient {place // 2}" for place, one in enumerate(rows)}
    by_patient = summarise(rows, TWO, tolerance_mm=1.0, patients=patients)
    by_case = summarise(rows, TWO, tolerance_mm=1.0, patients={one.case: one.case for one in rows})
    assert by_case == summarise(rows, TWO, tolerance_mm=1.0)
    assert (by_case.drawn, by_patient.drawn) == ("cases", "patients")
    assert len(set(by_patient.patients.values())) == 8
    assert "Patient" not in str(by_patient.patients)
    wide, narrow = (scores.of("dice", "anterior") for scores in (by_patient, by_case))
    assert wide.mean == narrow.mean
    assert wide.high - wide.low > 1.2 * (narrow.high - narrow.low)
    assert wide.median_high - wide.median_low > narrow.median_high - narrow.median_low
    alone = summarise(rows[:2], TWO, tolerance_mm=1.0, patients=patients).of("dice", "anterior")
    assert (alone.count, alone.low, alone.median_high) == (2, None, None)
