"""Which files the results of scans become."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesal.data.dataset import Case
from vesal.errors import UsageError
from vesal.workflow.prediction.predict_targets import class_folders, plan_targets, refuse_alike
from vesal.workflow.requests.predict_options import PredictOptions


def cases(*names: str) -> list[Case]:
    return [Case(id=name, images=(Path(f"{name}.nii.gz"),), patient=name) for name in names]


@pytest.mark.parametrize("name", ["out.nii.gz", "out.nii", "OUT.nrrd", "out.mha", "out.png", "out.tif"])
def test_a_file_name_means_that_file_for_a_single_scan(tmp_path: Path, name: str) -> None:
    found = plan_targets(cases("scan"), tmp_path / name, PredictOptions(), ["a"])
    assert found.of[0].label == tmp_path / name
    assert found.folder == tmp_path
    assert found.single


def test_what_belongs_to_a_named_file_carries_its_name(tmp_path: Path) -> None:
    options = PredictOptions(overlay=True, probabilities=True, uncertainty=True)
    found = plan_targets(cases("scan"), tmp_path / "out.nii.gz", options, ["a"]).of[0]
    names = {path.relative_to(tmp_path).as_posix() for path in found.files()}
    assert names == {
        "out.nii.gz",
        "overlays/out_overlay.png",
        "probabilities/a/out.nii.gz",
        "uncertainty/out.nii.gz",
    }


def test_a_folder_with_the_name_of_a_file_stays_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out.nii.gz").mkdir()
    found = plan_targets(cases("scan"), tmp_path / "out.nii.gz", PredictOptions(), ["a"])
    assert found.of[0].label == tmp_path / "out.nii.gz" / "scan.nii.gz"


@pytest.mark.parametrize(
    ("name", "count", "options", "words"),
    [
        ("out.nii.gz", 2, {}, "2 scans"),
        ("out.jpg", 1, {}, "no format for results"),
        ("out.nii.gz", 1, {"to": "nrrd"}, "two formats"),
    ],
)
def test_a_file_name_that_cannot_be_meant_is_refused(
    tmp_path: Path, name: str, count: int, options: dict[str, str], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        plan_targets(cases(*"ab"[:count]), tmp_path / name, PredictOptions(**options), ["a"])  # type: ignore[arg-type]


def test_a_name_that_is_too_long_with_its_ending_is_refused_before_the_work(tmp_path: Path) -> None:
    plan_targets(cases("a" * 248), tmp_path, PredictOptions(), ["a"])
    for name, options in (("ä" * 125, PredictOptions()), ("a" * 245, PredictOptions(overlay=True))):
        with pytest.raises(UsageError, match=r"a name of 257 bytes where file systems take 255"):
            plan_targets(cases("b", name), tmp_path, options, ["a"])


def test_names_that_differ_in_capitals_or_accents_are_one_file_on_some_disks() -> None:
    refuse_alike(["a.nii.gz", "b.nii.gz"])
    for one, other in (("Case.png", "case.png"), ("caf\u00e9.png", "cafe\u0301.png")):
        with pytest.raises(UsageError, match="one file on this disk"):
            refuse_alike([one, other])


def test_folders_of_classes_have_names_that_every_system_takes() -> None:
    found = class_folders(["..", "a/b", "A B", "über", ""])
    assert list(found.values()) == ["class", "a_b", "A_B-2", "über", "class-2"]
