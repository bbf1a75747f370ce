"""Labels of other scans go back or are left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from organs import finding, image_of, label_of, load, only, rewrite, save, undone

from vesal.audit.apply_fixes import fix_case
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
