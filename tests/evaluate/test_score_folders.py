"""Two folders: names are matched, grids are compared, and what cannot be scored is a failure of its case."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError
from vesal.evaluate.case_scores import METRICS, ClassScore, score_case
from vesal.evaluate.score_folders import score_folders
from vesal.evaluate.scores import summarise
from vesal.evaluate.tables import scores_markdown
from vesal.volume.geometry import Geometry
from vesal.volume.io import write_label
from vesal.volume.volume import LabelMap

TWO = LabelSet.from_values({"anterior": 1, "posterior": 2})


GRID = Geometry.from_spacing((12, 10, 8), (1.0, 1.5, 2.0))


def box(value, *slices, shape=GRID.shape, into=None):
    array = np.zeros(shape, np.uint8) if into is None else into
    array[tuple(slice(*pair) for pair in slices)] = value
    return array


def row(case, name, dice, empty=None):
    values = dict.fromkeys(METRICS) | {"dice": dice}
    return ClassScore(case=case, class_name=name, volume_ml=1.0, truth_volume_ml=1.0, empty=empty, **values)


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
    scores = score_folders(*folders, labels, tolerance_mm=1.5, progress=lambda *state: seen.append(state))
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
    with pytest.raises(DataError, match=r"a\.nii and .*a\.nii\.gz have the same name"):
        score_folders(predictions, truth)


def test_truth_that_lies_in_a_folder_a_case_is_read_or_told_where(folders, tmp_path):
    predictions, truth = folders
    before = score_folders(predictions, truth)
    for case in ("a", "b", "c"):
        (tmp_path / "nested" / case).mkdir(parents=True)
        (truth / f"{case}.nii.gz").rename(tmp_path / "nested" / case / "seg.nii.gz")
    assert score_folders(predictions, tmp_path / "nested").cases == before.cases
    for case in ("a", "b"):
        put(tmp_path / "nested" / case / "second_seg.nii.gz", np.ones(GRID.shape, np.uint8))
    with pytest.raises(DataError, match=r"holds no label map itself, but in folders \(a, b\); put"):
        score_folders(predictions, tmp_path / "nested")


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


def test_masks_that_differ_by_a_factor_are_told(tmp_path):
    from PIL import Image

    for folder, value in (("pred", 1), ("truth", 255)):
        (tmp_path / folder).mkdir()
        mask = np.zeros((8, 8), dtype=np.uint8)
        mask[2:5, 2:5] = value
        Image.fromarray(mask).save(tmp_path / folder / "a.png")
    with pytest.raises(DataError, match=r"0 and 1 and .* 0 and 255: they differ by a factor"):
        score_folders(tmp_path / "pred", tmp_path / "truth")


def test_a_truth_that_rounding_moved_is_on_the_same_grid(folders):
    predictions, truth = folders
    moved = GRID.affine.copy()
    moved[0, 3] += 0.009
    put(truth / "a.nii.gz", box(1, (2, 7), (2, 6), (2, 5)), Geometry(GRID.shape, moved))
    assert score_folders(predictions, truth).failures == ()
    moved[0, 3] += 0.005
    put(truth / "a.nii.gz", box(1, (2, 7), (2, 6), (2, 5)), Geometry(GRID.shape, moved))
    assert [one.id for one in score_folders(predictions, truth).failures] == ["a"]


def test_pixels_have_the_size_that_the_pictures_of_the_data_set_agree_on(tmp_path):
    from PIL import Image

    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 10:30] = 1
    for folder, array in (("images", 99 * mask), ("labels", mask), ("predicted", np.roll(mask, 4, axis=0))):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for name in "ab":
            Image.fromarray(array).save(tmp_path / "data" / folder / f"{name}.png", dpi=(254, 254))
    (tmp_path / "data" / "predicted").rename(tmp_path / "predicted")
    scores = score_folders(tmp_path / "predicted", tmp_path / "data")
    assert scores.of("hd95_mm").mean == pytest.approx(0.4)
    assert scores.cases[0].truth_area_mm2 == pytest.approx(4.0)


def test_labels_of_which_a_folder_of_predicted_masks_holds_none_are_remarked(folders, tmp_path):
    truth = folders[1]
    labels = LabelSet.from_values({"liver": 1, "spleen": 4})
    for case in "abc":
        put(tmp_path / "masks" / case / "liver.nii.gz", box(1, (2, 7), (2, 6), (2, 5)))
    put(tmp_path / "masks" / "b" / "spleen.nii.gz", box(1, (7, 10), (2, 6), (2, 6)))
    scores = score_folders(tmp_path / "masks", truth, labels)
    assert scores.failures == ()
    assert [one for one in scores.remarks if "nothing predicted: spleen (in 2 of 3)." in one]
