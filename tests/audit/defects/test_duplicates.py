"""Scans that are there several times are found, and kept on one side of a split."""

from __future__ import annotations

from pathlib import Path

from case_records import BARE, CLEAN, channel, check, flat, record, the_one

from vesal.audit.checks import check_dataset
from vesal.audit.defects.duplicates import duplicate_groups
from vesal.data.fingerprint import Fingerprint, fingerprint
from vesal.layouts.registry import load_dataset


def test_both_annotations_of_one_scan_are_mentioned() -> None:
    assert (
        "Both are annotated" in the_one(check(*CLEAN, record("odd", image_digest="digest of clean3"))).message
    )


def test_duplicates_are_grouped_but_constant_images_are_none() -> None:
    records = (
        *(record(name, image_digest="same") for name in ("a", "b", "c")),
        *(flat(name, image_digest="blank", channels=(channel(0, 0),)) for name in ("d", "e")),
    )
    found = Fingerprint(dataset="d", channels=("T2",), cases=records)
    assert duplicate_groups(found) == (("a", "b", "c"),)


def test_a_test_scan_that_is_a_training_scan_is_named() -> None:
    finding = the_one(check(*CLEAN, unlabelled=(record("test", image_digest="digest of clean3", **BARE),)))
    assert (finding.kind, finding.severity, finding.cases) == ("duplicate", "warning", ("test", "clean3"))
    assert "test is the same as the annotated clean3" in finding.message


def test_the_one_scan_that_was_annotated_twice_is_found(data_dir: Path) -> None:
    dataset = load_dataset(data_dir / "Task02_Heart")
    found = fingerprint(dataset)
    assert duplicate_groups(found) == (("la_005", "la_026"),)
    finding = the_one(check_dataset(dataset, found))
    assert finding.kind == "duplicate"
    assert "Both are annotated" in finding.message
