"""Scores as files: JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from vesal.data.fingerprint import Failure
from vesal.data.labels import LabelSet
from vesal.evaluate.case_scores import METRICS, ClassScore, score_case
from vesal.evaluate.scores import Scores, summarise
from vesal.evaluate.tables import save_scores, scores_csv, scores_markdown, scores_text
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


LIVER = LabelSet.from_values({"liver": 1, "liver tumour": 2})


def liver(*spots):
    """A liver with tumours of one voxel."""
    label = box(1, (1, 11), (1, 9), (1, 7))
    for spot in spots:
        label[spot] = 2
    return label


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
    ((name, agreement),) = scores.agreement_ml.items()
    assert (name, agreement.count, agreement.bias) == ("anterior", 3, 0.5)
    assert (agreement.lower, agreement.upper) == pytest.approx((0.5 - 0.98, 0.5 + 0.98), abs=0.001)
    assert agreement.lower_low < agreement.lower < agreement.lower_high
    assert "| anterior | 0.50 [" in scores_markdown(scores)


def test_a_terminal_of_80_columns_shows_one_small_table_what_was_remarked_and_what_failed(scores):
    names = LabelSet.from_values({"a region with a very long name of its own, indeed": 1, "b": 2})
    rows = [row(case, name, 0.25) for case in ("x", "y") for name in names.classes]
    long = summarise(rows, names, tolerance_mm=1.0, failures=[Failure(id="z", message="It is damaged.")])
    for of in (scores, long):
        lines = scores_text(of).splitlines()
        assert max(map(len, lines)) <= 80
        assert sum(line.startswith("Class") for line in lines) == 1
    text = scores_text(scores)
    assert "Something to know." in text
    dice = scores.of("dice", "anterior")
    assert f"anterior   {dice.mean:.3f} [{dice.low:.3f}, {dice.high:.3f}]" in text
    assert "\nmean " in text
    assert "Means over 3 cases; in brackets the 95% interval." in text
    assert "Not scored: z." in scores_text(long)
