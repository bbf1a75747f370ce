"""Slices that vesal convert cut from volumes, in every verb that looks at them: they are parts of their volumes."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from vesal.audit.checks import check_dataset
from vesal.data.fingerprint import fingerprint
from vesal.evaluate.scores import Scores
from vesal.evaluate.tables import save_scores, scores_csv, scores_markdown
from vesal.layouts.registry import load_dataset
from vesal.report.pages.inspect_page import inspection_summary
from vesal.workflow.convert import convert_run
from vesal.workflow.evaluate import evaluate_run
from vesal.workflow.inspect import fix_run
from vesal.workflow.requests.convert_request import ConvertRequest

#: Oblique, stored to the left, back and foot, of thick slices.
AFFINE = np.diag([-1.5, -1.25, -6.0, 1.0])
CASES = ("p1", "p2", "p3")


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, AFFINE), path)


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Three scans with their labels, and predictions that are off by a voxel, all in 3D; most slices are empty."""
    root = tmp_path / "volumes"
    for number, name in enumerate(CASES):
        generator = np.random.default_rng(number)
        image = generator.integers(0, 200, (24, 20, 12)).astype(np.int16)
        label = np.zeros(image.shape, np.uint8)
        label[6 : 14 + number, 5:12, 4:7] = 1
        image += 100 * label.astype(np.int16)
        write(root / "images" / f"{name}.nii.gz", image)
        write(root / "labels" / f"{name}.nii.gz", label)
        write(tmp_path / "predictions" / f"{name}.nii.gz", np.roll(label, (1, 1), axis=(0, 2)))
    return root


def convert(data: Path, out: Path, to: str = "png", **more: object) -> Path:
    convert_run(ConvertRequest(data=data, out=out, to=to, **more))  # type: ignore[arg-type]
    return out


@pytest.fixture
def slices(volumes: Path, tmp_path: Path) -> Path:
    return convert(volumes, tmp_path / "png")


def predicted_slices(volumes: Path, tmp_path: Path, axis: str = "z") -> Path:
    """The predictions cut into slices."""
    shutil.copytree(volumes / "images", tmp_path / "predicted" / "images")
    shutil.copytree(tmp_path / "predictions", tmp_path / "predicted" / "labels")
    return convert(tmp_path / "predicted", tmp_path / "predicted-png", axis=axis) / "labels"


def rows(scores: Scores) -> list[dict[str, object]]:
    return [row.to_dict() | {"class": "x"} for row in scores.cases]


@pytest.mark.parametrize("axis", ["z", "x"])
def test_volumes_of_slices_score_what_the_volumes_do_also_after_the_way_back(volumes, tmp_path, axis):
    solid = evaluate_run(tmp_path / "predictions", volumes / "labels")
    masks = convert(volumes, tmp_path / "png", axis=axis) / "labels"
    predicted = predicted_slices(volumes, tmp_path, axis)
    flat = evaluate_run(predicted, masks)
    assert flat.volumes is not None
    for row, same in zip(rows(flat.volumes), rows(solid), strict=True):
        assert row == {
            key: pytest.approx(value) if isinstance(value, float) else value for key, value in same.items()
        }
    back = convert(predicted, tmp_path / "back", "nifti")
    again = evaluate_run(back / "labels", volumes / "labels")
    assert [row["dice"] for row in rows(again)] == [row["dice"] for row in rows(solid)]


def test_slices_have_areas_and_their_volumes_millilitres_in_every_file(volumes, slices, tmp_path):
    scores = evaluate_run(predicted_slices(volumes, tmp_path), slices / "labels")
    text, table = scores_markdown(scores), scores_csv(scores)
    assert "Area error (mm²)" in text
    of_slices, of_volumes = text.split("## Whole volumes")
    assert "ml" not in of_slices
    assert "Volume error (ml)" in of_volumes
    assert "area_mm2" in table
    assert "_ml" not in table
    save_scores(tmp_path / "out", scores)
    assert Scores.load(tmp_path / "out") == scores
    lines = (tmp_path / "out" / "scores_volumes.csv").read_text(encoding="utf-8").splitlines()
    assert "volume_ml" in lines[0]
    assert [line.split(",")[0] for line in lines[1:]] == list(CASES)


def test_slices_that_were_left_out_as_empty_leave_the_volumes_as_they_are(volumes, slices, tmp_path):
    predicted = predicted_slices(volumes, tmp_path)
    few = convert(volumes, tmp_path / "few", keep_empty=False)
    here = [path for path in predicted.iterdir() if (few / "labels" / path.name).exists()]
    (tmp_path / "some").mkdir()
    for path in here:
        shutil.copy(path, tmp_path / "some")
    assert len(here) == 9
    found = evaluate_run(tmp_path / "some", few / "labels").volumes
    assert found is not None
    assert found.cases[0].truth_volume_ml == pytest.approx(8 * 7 * 3 * 1.5 * 1.25 * 6 / 1000)


def test_an_inspection_groups_slices_by_volume_and_an_empty_slice_is_no_finding(slices):
    dataset = load_dataset(slices)
    assert [case.slice_of.volume for case in dataset.cases if case.slice_of][::12] == list(CASES)
    record = fingerprint(dataset)
    findings = check_dataset(dataset, record)
    assert not [finding for finding in findings if finding.kind in ("empty-label", "volume-outlier")]
    first = inspection_summary(dataset, record, findings)["whole_volumes"][0]
    assert (first["id"], first["slices"], first["labelled_slices"], first["unit"]) == ("p1", 12, 3, "ml")
    assert first["slice_mm"] == 6.0
    assert first["size"]["foreground"] == pytest.approx(8 * 7 * 3 * 1.5 * 1.25 * 6 / 1000)


def test_a_volume_without_any_label_is_a_finding_that_names_the_volume(volumes, tmp_path):
    for number in range(4, 9):
        for folder in ("images", "labels"):
            shutil.copy(volumes / folder / "p1.nii.gz", volumes / folder / f"p{number}.nii.gz")
    write(volumes / "labels" / "p4.nii.gz", np.zeros((24, 20, 12), np.uint8))
    dataset = load_dataset(convert(volumes, tmp_path / "png"))
    (finding,) = [each for each in check_dataset(dataset, fingerprint(dataset)) if each.kind == "empty-label"]
    assert finding.severity == "warning"
    assert finding.message == "A label is empty, in case p4_slice_0000 (all 12 slices of p4)."
    assert len(finding.cases) == 12


def test_slices_stay_slices_in_a_fixed_copy_and_in_every_layout(slices, tmp_path):
    places = {case.id: case.slice_of for case in load_dataset(slices).cases}
    assert len(places) == 36
    fix_run(slices, tmp_path / "out", pictures=0)
    copies = [
        convert(slices, tmp_path / f"as_{to}", to, stack=False) for to in ("png", "nifti", "msd", "nnunet")
    ]
    for copy in [tmp_path / "out" / "fixed", *copies]:
        assert {case.id: case.slice_of for case in load_dataset(copy).cases} == places, copy


def test_slices_of_a_manifest_that_states_their_distance_are_put_together(slices, volumes, tmp_path):
    (slices / "slices.json").unlink()
    back = convert(slices, tmp_path / "back", "nifti")
    for name in CASES:
        made, truth = (nib.load(root / "labels" / f"{name}.nii.gz") for root in (back, volumes))
        turned = nib.as_closest_canonical(truth)
        np.testing.assert_array_equal(np.asarray(made.dataobj) > 0, np.asarray(turned.dataobj))
        assert made.header.get_zooms() == pytest.approx(turned.header.get_zooms())
