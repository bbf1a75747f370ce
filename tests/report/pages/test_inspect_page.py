"""The inspection of a data set: one page with every finding and every number."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from vesal.audit.checks import Finding
from vesal.data.fingerprint import Failure
from vesal.data.labels import LabelSet
from vesal.report.pages.data_tables import inspection_text
from vesal.report.pages.inspect_page import inspection_summary, write_inspect_report

sys.path.insert(0, str(Path(__file__).parents[1]))
from example_run import EVIL, LABELS, SHAPE, Page, check_sound, make_data, volume


def test_the_inspection_page_shows_findings_first_and_all_numbers(tmp_path):
    dataset, fingerprint = make_data(tmp_path / "data", 5)
    finding = Finding(kind="x", severity="error", cases=("scan_0",), what=f"Bad {EVIL}", fix="Fix it.")
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
    finding = Finding(kind="x", severity="warning", cases=(), what="Odd", fix="Look.")
    text = inspection_text(inspection_summary(dataset, fingerprint, [finding]))
    for expected in ("2 images and 2 labels", "WARNING: Odd. Look.", "16 x 18 x 10", "scan_1"):
        assert expected in text
    assert f"{fingerprint.cases[0].voxels['atrium']:,}" in text
    assert "nothing found wrong." in inspection_text(inspection_summary(dataset, fingerprint, []))
