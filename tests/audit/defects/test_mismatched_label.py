"""Labels of other scans go back or are left out."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from organs import finding, image_of, label_of, load, only, rewrite, save, undone

from vesal.audit.apply_fixes import fix_case
from vesal.audit.checks import check_dataset
from vesal.audit.reference_cases import ReferenceCases
from vesal.data.fingerprint import fingerprint
from vesal.layouts.registry import load_dataset


def test_a_label_that_two_scans_have_stays_with_the_one_that_it_fits(data: Path) -> None:
    turned = np.ascontiguousarray(load(label_of(data, 4))[0][:, ::-1, ::-1])
    for number in (4, 6):  # case 6 is measured as the other one
        save(label_of(data, number), turned)
    rewrite(image_of(data, 6), lambda array, affine: (np.ascontiguousarray(array[:, ::-1, ::-1]), affine))
    dataset = load_dataset(data)
    others = ReferenceCases(dataset, fingerprint(dataset), frozenset({"case_4", "case_6"}))
    outcomes = {}
    for case in dataset.cases:
        if case.id in ("case_4", "case_6"):
            partners = [name for name in ("case_4", "case_6") if name != case.id]
            found = finding(case.id, "mismatched-label", of=partners)
            outcomes[case.id] = only(fix_case(case, [found], others, data)).outcome
    assert outcomes["case_4"] == "left out"


def test_labels_of_two_cases_that_were_exchanged_go_back(data: Path, clean: Path) -> None:
    turned = np.ascontiguousarray(load(image_of(data, 6))[0][:, ::-1, :10])
    held = np.ascontiguousarray(load(label_of(data, 6))[0][:, ::-1, :10])
    whole = load(label_of(data, 4))
    save(image_of(data, 6), turned)
    save(label_of(data, 6), whole[0])
    save(label_of(data, 4), held)
    dataset = load_dataset(data)
    others = ReferenceCases(dataset, fingerprint(dataset), frozenset({"case_4", "case_6"}))
    case = next(case for case in dataset.cases if case.id == "case_4")
    odd = finding("case_4", "mismatched-label", of=["case_6"])
    result = fix_case(case, [odd], others, data)
    # Case 6 is upside down besides, so that it fits neither way: nothing is exchanged.
    assert only(result).outcome == "left out"
    save(image_of(data, 6), load(image_of(clean, 6))[0][:, :, :17])
    save(label_of(data, 4), load(label_of(clean, 6))[0][:, :, :17])
    result = fix_case(case, [odd], others, data)
    assert only(result).numbers["with"] == "case_6"
    undone(result, data, clean)


def shared(data: Path, pairs: dict[int, int], patients: dict[str, str]) -> list[tuple[str, ...]]:
    """The cases with one label map that are found, where labels were copied and these are the patients."""
    for of, to in pairs.items():
        shutil.copyfile(label_of(data, of), label_of(data, to))
    dataset = load_dataset(data)
    cases = [
        case.model_copy(update={"patient": patients.get(case.id, case.patient)}) for case in dataset.cases
    ]
    dataset = dataset.model_copy(update={"cases": tuple(cases)})
    findings = check_dataset(dataset, fingerprint(dataset, workers=1))
    return [finding.cases for finding in findings if finding.kind == "mismatched-label"]


def test_one_label_map_for_two_scans_of_one_patient_is_no_mistake(data: Path) -> None:
    assert shared(data, {0: 1}, {}) == [("case_0", "case_1")]
    assert shared(data, {}, {"case_0": "anna", "case_1": "anna"}) == []


def test_label_maps_that_most_scans_share_are_how_the_data_set_is(data: Path) -> None:
    assert shared(data, {0: 1, 2: 3, 4: 5}, {}) == []
