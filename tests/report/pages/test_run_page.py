"""The report of a run: everything in one file, nothing taken on trust."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vesal.data.fingerprint import Failure
from vesal.errors import UsageError
from vesal.evaluate.case_scores import score_case
from vesal.evaluate.scores import summarise
from vesal.evaluate.tables import save_scores
from vesal.files import write_bytes
from vesal.outputs import OutputFolder
from vesal.report.pages.run_page import write_run_report
from vesal.run_files import OUTPUTS
from vesal.volume.geometry import Geometry

sys.path.insert(0, str(Path(__file__).parents[1]))
from example_run import EVIL, LABELS, SHAPE, Page, check_sound, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("module"))


@pytest.fixture(scope="module")
def report(run) -> Page:
    path = write_run_report(run)
    assert path == run / "report.html"
    return Page(path)


def test_the_report_is_one_file_that_loads_nothing_and_escapes_every_name(report):
    check_sound(report)
    assert EVIL in report.text


def test_the_report_begins_with_the_verdict(run, report):
    dice = json.loads((run / "scores.json").read_text())["summary"]
    mean = next(row for row in dice if row["class"] == "mean" and row["metric"] == "dice")
    assert (
        f"On 4 held-out cases the mean Dice is {mean['mean']:.3f} (95% interval {mean['low']:.3f} to"
        in report.text
    )


def test_the_report_shows_scores_curves_findings_plan_configuration_and_environment(report):
    for expected in (
        "Scores", "Training", "Every case", "Odd", "Look at it.", "Patch 16: the whole scan & more.",
        "Stages of the network", "recipe: auto", "torch 2.13", "2026-01-02 03:04 UTC", "Fold 0: 40 steps in 1 min 30 s",
        "It has a dataset.json.",
    ):  # fmt: skip
        assert expected in report.text


def test_best_median_and_worst_case_are_shown_with_slices_and_surfaces(report):
    scans = [image["alt"] for image in report.of("img")]
    for name in ("scan_0", "scan_3"):
        assert f"Slices of {name} with contours" in scans
        assert f"Surfaces of {name}: truth and prediction" in scans
    assert re.search(r"Best: scan_0.*Median: scan_\d.*Worst: scan_3", report.text, re.DOTALL)


def test_the_surfaces_of_the_cases_shown_lie_beside_the_page_as_glb(run, report):
    links = {link["href"] for link in report.of("a") if not link["href"].startswith("#")}
    files = {f"surfaces/{path.name}" for path in (run / "surfaces").iterdir()}
    assert links == files
    assert len(files) == 3
    for path in (run / "surfaces").iterdir():
        assert path.read_bytes()[:4] == b"glTF"


def test_the_report_leaves_histories_pictures_and_a_summary_too(run, report):
    for name in (
        "summary.json",
        "summary.md",
        "fold_0/history.csv",
        "fold_0/training_curves.png",
        "fold_0/val_predictions.png",
    ):
        assert (run / name).stat().st_size > 100


def test_every_case_has_a_row_that_sorts_by_numbers(report):
    body = report.source.split('<table class="sortable">')[1].split("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", body.split("<tbody>")[1], re.DOTALL)
    assert len(rows) == 4
    values = re.findall(r'data-v="([^"]*)"', rows[0])
    assert values[0] == "scan_0"
    assert all(float(value) >= 0 for value in values[1:] if value)


def test_the_same_run_gives_the_same_files_and_drops_surfaces_of_before(run, report):
    def content() -> dict[Path, bytes]:
        files = (path for path in run.rglob("*") if path.is_file() and path.name != OUTPUTS)
        return {path: path.read_bytes() for path in files}

    (run / "surfaces" / "mine.glb").write_bytes(b"glTF")
    before = content()
    with OutputFolder(run):
        write_bytes(run / "surfaces" / "scan_of_old.glb", b"glTF")
    assert write_run_report(run).read_text(encoding="utf-8") == report.source
    assert content() == before


def test_a_run_on_all_cases_says_that_there_is_no_score(tmp_path):
    page = Page(write_run_report(make_run(tmp_path, folds=("all",))))
    assert "Trained on all 4 cases; nothing was held out" in page.text
    assert "no scores yet" not in page.text
    assert "Best, median" not in page.text
    check_sound(page)


def test_several_folds_are_told_apart(tmp_path):
    page = Page(write_run_report(make_run(tmp_path, folds=("0", "1"), cases=2)))
    assert "2 folds" in page.text
    assert "Fold 1: 40 steps" in page.text
    assert "fold" in [
        text.strip().lower() for text in re.findall(r"<button[^>]*>([^<]*)</button>", page.source)
    ]


def test_a_two_dimensional_run_has_pictures_without_surfaces(tmp_path):
    page = Page(write_run_report(make_run(tmp_path, shape=(40, 30), cases=2)))
    scans = [image["alt"] for image in page.of("img")]
    assert any(alt.startswith("Slices of") for alt in scans)
    assert not any(alt.startswith("Surfaces") for alt in scans)
    assert "2D" in page.text


def test_moved_data_are_told_and_the_rest_of_the_report_stands(tmp_path):
    run = make_run(tmp_path)
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    page = Page(write_run_report(run))
    assert "No picture could be made of scan_0" in page.text
    assert "the mean Dice is" in page.text
    assert not any(image["alt"].startswith("Slices") for image in page.of("img"))


def test_a_missing_prediction_is_told_and_the_truth_is_shown(tmp_path):
    run = make_run(tmp_path, cases=1)
    for path in (run / "fold_0" / "predictions").iterdir():
        path.unlink()
    page = Page(write_run_report(run))
    assert "The prediction is no longer in the run folder" in page.text
    assert any(image["alt"] == "Surfaces of scan_0: truth" for image in page.of("img"))


@pytest.mark.parametrize(
    "name",
    [
        "dataset.json",
        "fingerprint.json",
        "plan.json",
        "scores.json",
        "environment.json",
        "findings.json",
        "config.yaml",
    ],
)
@pytest.mark.parametrize("damaged", [False, True])
def test_a_piece_that_is_absent_or_damaged_is_told_and_not_crashed_on(tmp_path, name, damaged):
    run = make_run(tmp_path, cases=2)
    shutil.rmtree(tmp_path / "data")  # No pictures: this is about the other pieces.
    (run / name).write_text('{"version": 99}' if damaged else "")
    if not damaged:
        (run / name).unlink()
    page = Page(write_run_report(run))
    check_sound(page)
    if name not in ("findings.json", "config.yaml", "environment.json"):
        assert name in page.text
    if name == "findings.json":
        assert "were not kept in this run" in page.text


def test_a_run_that_has_only_just_begun_has_a_report(tmp_path):
    run = make_run(tmp_path)
    shutil.rmtree(run / "fold_0")
    (run / "scores.json").unlink()
    page = Page(write_run_report(run))
    assert "has not been scored" in page.text
    assert "no curves" in page.text


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="not a run folder"):
        write_run_report(tmp_path)
    with pytest.raises(UsageError, match="no folder"):
        write_run_report(tmp_path / "nowhere")


def test_empty_truth_and_prediction_give_a_report(tmp_path):
    run = make_run(tmp_path, cases=2)
    empty = np.zeros(SHAPE, dtype=np.uint8)
    geometry = Geometry(SHAPE, np.diag([1.0, 1, 2, 1]))
    rows = [
        row
        for case in ("scan_0", "scan_1")
        for row in score_case(case, empty, empty, geometry, LABELS, tolerance_mm=1.0)
    ]
    failures = [Failure(id="x", message=f"Bad {EVIL}.")]
    save_scores(run, summarise(rows, LABELS, tolerance_mm=1.0, failures=failures))
    page = Page(write_run_report(run))
    assert "No case defines a Dice" in page.text
    assert f"x: Bad {EVIL}." in page.text
    check_sound(page)


def test_the_verdict_says_of_how_many_cases_the_mean_is(tmp_path):
    run = make_run(tmp_path, cases=2)
    geometry = Geometry(SHAPE, np.diag([1.0, 1, 2, 1]))
    masks = {"scan_0": np.zeros(SHAPE, dtype=np.uint8), "scan_1": np.ones(SHAPE, dtype=np.uint8)}
    rows = [row for case, mask in masks.items() for row in score_case(case, mask, mask, geometry, LABELS)]
    save_scores(run, summarise(rows, LABELS, tolerance_mm=1.0))
    page = Page(write_run_report(run))
    assert "On 1 of 2 held-out cases the mean Dice is 1.000; the others are empty" in page.text


def test_a_history_of_an_earlier_report_as_an_array_is_made_anew(tmp_path):
    run = make_run(tmp_path, cases=1)
    write_run_report(run, arrays=True)
    metrics, array = run / "fold_0" / "metrics.jsonl", run / "fold_0" / "history.npy"
    rows = len(np.load(array))
    metrics.write_text(metrics.read_text() + '\n{"step": 99, "train_loss": 0.1}\n')
    write_run_report(run)
    assert len(np.load(array)) == rows + 1


def test_the_report_loads_neither_torch_nor_pyplot():
    code = (
        "import sys, vesal.report.pages.run_page, vesal.report.figures.overlay, "
        "vesal.report.pages.inspect_page, vesal.report.pages.data_tables; "
        "print([name for name in ('torch', 'matplotlib', 'skimage') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
