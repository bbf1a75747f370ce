"""One case: the policy for empty masks, regions, ignored voxels and lesions."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest

from vesal.data.labels import IGNORE, LabelSet
from vesal.errors import DataError, UsageError
from vesal.evaluate.case_scores import METRICS, ClassScore, lesion_classes, score_case
from vesal.metrics.overlap import Confusion, confusions
from vesal.metrics.surface import surface_distances
from vesal.volume.geometry import Geometry

TWO = LabelSet.from_values({"anterior": 1, "posterior": 2})


TUMOUR = LabelSet.from_values(
    {"necrosis": 1, "oedema": 2, "enhancing": 4},
    regions={
        "whole": ["necrosis", "oedema", "enhancing"],
        "core": ["necrosis", "enhancing"],
        "et": ["enhancing"],
    },
)


GRID = Geometry.from_spacing((12, 10, 8), (1.0, 1.5, 2.0))


DIAGONAL = float(np.linalg.norm([12.0, 15.0, 16.0]))


def box(value, *slices, shape=GRID.shape, into=None):
    array = np.zeros(shape, np.uint8) if into is None else into
    array[tuple(slice(*pair) for pair in slices)] = value
    return array


def counted(prediction: np.ndarray, truth: np.ndarray) -> Confusion:
    """The counts of two masks."""
    return confusions(prediction.view(np.uint8), truth.view(np.uint8), np.array([[False, True]]))[0]


def by_class(rows):
    return {row.class_name: row for row in rows}


def test_a_case_has_the_metrics_of_its_masks():
    truth = box(2, (7, 10), (2, 6), (2, 6), into=box(1, (2, 7), (2, 6), (2, 6)))
    prediction = box(2, (6, 11), (2, 6), (2, 6), into=box(1, (2, 7), (3, 6), (2, 6)))
    rows = score_case("a", prediction, truth, GRID, TWO, tolerance_mm=1.5)
    assert [row.class_name for row in rows] == ["anterior", "posterior"]
    for value, row in enumerate(rows, start=1):
        counts = counted(prediction == value, truth == value)
        distances = surface_distances(prediction == value, truth == value, GRID.spacing_mm)
        assert (row.dice, row.iou) == (counts.dice, counts.iou)
        assert (row.precision, row.recall) == (counts.precision, counts.recall)
        assert (row.hd95_mm, row.assd_mm) == (distances.hd(95), distances.assd)
        assert (row.nsd, row.boundary_dice) == (distances.nsd(1.5), distances.nsd(0))
        assert row.volume_ml == pytest.approx(counts.predicted * 3.0 / 1000)
        assert row.truth_volume_ml == pytest.approx(counts.actual * 3.0 / 1000)
        assert row.volume_error_ml == pytest.approx((counts.predicted - counts.actual) * 3.0 / 1000)
        assert row.volume_error_relative == pytest.approx(counts.predicted / counts.actual - 1)
        assert row.empty is None


def test_a_perfect_prediction_has_perfect_scores():
    truth = box(1, (2, 7), (2, 6), (2, 6))
    row = by_class(score_case("a", truth, truth, GRID, TWO))["anterior"]
    assert (row.dice, row.iou, row.precision, row.recall, row.nsd, row.boundary_dice) == (1.0,) * 6
    assert (row.hd95_mm, row.assd_mm, row.volume_error_ml, row.volume_error_relative) == (0.0,) * 4


def test_both_empty_leaves_every_metric_undefined():
    nothing = np.zeros(GRID.shape, np.uint8)
    for row in score_case("a", nothing, nothing, GRID, TWO):
        assert row.empty == "both"
        assert all(getattr(row, metric) is None for metric in METRICS)
        assert (row.volume_ml, row.truth_volume_ml) == (0.0, 0.0)


def test_nothing_predicted_scores_zero_and_the_image_diagonal():
    row = score_case("a", np.zeros(GRID.shape, np.uint8), box(1, (2, 4), (2, 4), (2, 4)), GRID, TWO)[0]
    assert row.empty == "prediction"
    assert (row.dice, row.iou, row.recall, row.nsd, row.boundary_dice) == (0.0,) * 5
    assert (row.hd95_mm, row.assd_mm) == pytest.approx((DIAGONAL, DIAGONAL))
    assert row.precision is None
    assert row.volume_error_relative == -1.0


def test_a_prediction_where_there_is_no_truth_scores_zero_and_the_image_diagonal():
    row = score_case("a", box(1, (2, 4), (2, 4), (2, 4)), np.zeros(GRID.shape, np.uint8), GRID, TWO)[0]
    assert row.empty == "truth"
    assert (row.dice, row.iou, row.precision, row.nsd, row.boundary_dice) == (0.0,) * 5
    assert (row.hd95_mm, row.assd_mm) == pytest.approx((DIAGONAL, DIAGONAL))
    assert (row.recall, row.volume_error_relative) == (None, None)
    assert row.volume_error_ml == pytest.approx(8 * 3.0 / 1000)


def test_no_measured_distance_is_larger_than_the_diagonal_of_a_missed_class():
    corners = box(1, (0, 1), (0, 1), (0, 1)), box(1, (11, 12), (9, 10), (7, 8))
    assert score_case("a", *corners, GRID, TWO)[0].hd95_mm < DIAGONAL


def test_regions_overlap_and_are_scored_as_unions():
    generator = np.random.default_rng(0)
    prediction, truth = generator.integers(0, 4, (2, *GRID.shape)).astype(np.uint8)
    rows = by_class(score_case("a", prediction, truth, GRID, TUMOUR))
    assert list(rows) == ["whole", "core", "et"]
    assert rows["whole"].dice == counted(prediction > 0, truth > 0).dice
    core = [(array == 1) | (array == 3) for array in (prediction, truth)]
    assert rows["core"].dice == counted(*core).dice
    assert rows["core"].assd_mm == surface_distances(*core, GRID.spacing_mm).assd


def test_ignored_voxels_change_no_metric():
    truth = box(1, (2, 7), (2, 6), (2, 6))
    truth[5:] = IGNORE
    right = np.where(truth == IGNORE, 0, truth)
    wrong = right.copy()
    wrong[5:] = 1
    wrong[9:] = 2
    assert score_case("a", wrong, truth, GRID, TWO) == score_case("a", right, truth, GRID, TWO)
    row = score_case("a", wrong, truth, GRID, TWO)[0]
    assert (row.dice, row.hd95_mm, row.nsd, row.volume_error_ml) == (1.0, 0.0, 1.0, 0.0)


def test_classes_that_were_not_annotated_have_no_row():
    truth = box(1, (2, 7), (2, 6), (2, 6))
    assert list(by_class(score_case("a", truth, truth, GRID, TWO, annotated=["anterior"]))) == ["anterior"]
    assert score_case("a", truth, truth, GRID, TWO, annotated=[]) == []
    regions = score_case("a", truth, truth, GRID, TUMOUR, annotated=["necrosis", "enhancing"])
    assert list(by_class(regions)) == ["core", "et"]
    with pytest.raises(DataError, match="a: liver is said to be annotated"):
        score_case("a", truth, truth, GRID, TWO, annotated=["liver"])


def test_a_two_dimensional_image_is_scored_in_its_plane():
    grid = Geometry.from_spacing((20, 10), (0.5, 2.0))
    truth, prediction = box(1, (2, 8), (2, 6), shape=(20, 10)), box(1, (2, 10), (2, 6), shape=(20, 10))
    row = score_case("a", prediction, truth, grid, TWO)[0]
    assert row.hd95_mm == pytest.approx(1.0)
    assert row.area_error_mm2 == pytest.approx(2 * 4 * 1.0)
    assert row.sizes == (pytest.approx(24.0), pytest.approx(32.0))
    assert row.volume_error_ml is None


def test_a_label_map_of_another_shape_than_its_grid_is_refused():
    with pytest.raises(DataError, match="The prediction of a has the shape"):
        score_case("a", np.zeros((3, 3, 3), np.uint8), np.zeros(GRID.shape, np.uint8), GRID, TWO)


def test_three_regions_of_a_whole_brain_take_less_than_two_seconds():
    shape = (240, 240, 155)
    axes = np.ogrid[tuple(slice(0, size) for size in shape)]

    def scan(centre):
        distance = sum(((axis - middle) / 50) ** 2 for axis, middle in zip(axes, centre, strict=True))
        return sum((distance < limit).astype(np.uint8) for limit in (1.0, 0.5, 0.2))

    truth, prediction = scan((120, 130, 80)), scan((123, 128, 81))
    grid = Geometry.from_spacing(shape, (1.0, 1.0, 1.0))
    began = time.process_time()
    score_case("a", prediction, truth, grid, TUMOUR)
    assert time.process_time() - began < 2.0


def many_classes(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """A hundred small boxes, a class each, some of them out of sight."""
    generator = np.random.default_rng(seed)
    label = np.zeros(shape, np.uint8)
    for value in range(1, 101):
        start = generator.integers(0, np.array(shape) - 5)
        label[tuple(slice(at, at + generator.integers(2, 6)) for at in start)] = value
    return label


HUNDRED = LabelSet.from_values({f"c{value}": value for value in range(1, 101)})


def test_each_class_in_its_own_box_has_the_distances_that_it_has_in_the_whole_image():
    grid = Geometry.from_spacing((30, 28, 26), (1.0, 1.5, 2.0))
    truth = many_classes(grid.shape, 1)
    prediction = np.roll(truth, (1, 0, -1), axis=(0, 1, 2))
    truth[np.random.default_rng(3).random(grid.shape) < 0.05] = IGNORE
    rows = by_class(score_case("a", prediction, truth, grid, HUNDRED))
    for value in range(1, 101):
        row = rows[f"c{value}"]
        whole = surface_distances(prediction == value, truth == value, grid.spacing_mm, truth == IGNORE)
        if row.empty is None:
            assert (row.hd95_mm, row.assd_mm, row.nsd) == (whole.hd(95), whole.assd, whole.nsd(1.0))


def test_many_classes_of_a_large_scan_take_little_memory_and_time():
    grid = Geometry.from_spacing((160, 160, 160), (1.0, 1.0, 1.0))
    truth = many_classes(grid.shape, 1)
    prediction = many_classes(grid.shape, 2)
    began = time.process_time()
    tracemalloc.start()
    score_case("a", prediction, truth, grid, HUNDRED)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * truth.size + (16 << 20)
    assert time.process_time() - began < 6.0


def row(case, name, dice, empty=None):
    values = dict.fromkeys(METRICS) | {"dice": dice}
    return ClassScore(case=case, class_name=name, volume_ml=1.0, truth_volume_ml=1.0, empty=empty, **values)


LIVER = LabelSet.from_values({"liver": 1, "liver tumour": 2})


def liver(*spots):
    """A liver with tumours of one voxel."""
    label = box(1, (1, 11), (1, 9), (1, 7))
    for spot in spots:
        label[spot] = 2
    return label


def test_lesions_are_counted_in_classes_whose_name_says_so_or_that_are_named():
    truth, prediction = liver((3, 3, 3), (8, 6, 5)), liver((3, 3, 3), (6, 2, 2), (5, 7, 5))
    rows = by_class(score_case("a", prediction, truth, GRID, LIVER))
    assert rows["liver"].lesions is None
    tumour = rows["liver tumour"]
    assert (tumour.lesions, tumour.lesions_found, tumour.false_positives) == (2, 1, 2)
    assert (tumour.lesion_sensitivity, tumour.lesion_precision) == pytest.approx((1 / 2, 1 / 3))
    assert (tumour.lesion_f1, tumour.lesion_dice) == pytest.approx((2 / 5, 1 / 4))
    assert tumour.false_positive_ml == pytest.approx(2 * 3.0 / 1000)
    named = by_class(score_case("a", prediction, truth, GRID, LIVER, lesions=["liver"]))
    assert (named["liver"].lesions, named["liver tumour"].lesions) == (1, None)
    with pytest.raises(UsageError, match=r"no class 'kidney'; choose one of: liver, liver tumour"):
        score_case("a", prediction, truth, GRID, LIVER, lesions=["kidney"])


@pytest.mark.parametrize("name", ["tumor", "Brain metastases", "ms_lesions", "ET", "nodule", "cancer"])
def test_names_of_lesions_are_recognised_and_organs_are_none(name):
    assert lesion_classes(LabelSet.from_values({"pancreas": 1, name: 2})) == (name,)


def test_a_scan_without_a_lesion_counts_its_false_positives_alone():
    tumour = by_class(score_case("a", liver((3, 3, 3)), liver(), GRID, LIVER))["liver tumour"]
    assert (tumour.lesions, tumour.false_positives, tumour.lesion_sensitivity) == (0, 1, None)
    clean = by_class(score_case("a", liver(), liver(), GRID, LIVER))["liver tumour"]
    assert (clean.false_positives, clean.false_positive_ml, clean.lesion_f1) == (0, 0.0, None)


def test_accuracy_is_of_all_voxels_of_the_scan_that_count():
    grid = Geometry.from_spacing((10, 10, 10), (1.0, 1.0, 1.0))
    truth, prediction = np.zeros((2, 10, 10, 10), np.uint8)
    truth[4, 4, 4:6] = 1
    missed = score_case("a", prediction, truth, grid, LabelSet.from_values({"x": 1}))[0]
    assert missed.accuracy == pytest.approx(998 / 1000)
    truth[0], prediction[4, 4, 4] = 255, 1
    half = score_case("a", prediction, truth, grid, LabelSet.from_values({"x": 1}))[0]
    assert half.accuracy == pytest.approx(899 / 900)
