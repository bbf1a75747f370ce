"""Findings: each fault is found, named and fixed in words, and clean data gives none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from case_records import BARE, CLEAN, channel, check, flat, record, the_one

from vesal.audit.checks import check_dataset
from vesal.data.dataset import Case, Orphan
from vesal.data.fingerprint import Failure, fingerprint
from vesal.layouts.registry import load_dataset

#: Five millimetres to the side.
SHIFT = np.array([[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def test_clean_cases_give_no_finding() -> None:
    assert check(*CLEAN) == ()
    assert check(*(flat(f"f{i}") for i in range(5))) == ()
    assert check() == ()


@pytest.mark.parametrize(
    ("changes", "kind", "severity", "words"),
    [
        (
            {"label_shape": (20, 20, 9), "label_distance_mm": None},
            "label-shape",
            "error",
            "20 x 20 x 9, image 20 x 20 x 10",
        ),
        ({"label_distance_mm": 12.345}, "label-grid", "error", "12.3 mm"),
        ({"label_distance_mm": 0.01}, "label-grid", "warning", "0.01 mm"),
        ({"undeclared": (3, 7)}, "undeclared-value", "error", "values 3, 7"),
        ({"nan_voxels": 12}, "not-finite", "error", "12 voxels"),
        ({"voxels": {"PZ": 0, "TZ": 0}}, "empty-label", "warning", "empty"),
        ({"axis_codes": "RAS"}, "orientation", "warning", "RAS"),
        ({"ras_spacing_mm": (1.0, 1.0, 30.0)}, "spacing", "warning", "1 x 1 x 30 mm"),
        ({"channels": (channel(5, 5), channel(5, 5))}, "constant-image", "error", "same intensity"),
        ({"channels": (channel(), channel(5, 5))}, "constant-channel", "warning", "ADC"),
        ({"channels": (channel(),)}, "channel-count", "error", "1 channel"),
        ({"image_digest": "digest of clean3"}, "duplicate", "warning", "clean3 and odd are the same scan"),
        ({"image_digest": "digest of clean3", "patient": "clean3"}, "duplicate", "note", "same scan"),
    ],
)
def test_a_fault_is_found_once_with_its_case_and_its_fix(
    changes: dict[str, object], kind: str, severity: str, words: str
) -> None:
    finding = the_one(check(*CLEAN, record("odd", **changes)))
    assert (finding.kind, finding.severity) == (kind, severity)
    assert "odd" in finding.cases
    assert "odd" in finding.message
    assert words in finding.message


def test_a_slice_among_volumes_is_an_error() -> None:
    finding = the_one(check(*CLEAN, flat("odd")))
    assert (finding.kind, finding.severity, finding.cases) == ("dimension", "error", ("odd",))
    assert "2D where the others are 3D" in finding.message


def test_a_volume_among_slices_is_an_error() -> None:
    finding = the_one(check(*(flat(f"f{i}") for i in range(9)), record("odd")))
    assert "3D where the others are 2D" in finding.message


def test_rounding_of_a_label_grid_is_no_finding() -> None:
    assert check(*CLEAN, record("odd", label_distance_mm=0.9e-3)) == ()


def test_usual_spread_of_spacings_and_orientations_of_slices_are_no_finding() -> None:
    spread = [
        record(f"s{i}", ras_spacing_mm=(0.7, 0.7, z))
        for i, z in enumerate((0.8, 1, 1, 1.5, 2, 2.5, 2.5, 3, 5))
    ]
    assert check(*spread) == ()
    few = [record(f"s{i}", ras_spacing_mm=(1.0, 1.0, z)) for i, z in enumerate((1, 1, 9))]
    assert check(*few) == ()


def test_empty_labels_are_only_a_note_where_they_are_usual() -> None:
    empty = {"PZ": 0, "TZ": 0}
    healthy = [record(f"h{i}", voxels=empty) for i in range(5)]
    assert the_one(check(*CLEAN, *healthy)).severity == "note"
    slices = [flat(f"f{i}") for i in range(20)]
    assert the_one(check(*slices, flat("empty", voxels=empty))).severity == "note"


def test_a_class_that_never_occurs_is_named() -> None:
    finding = the_one(check(*(record(f"c{i}", voxels={"PZ": 9, "TZ": 0}) for i in range(4))))
    assert finding.kind == "absent-class"
    assert "'TZ'" in finding.message


def test_a_label_of_one_case_alone_is_named_with_its_value_and_voxels() -> None:
    many = [record(f"c{i}", voxels={"PZ": 50, "TZ": 0}) for i in range(6)]
    finding = the_one(check(*many, record("odd", voxels={"PZ": 50, "TZ": 3})))
    assert (finding.kind, finding.severity, finding.cases) == ("single-case-label", "warning", ("odd",))
    assert finding.message == "A label occurs in one case alone, in case odd ('TZ' = 2 in 3 voxels)."
    assert "--set labels.NAME=VALUE" in finding.fix
    # In few cases it is nothing odd, nor where nobody looked for it elsewhere.
    few = check(*many[:3], record("odd", voxels={"PZ": 50, "TZ": 3}))
    assert not [one for one in few if one.kind == "single-case-label"]


def test_a_sound_scan_without_a_label_is_no_finding() -> None:
    assert check(*CLEAN, unlabelled=(record("test", **BARE),)) == ()


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"nan_voxels": 3}, "not-finite"),
        ({"channels": (channel(0, 0), channel(5, 5))}, "constant-image"),
        ({"channels": (channel(),)}, "channel-count"),
        ({"ras_spacing_mm": (1.0, 1.0, 30.0)}, "spacing"),
    ],
)
def test_a_fault_of_a_scan_without_a_label_is_found(change: dict[str, object], kind: str) -> None:
    finding = the_one(check(*CLEAN, unlabelled=(record("test", **BARE, **change),)))
    assert (finding.kind, finding.cases) == (kind, ("test",))


def test_files_without_a_partner_are_found() -> None:
    orphans = (
        Orphan(id="i", path=Path("/d/imagesTr/i.nii.gz"), missing="label"),
        Orphan(id="l", path=Path("/d/labelsTr/l.nii.gz"), missing="image"),
        Orphan(id="b", path=Path("/d/b/b_t1.nii.gz"), missing="FLAIR"),
    )
    found = {finding.cases[0]: finding for finding in check(*CLEAN, orphans=orphans)}
    assert {name: finding.severity for name, finding in found.items()} == {
        "i": "warning",
        "l": "error",
        "b": "error",
    }
    assert {finding.kind for finding in found.values()} == {"missing-partner"}
    assert "A label has no image" in found["l"].message
    assert "/d/labelsTr/l.nii.gz" in found["l"].message
    assert "no FLAIR" in found["b"].message


def test_failures_are_unreadable_or_absent_files(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"damaged")
    cases = tuple(Case(id=name, images=(tmp_path / f"{name}.nii.gz",), patient=name) for name in ("a", "b"))
    failures = (Failure(id="a", message="Case a: damaged."), Failure(id="b", message="Case b: not there."))
    findings = check(failures=failures, cases=cases)
    assert [(finding.cases, finding.kind, finding.message) for finding in findings] == [
        (("a",), "unreadable", "Case a: damaged."),
        (("b",), "missing-file", "Case b: not there."),
    ]


def test_few_errors_are_told_one_by_one_and_many_together() -> None:
    few = check(*CLEAN, *(record(f"odd{i}", nan_voxels=1) for i in range(3)))
    assert [finding.cases for finding in few] == [("odd0",), ("odd1",), ("odd2",)]
    many = the_one(check(*CLEAN, *(record(f"odd{i}", nan_voxels=1) for i in range(20))))
    assert len(many.cases) == 20
    assert "in 20 cases: odd0 (1 voxel), " in many.message
    assert "and 12 more" in many.message


def test_errors_come_before_warnings_before_notes() -> None:
    twins = {"image_digest": "same", "patient": "p"}
    findings = check(
        *CLEAN, record("a", axis_codes="RAS"), record("b", **twins), record("c", nan_voxels=3, **twins)
    )
    assert [finding.severity for finding in findings] == ["error", "warning", "note"]


def test_a_mixture_of_orientations_is_no_finding() -> None:
    assert check(*CLEAN, *(record(f"r{i}", axis_codes="RAS") for i in range(6))) == ()


def change(path: Path, damage: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> None:
    image = nib.load(path)
    nib.save(nib.Nifti1Image(*damage(np.asarray(image.dataobj).copy(), image.affine.copy())), path)


def test_damaged_files_are_found_from_folder_to_finding(tiny_data: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    images, labels = folder / "imagesTr", folder / "labelsTr"
    (images / "tiny_00.nii.gz").write_bytes((images / "tiny_00.nii.gz").read_bytes()[:500])
    change(labels / "tiny_01.nii.gz", lambda array, affine: (array[:-1], affine))
    change(images / "tiny_02.nii.gz", lambda array, affine: (np.where(array > 350, np.nan, array), affine))
    change(
        labels / "tiny_03.nii.gz",
        lambda array, affine: (np.where(array == 7, 5, array).astype(np.uint8), affine),
    )
    change(labels / "tiny_04.nii.gz", lambda array, affine: (array, SHIFT @ affine))
    change(labels / "tiny_05.nii.gz", lambda array, affine: (array * 0, affine))
    (images / "tiny_06.nii.gz").unlink()
    shutil.copy(labels / "tiny_06.nii.gz", labels / "lone.nii.gz")
    dataset = load_dataset(folder)
    found = {(finding.kind, finding.cases) for finding in check_dataset(dataset, fingerprint(dataset))}
    assert {
        ("unreadable", ("tiny_00",)),
        ("label-shape", ("tiny_01",)),
        ("not-finite", ("tiny_02",)),
        ("undeclared-value", ("tiny_03",)),
        ("label-grid", ("tiny_04",)),
        ("empty-label", ("tiny_05",)),
        ("missing-file", ("tiny_06",)),
        ("missing-partner", ("lone",)),
    } <= found


# --- real scans --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "true"),
    [
        ("Task04_Hippocampus", []),
        # In prostate_18 the whole gland is labelled as peripheral zone.
        ("Task05_Prostate", [("missing-class", "note", ("prostate_18",))]),
        ("ACDC", []),
        ("BraTS2018", []),
    ],
)
def test_clean_real_scans_give_no_finding_but_true_ones(
    data_dir: Path, folder: str, true: list[tuple[str, str, tuple[str, ...]]]
) -> None:
    dataset = load_dataset(data_dir / folder)
    found = check_dataset(dataset, fingerprint(dataset))
    assert [(finding.kind, finding.severity, finding.cases) for finding in found] == true


def test_inspect_looks_at_scans_without_a_label_and_counts_as_before(tiny_data: Path, tmp_path: Path) -> None:
    from vesal.report.pages.inspect_page import inspection_summary
    from vesal.workflow.inspect import inspect_run

    folder = shutil.copytree(tiny_data, tmp_path / "tiny")
    test = folder / "imagesTs" / "tiny_50.nii.gz"
    shutil.copy(folder / "imagesTr" / "tiny_02.nii.gz", test)
    seen = inspect_run(folder, None)
    assert ("tiny_50", "tiny_02") in [finding.cases for finding in seen.findings]
    summary = inspection_summary(seen.dataset, seen.fingerprint, seen.findings)
    counts = {"images": 8, "labels": 7, "unlabelled": 1, "patients": 7, "unreadable": 0}
    assert summary["counts"] == counts
    assert len(summary["cases"]) == 7
    test.write_bytes(test.read_bytes()[:300])
    assert ("tiny_50",) in [finding.cases for finding in inspect_run(folder, None).findings]
