"""A case that is far from the others in a number is named, with what is usual."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from case_records import CLEAN, channel, check, record, the_one

from vesal.audit.checks import check_dataset
from vesal.data.dataset import Case
from vesal.data.fingerprint import ChannelStatistics, fingerprint
from vesal.layouts.registry import load_dataset


@pytest.mark.parametrize(
    ("changes", "kind", "severity", "words"),
    [
        (
            {"voxels": {"PZ": 500, "TZ": 300}},
            "volume-outlier",
            "warning",
            "all labels 2.4 ml, usual is 0.24 ml",
        ),
        ({"ras_shape": (60, 20, 10)}, "field-of-view", "note", "60 mm left-right, usual is 20 mm"),
        ({"voxels": {"PZ": 80, "TZ": 0}}, "missing-class", "note", "'TZ'"),
    ],
)
def test_an_outlier_is_found_with_what_is_usual(
    changes: dict[str, object], kind: str, severity: str, words: str
) -> None:
    finding = the_one(tuple(one for one in check(*CLEAN, record("odd", **changes)) if one.kind == kind))
    assert (finding.severity, finding.cases) == (severity, ("odd",))
    assert words in finding.message


def test_a_case_in_which_one_label_alone_was_drawn_is_no_outlier() -> None:
    whole = [record(f"whole{number}", voxels={"PZ": 50, "TZ": 900}) for number in range(10)]
    partly = record("partly", voxels={"PZ": 50, "TZ": 0})
    assert {one.kind for one in check(*whole, partly)} == {"volume-outlier", "missing-class"}
    cases = tuple(
        Case(
            id=each.id,
            images=(Path("/x.nii.gz"),),
            label=Path("/y.nii.gz"),
            patient=each.patient,
            annotated=("PZ",) if each is partly else None,
        )
        for each in (*whole, partly)
    )
    assert check(*whole, partly, cases=cases) == ()


def test_another_scale_of_intensities_is_a_note() -> None:
    loud = channel().model_copy(update={"percentiles": (100.0, 30000.0, 88000.0)})
    finding = the_one(check(*CLEAN, record("odd", channels=(loud, channel()))))
    assert (finding.kind, finding.severity) == ("intensity-outlier", "note")
    assert "T2 spans 87,900, usual is 879" in finding.message


@pytest.mark.parametrize(
    ("ends", "found"),
    [
        ((10, 1100, 2000), True),  # stored values without their intercept
        ((-2040, -900, -50), True),  # the intercept twice
        ((-3024, 60, 1000), False),  # padded otherwise
        ((-150, 70, 1000), False),  # cut to the organ, without air
        ((-1000, 60, 3000), False),  # with metal
    ],
)
def test_a_ct_without_its_intercept_is_found_and_padding_crops_and_metal_are_not(
    ends: tuple[float, ...], found: bool
) -> None:
    def ct(*percentiles: float) -> tuple[ChannelStatistics]:
        low, _, high = percentiles
        return (channel(low, high).model_copy(update={"percentiles": percentiles}),)

    clean = [
        record(f"clean{number}", channels=ct(-1010 - number, 50, 950 + 9 * number)) for number in range(10)
    ]
    findings = check(*clean, record("odd", channels=ct(*ends)), channels=("CT",))
    assert [(one.kind, one.severity, one.cases) for one in findings] == (
        [("intensity-outlier", "warning", ("odd",))] if found else []
    )
    assert not found or "intercept" in findings[0].message


def test_where_more_than_a_tenth_are_far_nothing_is_found() -> None:
    far = [record(f"far{number}", ras_shape=(60, 20, 10)) for number in range(3)]
    assert check(*CLEAN, *far) == ()


@pytest.mark.parametrize(("scatter", "found"), [(0, ("case-05",)), (14, ())])
def test_a_flat_face_is_a_cut_in_an_organ_but_not_in_tumours_which_lie_anywhere(
    scatter: int, found: tuple[str, ...], tmp_path: Path
) -> None:
    """One of 14 ellipsoids has a third cut away; the others are smaller, so that its volume tells nothing."""
    places = np.random.default_rng(0).integers(-scatter, scatter + 1, (14, 1)) * (1, 0, 0)
    names = [f"case-{number:02d}" for number in range(14)]
    for number, (name, moved) in enumerate(zip(names, places, strict=True)):
        axes = np.array([14.0, 9.0, 9.0]) * (0.9 if number == 5 else 0.75 + 0.02 * number)
        points = np.indices((64, 32, 32)).astype(float) - np.reshape(
            np.array([32, 16, 16]) + moved, (3, 1, 1, 1)
        )
        label = ((points / axes.reshape(3, 1, 1, 1)) ** 2).sum(axis=0) < 1
        if number == 5:
            label &= points[0] < 0.15 * axes[0]
        scan = np.random.default_rng(number).normal(100 * label, 10).astype(np.float32)
        for folder, array in (("imagesTr", scan), ("labelsTr", label.astype(np.uint8))):
            (tmp_path / folder).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / folder / f"{name}.nii.gz")
    description = {
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "organ"},
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names
        ],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    dataset = load_dataset(tmp_path)
    findings = check_dataset(dataset, fingerprint(dataset))
    assert [one.cases for one in findings if "flat face" in one.message] == ([found] if found else [])
