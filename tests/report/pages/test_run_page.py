"""The report of a run and the inspection of a data set: everything in one file, nothing taken on trust."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from vesal.audit.checks import Finding
from vesal.data.dataset import Case, Dataset
from vesal.data.fingerprint import CaseRecord, ChannelStatistics, Failure, Fingerprint
from vesal.data.labels import LabelSet
from vesal.errors import UsageError
from vesal.evaluate.score_folders import score_case, summarise
from vesal.evaluate.tables import save_scores
from vesal.files import write_json
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.report.figures.validation_grid import write_training_pictures
from vesal.report.files.summary import write_summary
from vesal.report.pages.data_tables import inspection_text
from vesal.report.pages.inspect_page import inspection_summary, write_inspect_report
from vesal.report.pages.run_page import write_run_report
from vesal.run.contents import run_contents
from vesal.volume.geometry import Geometry

EVIL = "<script>alert(1)</script>"
LABELS = LabelSet.from_values({"background": 0, "atrium": 1, f"wall {EVIL}": 3})
SHAPE = (16, 18, 10)


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data):
        self.text += data

    def of(self, name: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def volume(number: int, shape=SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Image and contiguous label map."""
    rng = np.random.default_rng(number)
    label = np.zeros(shape, dtype=np.uint8)
    label[tuple(slice(n // 4, n // 2 + number % 2) for n in shape)] = 1
    label[tuple(slice(n // 2 + number % 2, n - 2) for n in shape)] = 2
    return (rng.normal(100, 10, shape) + 40 * label).astype(np.float32), label


def record(case: Case, shape, label) -> CaseRecord:
    channel = ChannelStatistics(
        minimum=0,
        maximum=200,
        mean=100,
        std=10,
        percentiles=(1, 100, 199),
        foreground_samples=(140.0, 150.0, 180.0),
    )
    counts = np.bincount(label.ravel(), minlength=3)
    ndim = len(shape)
    return CaseRecord(
        id=case.id, patient=case.patient, shape=shape, spacing_mm=(1.0, 1.0, 2.0)[:ndim],
        axis_codes="RAS" if ndim == 3 else "", affine=tuple(map(tuple, np.eye(ndim + 1).tolist())),
        ras_shape=shape, ras_spacing_mm=(1.0, 1.0, 2.0)[:ndim],
        crop_shape=shape, label_shape=shape, label_distance_mm=0.0,
        voxels=dict(zip(LABELS.names, map(int, counts[1:]), strict=True)), undeclared=(), nan_voxels=0,
        image_digest=case.id, voxel_volume_mm3=2.0 if ndim == 3 else 1.0, channels=(channel,),
    )  # fmt: skip


def make_data(folder: Path, cases: int = 4, shape=SHAPE) -> tuple[Dataset, Fingerprint]:
    folder.mkdir(parents=True, exist_ok=True)
    listed, records = [], []
    flat = len(shape) == 2
    for number in range(cases):
        name = f"scan_{number}"
        image, label = volume(number, shape)
        paths = [folder / f"{name}_{what}{'.png' if flat else '.nii.gz'}" for what in ("image", "label")]
        for path, array in zip(paths, (image, LABELS.decode(label)), strict=True):
            if flat:
                Image.fromarray(array.T.astype(np.uint8)).save(path)
            else:
                nib.save(nib.Nifti1Image(array, np.diag([1.0, 1, 2, 1])), path)
        case = Case(id=name, images=(paths[0],), label=paths[1], patient=name)
        listed.append(case)
        records.append(record(case, shape, label))
    dataset = Dataset(
        name=f"Left atrium {EVIL}", root=folder, layout="msd", channels=("MRI",), labels=LABELS, cases=tuple(listed),
        remarks=("It has a dataset.json.",),
    )  # fmt: skip
    return dataset, Fingerprint(dataset=dataset.name, channels=("MRI",), cases=tuple(records))


def make_plan(dimension: int) -> Plan:
    stages = tuple(Stage(features=8 * k, kernel=(3,) * dimension, stride=(k,) * dimension) for k in (1, 2))
    return Plan(
        dimension=dimension, spacing_mm=(1.0,) * dimension, patch=(16,) * dimension, batch=2, stages=stages,
        normalisation=(Normalisation(scheme="zscore"),), mirror_axes=(0, 1), channels=("MRI",), labels=LABELS,
        median_shape=(16,) * dimension, reasons=("Patch 16: the whole scan & more.",),
    )  # fmt: skip


def make_run(tmp_path: Path, folds=("0",), shape=SHAPE, cases: int = 4) -> Path:
    """A run folder as training leaves it."""
    dataset, fingerprint = make_data(tmp_path / "data", cases, shape)
    run = tmp_path / "run"
    run.mkdir(parents=True)
    dataset.save(run / "dataset.json")
    (run / "fingerprint.json").write_text(fingerprint.model_dump_json())
    make_plan(len(shape)).save(run / "plan.json")
    (run / "config.yaml").write_text(f"recipe: auto\nnote: {EVIL}\n")
    finding = Finding(
        kind="empty", severity="warning", cases=("scan_0",), message=f"Odd {EVIL}.", fix="Look at it."
    )
    write_json(run / "findings.json", [finding.model_dump()])
    versions = {"vesal": "0.1.0", "torch": "2.13"}
    write_json(
        run / "environment.json", {"date": "2026-01-02T03:04:05+00:00", "versions": versions, "cpus": 2}
    )
    rows = []
    for index, case in enumerate(dataset.cases):
        fold = folds[index % len(folds)]
        predictions = run / f"fold_{fold}" / "predictions"
        predictions.mkdir(parents=True, exist_ok=True)
        label = volume(index, shape)[1]
        guess = np.roll(label, index, axis=0)
        if len(shape) == 3:
            nib.save(
                nib.Nifti1Image(LABELS.decode(guess), np.diag([1.0, 1, 2, 1])),
                predictions / f"{case.id}.nii.gz",
            )
            geometry = Geometry(shape, np.diag([1.0, 1, 2, 1]))
        else:
            Image.fromarray(LABELS.decode(guess).T).save(predictions / f"{case.id}.png")
            geometry = Geometry(shape, np.eye(3))
        rows += score_case(case.id, guess, label, geometry, LABELS, tolerance_mm=1.0)
    for fold in folds:
        metrics = [
            {
                "step": s,
                "time_s": 2.0 * s,
                "epoch": s / 10,
                "train_loss": 1 / s,
                "lr": 1e-3,
                "memory_mb": 800.0,
            }
            for s in range(1, 40)
        ]
        per_class = dict(zip(LABELS.classes, (0.8, None), strict=True))
        metrics.append(
            {"step": 40, "time_s": 90.0, "val_dice": 0.8, "val_dice_per_class": per_class, "val_loss": None}
        )
        text = "\n".join(map(json.dumps, metrics)) + '\n{"step": 41, "trai'
        (run / f"fold_{fold}" / "metrics.jsonl").write_text(text)
    if folds != ("all",):
        save_scores(run, summarise(rows, LABELS, tolerance_mm=1.0))
    return run


def check_sound(page: Page) -> None:
    """One file that loads nothing, runs only its own script, and shows no name as markup."""
    assert len(page.of("script")) == 1
    assert not page.of("link")
    for tag in ("img", "source", "a", "script", "iframe", "object"):
        for attributes in page.of(tag):
            for name in ("src", "srcset", "href", "data"):
                value = attributes.get(name, "#")
                beside = tag == "a" and re.fullmatch(r"surfaces/[\w%.-]+\.glb", value)
                assert beside or value.startswith(("data:image/png;base64,", "#"))
    assert not re.search(r"https?://|url\(|@import", page.source)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "<script>alert" not in page.source


# --- the report of a run -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("module"))


@pytest.fixture(scope="module")
def report(run) -> Page:
    steps: list[tuple[int, int]] = []
    path = write_run_report(run, progress=lambda done, total: steps.append((done, total)))
    assert path == run / "report.html"
    assert steps == [(1, 3), (2, 3), (3, 3)]
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
        return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    before = content()
    (run / "surfaces" / "scan_of_old.glb").write_bytes(b"glTF")
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


# --- what else a run leaves ----------------------------------------------------------------------------


def test_the_summary_holds_recipe_network_data_training_scores_and_commands(run, report):
    summary = json.loads((run / "summary.json").read_text())
    assert summary["recipe"] == "auto"
    assert summary["network"]["dimension"] == 3
    assert summary["network"]["features"] == [8, 16]
    assert summary["dataset"] | {"folder": ""} == {
        "name": f"Left atrium {EVIL}",
        "folder": "",
        "layout": "msd",
        "cases": 4,
        "patients": 4,
        "channels": ["MRI"],
        "classes": list(LABELS.classes),
        "findings": 1,
    }
    (fold,) = summary["training"]["folds"]
    assert (fold["steps"], fold["time_s"], fold["memory_mb"]) == (40, 90.0, 800.0)
    assert (fold["best_step"], fold["best_val_dice"], fold["held_out"]) == (40, 0.8, 4)
    dice = next(
        row
        for row in json.loads((run / "scores.json").read_text())["summary"]
        if row["class"] == "atrium" and row["metric"] == "dice"
    )
    assert summary["scores"]["classes"]["atrium"]["dice"] == {
        "mean": dice["mean"], "low": dice["low"], "high": dice["high"], "cases": dice["count"],
    }  # fmt: skip
    assert summary["commands"]["resume"].endswith("--resume")
    assert {"fold_0/history.csv", "fold_0/training_curves.png", "report.html", "summary.md"} <= set(
        summary["files"]
    )
    assert all((run / name).exists() for name in summary["files"])


def test_the_summary_reads_as_markdown_that_shows_no_name_as_markup(run, report):
    text = (run / "summary.md").read_text()
    assert "Recipe: auto" in text
    assert "| 0    |    40 |    3.9 | 1 min 30 s |" in text
    assert f"vesal predict {run}" in text
    assert "<script>" not in text


def test_the_step_that_the_training_chose_and_the_parameters_of_its_model_are_in_the_summary(tmp_path):
    from safetensors.numpy import save

    run = make_run(tmp_path, cases=1)
    shutil.rmtree(tmp_path / "data")
    write_json(run / "fold_0" / "finished.json", {"step": 40, "best_step": 25})
    weights = {
        "stem.weight": np.zeros((8, 1, 3, 3, 3), np.float32),
        "norm.bias": np.zeros(8, np.float32),
        "norm.running_mean": np.zeros(8, np.float32),
        "norm.num_batches_tracked": np.zeros(1, np.int64),
    }
    with zipfile.ZipFile(run / "fold_0" / "model.vesal", "w") as archive:
        archive.writestr("weights.safetensors", save(weights))
    found, text = write_summary(run_contents(run))
    summary = json.loads(found.read_text())
    assert summary["network"]["parameters"] == 8 * 27 + 8
    assert summary["training"]["folds"][0]["best_step"] == 25
    assert "224 parameters" in text.read_text()
    (run / "fold_0" / "model.vesal").write_bytes(b"PK no model")
    assert json.loads(write_summary(run_contents(run))[0].read_text())["network"]["parameters"] is None


def test_held_out_cases_are_shown_with_truth_and_prediction_from_the_best_to_the_worst(tmp_path):
    run = make_run(tmp_path, cases=6)
    curves, predictions = write_training_pictures(run_contents(run))
    assert (curves.name, predictions.name) == ("training_curves.png", "val_predictions.png")
    picture = np.asarray(Image.open(predictions).convert("RGB")).astype(int)
    orange = (picture[..., 0] - picture[..., 1] > 60)[:-60]
    # A row a case: bare scan, truth, prediction, both.
    bare, *drawn = np.split(orange[:, : orange.shape[1] // 4 * 4], 4, axis=1)
    assert bare.sum() == 0
    assert all(part.sum() > 400 for part in drawn)
    assert picture.shape[0] > picture.shape[1]


def test_a_run_on_all_cases_and_one_of_images_have_the_pictures_that_they_can_have(tmp_path):
    everything = make_run(tmp_path / "all", folds=("all",), cases=1)
    shutil.rmtree(everything / "fold_all" / "predictions")
    assert [path.name for path in write_training_pictures(run_contents(everything))] == [
        "training_curves.png"
    ]
    flat = make_run(tmp_path / "flat", shape=(40, 30), cases=1)
    assert [path.name for path in write_training_pictures(run_contents(flat))] == [
        "training_curves.png",
        "val_predictions.png",
    ]


# --- the inspection ------------------------------------------------------------------------------------


def test_the_inspection_page_shows_findings_first_and_all_numbers(tmp_path):
    dataset, fingerprint = make_data(tmp_path / "data", 5)
    finding = Finding(kind="x", severity="error", cases=("scan_0",), message=f"Bad {EVIL}.", fix="Fix it.")
    path = write_inspect_report(dataset, fingerprint, [finding], tmp_path / "out", pictures=3)
    page = Page(path)
    check_sound(page)
    assert "5 images and 5 labels of 5 patients: 1 error to look at." in page.text
    assert page.text.index("Fix it.") < page.text.index("Overview") + len("Overview") + page.text.index(
        "Findings"
    )
    assert page.source.index('id="findings"') < page.source.index('id="overview"')
    scans = [image["alt"] for image in page.of("img") if image["alt"].startswith("Slices")]
    assert len(scans) == 3
    assert len([image for image in page.of("img") if image["alt"].startswith("Volumes of")]) == 2


def test_the_inspection_in_json_counts_volumes_in_voxels_and_millilitres(tmp_path):
    dataset, fingerprint = make_data(tmp_path / "data", 3)
    write_inspect_report(dataset, fingerprint, [], tmp_path / "out", pictures=0)
    found = json.loads((tmp_path / "out" / "inspect.json").read_text())
    voxels = [int((volume(number)[1] == 1).sum()) for number in range(3)]
    assert found["counts"] == {"images": 3, "labels": 3, "unlabelled": 0, "patients": 3, "unreadable": 0}
    statistics = found["volumes"]["atrium"]
    assert statistics["voxels"]["mean"] == pytest.approx(np.mean(voxels))
    assert (statistics["voxels"]["min"], statistics["voxels"]["max"]) == (min(voxels), max(voxels))
    assert statistics["ml"]["mean"] == pytest.approx(np.mean(voxels) * 2 / 1000)
    assert found["cases"][1]["voxels"]["atrium"] == voxels[1]
    assert found["shapes"]["median"] == list(SHAPE)
    assert found["spacings_mm"]["distinct"] == 1
    assert found["orientations"] == {"RAS": 3}
    assert found["intensities"]["MRI"]["labelled_mean"] == pytest.approx(np.mean([140, 150, 180]))


def test_regions_are_counted_as_the_sum_of_their_members(tmp_path):
    dataset, fingerprint = make_data(tmp_path / "data", 1)
    names = LABELS.names
    regions = LabelSet.from_values(
        {"background": 0, names[0]: 1, names[1]: 3}, regions={"whole": names, "inner": names[:1]}
    )
    summary = inspection_summary(dataset.model_copy(update={"labels": regions}), fingerprint, [])
    assert summary["cases"][0]["voxels"]["whole"] == sum(fingerprint.cases[0].voxels.values())


def test_two_dimensional_images_are_measured_in_square_millimetres(tmp_path):
    dataset, fingerprint = make_data(tmp_path / "data", 2, shape=(40, 30))
    page = Page(write_inspect_report(dataset, fingerprint, [], tmp_path / "out"))
    assert "mean (mm²)" in page.text
    assert "mm2" in json.loads((tmp_path / "out" / "inspect.json").read_text())["cases"][0]


def test_cases_that_cannot_be_read_are_named_and_the_page_is_written(tmp_path):
    dataset, fingerprint = make_data(tmp_path / "data", 3)
    shutil.rmtree(tmp_path / "data")
    broken = fingerprint.model_copy(
        update={"failures": (Failure(id="scan_9", message=f"Truncated {EVIL}."),)}
    )
    page = Page(write_inspect_report(dataset, broken, [], tmp_path / "out"))
    assert "Truncated" in page.text
    assert "No picture could be made of scan_1" in page.text
    nothing = fingerprint.model_copy(update={"cases": ()})
    check_sound(Page(write_inspect_report(dataset, nothing, [], tmp_path / "out")))


def test_numbers_that_are_not_finite_become_null(tmp_path):
    dataset, fingerprint = make_data(tmp_path / "data", 2)
    nan = (
        fingerprint.cases[0]
        .channels[0]
        .model_copy(update={"mean": float("nan"), "percentiles": (float("nan"),) * 3})
    )
    cases = (fingerprint.cases[0].model_copy(update={"channels": (nan,)}), fingerprint.cases[1])
    write_inspect_report(
        dataset, fingerprint.model_copy(update={"cases": cases}), [], tmp_path / "out", pictures=0
    )
    assert (
        json.loads((tmp_path / "out" / "inspect.json").read_text())["cases"][0]["channels"][0]["mean"] is None
    )


def test_the_text_for_the_console_names_shapes_findings_and_every_volume(tmp_path):
    dataset, fingerprint = make_data(tmp_path / "data", 2)
    finding = Finding(kind="x", severity="warning", cases=(), message="Odd.", fix="Look.")
    text = inspection_text(inspection_summary(dataset, fingerprint, [finding]))
    for expected in ("2 images, 2 labels", "WARNING: Odd. Look.", "16 x 18 x 10", "scan_1"):
        assert expected in text
    assert f"{fingerprint.cases[0].voxels['atrium']:,}" in text
    assert "Nothing was found wrong." in inspection_text(inspection_summary(dataset, fingerprint, []))


def test_the_report_loads_neither_torch_nor_pyplot():
    code = (
        "import sys, vesal.report.pages.run_page, vesal.report.figures.overlay, "
        "vesal.report.pages.inspect_page, vesal.report.pages.data_tables; "
        "print([name for name in ('torch', 'matplotlib', 'skimage') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
