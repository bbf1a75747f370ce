"""Scores: the policy for empty masks, regions and ignored voxels, folders, means, and the files."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest

from vesal.data.labels import IGNORE, LabelSet
from vesal.errors import DataError, UsageError, VesalError
from vesal.evaluate.score_folders import (
    METRICS,
    ClassScore,
    Scores,
    lesion_classes,
    score_case,
    score_folders,
    summarise,
)
from vesal.evaluate.tables import save_scores, scores_csv, scores_markdown
from vesal.metrics.overlap import confusion
from vesal.metrics.surface import surface_distances
from vesal.volume.geometry import Geometry
from vesal.volume.io import write_label
from vesal.volume.volume import LabelMap

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


def by_class(rows):
    return {row.class_name: row for row in rows}


# --- one case -------------------------------------------------------------------------------------------------


def test_a_case_has_the_metrics_of_its_masks():
    truth = box(2, (7, 10), (2, 6), (2, 6), into=box(1, (2, 7), (2, 6), (2, 6)))
    prediction = box(2, (6, 11), (2, 6), (2, 6), into=box(1, (2, 7), (3, 6), (2, 6)))
    rows = score_case("a", prediction, truth, GRID, TWO, tolerance_mm=1.5)
    assert [row.class_name for row in rows] == ["anterior", "posterior"]
    for value, row in enumerate(rows, start=1):
        counts = confusion(prediction == value, truth == value)
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
    assert rows["whole"].dice == confusion(prediction > 0, truth > 0).dice
    core = [(array == 1) | (array == 3) for array in (prediction, truth)]
    assert rows["core"].dice == confusion(*core).dice
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
    assert row.volume_error_ml == pytest.approx(2 * 4 * 1.0 / 1000)


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


# --- many cases -----------------------------------------------------------------------------------------------


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


def test_the_same_rows_give_the_same_summary_and_seeds_change_intervals_alone():
    rows = [row(str(case), "anterior", case / 10) for case in range(10)]
    first = summarise(rows, TWO, tolerance_mm=1.0, seed=1)
    assert first == summarise(rows, TWO, tolerance_mm=1.0, seed=1)
    other = summarise(rows, TWO, tolerance_mm=1.0, seed=2)
    assert first.of("dice").low != other.of("dice").low
    assert first.of("dice").mean == other.of("dice").mean


def test_an_unknown_metric_or_class_has_no_summary():
    with pytest.raises(KeyError, match="liver"):
        summarise([row("a", "anterior", 0.5)], TWO, tolerance_mm=1.0).of("dice", "liver")


# --- the files ------------------------------------------------------------------------------------------------


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


def test_scores_come_back_from_their_folder_as_they_were(scores, tmp_path):
    save_scores(tmp_path, scores)
    assert Scores.load(tmp_path) == scores
    assert Scores.load(tmp_path / "scores.json") == scores


def test_the_json_holds_no_nan_and_the_agreed_keys(scores, tmp_path):
    save_scores(tmp_path, scores)

    def refuse(name):
        raise AssertionError(f"{name} in JSON")

    found = json.loads((tmp_path / "scores.json").read_text(), parse_constant=refuse)
    assert found["version"] == 1
    assert found["classes"] == ["anterior", "posterior"]
    keys = {"case", "class", "dice", "iou", "precision", "recall", "hd95_mm", "assd_mm", "nsd", "empty"}
    assert keys | {"volume_ml", "truth_volume_ml", "volume_error_ml"} <= set(found["cases"][0])
    expected = {
        "class",
        "metric",
        "mean",
        "median",
        "low",
        "high",
        "median_low",
        "median_high",
        "count",
        "excluded",
    }
    assert set(found["summary"][0]) == expected
    assert {entry["class"] for entry in found["summary"]} == {"anterior", "posterior", "mean"}


def test_the_csv_has_a_line_a_case_and_class_and_leaves_undefined_values_empty(scores):
    lines = list(csv.DictReader(io.StringIO(scores_csv(scores))))
    assert [(line["case"], line["class"]) for line in lines[:2]] == [
        ("good", "anterior"),
        ("good", "posterior"),
    ]
    assert float(lines[0]["dice"]) == scores.cases[0].dice
    assert (lines[5]["dice"], lines[5]["empty"]) == ("", "both")


def test_the_markdown_tells_means_intervals_exclusions_and_remarks(scores):
    text = scores_markdown(scores)
    summary = scores.of("dice", "anterior")
    assert f"{summary.mean:.3f} [{summary.low:.3f}, {summary.high:.3f}]" in text
    assert "posterior: empty in prediction and truth in 1 (excluded from the means): neither." in text
    assert "2 (1 excluded)" in text
    assert "Something to know." in text
    assert "missed\\|one" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in tables}) <= 3


def test_a_damaged_or_foreign_scores_file_is_named(tmp_path):
    path = tmp_path / "scores.json"
    with pytest.raises(VesalError, match=r"scores\.json"):
        Scores.load(tmp_path)
    path.write_text('{"version": 7}')
    with pytest.raises(VesalError, match=r"scores\.json does not hold scores"):
        Scores.load(path)


# --- folders --------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path):
    """Truth of three cases and their predictions, which are the truth moved by a voxel."""
    truth, predictions = tmp_path / "truth", tmp_path / "predictions"
    for folder in (truth, predictions):
        folder.mkdir()
    for number, case in enumerate(("a", "b", "c")):
        actual = box(4, (7, 10), (2, 6), (2, 6), into=box(1, (2, 7), (2, 6), (2, 5 + number)))
        put(truth / f"{case}.nii.gz", actual)
        put(predictions / f"{case}.nii.gz", np.roll(actual, 1, axis=1))
    return predictions, truth


def put(path, array, geometry=GRID):
    write_label(path, LabelMap(array, geometry))


def test_folders_are_matched_by_name_and_scored_in_order(folders):
    seen = []
    labels = LabelSet.from_values({"x": 1, "y": 4})
    scores = score_folders(
        *folders, labels, tolerance_mm=1.5, workers=2, progress=lambda *state: seen.append(state)
    )
    assert [row.case for row in scores.cases] == ["a", "a", "b", "b", "c", "c"]
    assert scores.classes == ("x", "y")
    assert scores.tolerance_mm == 1.5
    assert scores.of("nsd").mean == 1.0  # every voxel moved by 1.5 mm
    assert 0.5 < scores.of("dice").mean < 1.0
    assert scores.failures == ()
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_labels_that_are_not_given_are_the_values_of_the_truth(folders):
    seen = []
    scores = score_folders(*folders, progress=lambda *state: seen.append(state))
    assert scores.classes == ("1", "4")
    assert seen[-1] == (6, 6)


def test_the_number_of_workers_changes_nothing(folders):
    assert score_folders(*folders, workers=1) == score_folders(*folders, workers=3)


def test_a_prediction_may_be_in_another_format(folders):
    predictions, truth = folders
    array = np.roll(box(1, (2, 7), (2, 6), (2, 5)), 1, axis=1)
    (predictions / "a.nii.gz").unlink()
    put(predictions / "a.nii", array)
    assert len(score_folders(predictions, truth).cases) == 6


def test_missing_predictions_are_an_error_that_names_all_of_them(folders):
    predictions, truth = folders
    (predictions / "a.nii.gz").unlink()
    (predictions / "c.nii.gz").unlink()
    with pytest.raises(DataError, match=r"no prediction of 2 of the 3 cases in .*: a, c;"):
        score_folders(predictions, truth)


def test_predictions_without_truth_are_remarked(folders):
    predictions, truth = folders
    (truth / "b.nii.gz").unlink()
    scores = score_folders(predictions, truth)
    assert {row.case for row in scores.cases} == {"a", "c"}
    assert scores.remarks == (f"Predictions without truth in {truth} were not scored: b.",)
    assert "b" in scores_markdown(scores)


def test_a_prediction_on_another_grid_is_a_failure_that_names_both_files_and_the_fix(folders):
    predictions, truth = folders
    moved = GRID.affine.copy()
    moved[0, 3] += 3.0
    put(predictions / "a.nii.gz", np.zeros(GRID.shape, np.uint8), Geometry(GRID.shape, moved))
    put(predictions / "c.nii.gz", np.zeros((4, 4, 4), np.uint8), Geometry.from_spacing((4, 4, 4), (1, 1, 1)))
    scores = score_folders(predictions, truth)
    assert {row.case for row in scores.cases} == {"b"}
    assert [failure.id for failure in scores.failures] == ["a", "c"]
    for failure in scores.failures:
        assert str(predictions / f"{failure.id}.nii.gz") in failure.message
        assert str(truth / f"{failure.id}.nii.gz") in failure.message
        assert "vesal predict" in failure.message
    assert "3 mm apart" in scores.failures[0].message
    assert "shape (4, 4, 4)" in scores.failures[1].message


def test_a_value_in_a_prediction_that_was_not_declared_is_a_failure_of_its_case_alone(folders):
    predictions, truth = folders
    put(predictions / "b.nii.gz", box(3, (2, 7), (2, 6), (2, 5)))
    scores = score_folders(predictions, truth)
    assert [failure.id for failure in scores.failures] == ["b"]
    assert "values [3] are not declared" in scores.failures[0].message
    assert str(predictions / "b.nii.gz") in scores.failures[0].message
    assert "## Cases that could not be scored" in scores_markdown(scores)
    assert scores.to_dict()["failures"][0]["id"] == "b"


def test_a_damaged_file_stops_no_other_case(folders):
    predictions, truth = folders
    whole = (predictions / "b.nii.gz").read_bytes()
    (predictions / "b.nii.gz").write_bytes(whole[: len(whole) // 2])
    scores = score_folders(predictions, truth)
    assert [failure.id for failure in scores.failures] == ["b"]
    assert "b.nii.gz" in scores.failures[0].message
    assert scores.of("dice").count == 2


def test_scoring_ends_with_an_error_when_no_case_can_be_scored(folders):
    predictions, truth = folders
    for path in predictions.iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="None of the 3 cases could be scored; the first, a"):
        score_folders(predictions, truth)


def test_annotated_classes_of_single_cases_are_honoured(folders):
    scores = score_folders(*folders, annotated={"b": ["4"]})
    assert [(row.case, row.class_name) for row in scores.cases if row.case == "b"] == [("b", "4")]
    assert scores.of("dice", "1").count == 2


def test_folders_that_cannot_be_used_are_named(folders, tmp_path):
    predictions, truth = folders
    with pytest.raises(UsageError, match=r"There is no folder .*nowhere"):
        score_folders(tmp_path / "nowhere", truth)
    with pytest.raises(UsageError, match="tolerance"):
        score_folders(predictions, truth, tolerance_mm=-1.0)
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="holds no label map"):
        score_folders(predictions, tmp_path / "bare")
    put(predictions / "a.nii", np.zeros(GRID.shape, np.uint8))
    with pytest.raises(DataError, match="both the case a"):
        score_folders(predictions, truth)


def test_truth_without_any_label_is_refused_when_labels_are_derived(tmp_path):
    put(tmp_path / "a.nii.gz", np.zeros(GRID.shape, np.uint8))
    with pytest.raises(DataError, match="other than 0"):
        score_folders(tmp_path, tmp_path)


def test_pictures_of_slices_are_scored(tmp_path):
    grid = Geometry.from_spacing((16, 12), (1.0, 1.0))
    for name, wide in (("truth", 6), ("predictions", 8)):
        (tmp_path / name).mkdir()
        put(tmp_path / name / "slice_1.png", box(255, (2, 2 + wide), (2, 6), shape=(16, 12)), grid)
    scores = score_folders(tmp_path / "predictions", tmp_path / "truth")
    assert scores.classes == ("255",)
    assert scores.of("dice").mean == pytest.approx(2 * 24 / (24 + 32))


def test_hippocampus_labels_against_themselves_are_perfect(data_dir):
    labels = data_dir / "Task04_Hippocampus" / "labelsTr"
    scores = score_folders(labels, labels, LabelSet.from_values({"Anterior": 1, "Posterior": 2}))
    assert scores.of("dice").mean == 1.0
    assert scores.of("hd95_mm").mean == 0.0
    assert scores.failures == ()


def test_evaluating_loads_no_torch_and_no_trainer():
    code = (
        "import sys, vesal.evaluate.score_folders; print(sorted({'torch', 'vesal.train'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# --- lesions and volumes --------------------------------------------------------------------------------------

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


def test_lesions_are_averaged_and_shown_where_they_were_counted():
    rows = score_case("a", liver((3, 3, 3)), liver((3, 3, 3), (8, 6, 5)), GRID, LIVER)
    rows += score_case("b", liver((6, 2, 2)), liver(), GRID, LIVER)
    scores = summarise(rows, LIVER, tolerance_mm=1.0)
    assert scores.lesions == ("liver tumour",)
    assert scores.of("false_positives", "liver tumour").mean == 0.5
    assert scores.of("lesion_sensitivity", "liver tumour").count == 1
    assert scores.of("false_positives").mean == 0.5
    with pytest.raises(KeyError):
        scores.of("lesion_f1", "liver")
    assert "| liver tumour |       2 |     1 |" in scores_markdown(scores)
    assert "lesion_f1" in scores_csv(scores).splitlines()[0]
    none = summarise([row("a", "anterior", 0.5)], TWO, tolerance_mm=1.0)
    assert "## Lesions" not in scores_markdown(none)
    assert "lesion" not in scores_csv(none)


def test_volumes_have_their_bias_and_limits_of_agreement():
    rows = []
    for case, (volume, truth) in enumerate([(5.0, 4.0), (7.5, 7.0), (9.0, 9.0), (0.0, 0.0)]):
        empty = "both" if truth == 0 else None
        rows.append(row(str(case), "anterior", 0.5, empty).model_copy(
            update={"volume_ml": volume, "truth_volume_ml": truth}))  # fmt: skip
    scores = summarise(rows, TWO, tolerance_mm=1.0)
    (agreement,) = scores.agreement
    assert (agreement.class_name, agreement.count, agreement.bias_ml) == ("anterior", 3, 0.5)
    assert (agreement.lower_ml, agreement.upper_ml) == pytest.approx((0.5 - 0.98, 0.5 + 0.98), abs=0.001)
    assert agreement.lower_low_ml < agreement.lower_ml < agreement.lower_high_ml
    assert "| anterior | 0.50 [" in scores_markdown(scores)
