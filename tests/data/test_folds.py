"""Folds: nobody on two sides, balanced, the same for the same seed whatever the order of the cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vesal.data.dataset import Case
from vesal.data.folds import Folds, check_split, make_folds
from vesal.errors import DataError, UsageError, VesalError


def case(name: str, patient: str | None = None) -> Case:
    return Case(
        id=name, images=(Path(f"{name}.nii.gz"),), label=Path(f"{name}_gt.nii.gz"), patient=patient or name
    )


def singles(count: int) -> list[Case]:
    return [case(f"c{i:03}") for i in range(count)]


def random_cohort(seed: int) -> tuple[list[Case], list[tuple[str, ...]], int]:
    """Patients with 1 to 6 cases each, some scans that occur twice, and a number of folds that fits."""
    generator = np.random.default_rng(seed)
    cases = [
        case(f"p{patient}_{scan}", f"p{patient}")
        for patient in range(int(generator.integers(12, 60)))
        for scan in range(int(generator.integers(1, 7)))
    ]
    picks = [generator.choice(len(cases), int(generator.integers(2, 4)), replace=False) for _ in range(4)]
    together = [tuple(cases[i].id for i in pick) for pick in picks]
    return cases, together, int(generator.integers(2, 5))


def classes_of(cases: list[Case], seed: int) -> dict[str, tuple[str, ...]]:
    generator = np.random.default_rng(seed)
    shares = {"common": 0.9, "half": 0.5, "rare": 0.12}
    return {
        each.id: tuple(name for name, share in shares.items() if generator.random() < share) for each in cases
    }


@pytest.mark.parametrize("seed", range(30))
def test_folds_partition_the_cases_and_do_not_leak(seed: int) -> None:
    cases, together, count = random_cohort(seed)
    folds = make_folds(cases, folds=count, seed=seed, together=together, present=classes_of(cases, seed))
    assert sorted(name for part in folds.parts for name in part) == sorted(each.id for each in cases)
    patients = {each.id: each.patient for each in cases}
    for fold in range(count):
        train, validation = set(folds.train(fold)), set(folds.validation(fold))
        assert train | validation == set(patients)
        assert not train & validation
        assert not {patients[name] for name in train} & {patients[name] for name in validation}
        assert not any(train & set(group) and validation & set(group) for group in together)
        check_split(cases, folds.train(fold), folds.validation(fold), together=together)


@pytest.mark.parametrize("seed", range(10))
def test_the_order_of_the_cases_changes_nothing_and_the_seed_does(seed: int) -> None:
    cases, together, count = random_cohort(seed)
    present = classes_of(cases, seed)
    folds = make_folds(cases, folds=count, seed=seed, together=together, present=present)
    generator = np.random.default_rng(seed + 100)
    shuffled = [cases[i] for i in generator.permutation(len(cases))]
    turned = [group[::-1] for group in together][::-1]
    backwards = dict(reversed(present.items()))
    assert make_folds(shuffled, folds=count, seed=seed, together=turned, present=backwards) == folds
    assert (
        make_folds(cases, folds=count, seed=seed + 1, together=together, present=present).parts != folds.parts
    )


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("count", [7, 52, 208])
def test_single_cases_are_spread_evenly(count: int, seed: int) -> None:
    cases = singles(count)
    sizes = [len(part) for part in make_folds(cases, seed=seed, present=classes_of(cases, seed)).parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("seed", range(20))
def test_every_class_is_spread_evenly(seed: int) -> None:
    cases = singles(100)
    present = classes_of(cases, seed)
    folds = make_folds(cases, seed=seed, present=present)
    for name in ("common", "half", "rare"):
        counts = [sum(name in present[each] for each in part) for part in folds.parts]
        assert max(counts) - min(counts) <= 1, name


@pytest.mark.parametrize("seed", range(20))
def test_uneven_patients_give_folds_as_even_as_their_sizes_allow(seed: int) -> None:
    cases, together, count = random_cohort(seed)
    sizes = [len(part) for part in make_folds(cases, folds=count, seed=seed, together=together).parts]
    assert max(sizes) - min(sizes) <= 6


def test_two_volumes_of_each_patient_split_by_patients() -> None:
    cases = [case(f"p{i}_{phase}", f"p{i}") for i in range(40) for phase in ("ED", "ES")]
    assert [len(part) for part in make_folds(cases).parts] == [16] * 5


def test_chains_over_patients_and_identical_scans_stay_together() -> None:
    cases = [case("a1", "a"), case("a2", "a"), case("b1", "b"), case("b2", "b"), case("c1", "c"), *singles(6)]
    for seed in range(10):
        folds = make_folds(cases, folds=3, seed=seed, together=[("a2", "b1"), ("b2", "c1")])
        assert any({"a1", "a2", "b1", "b2", "c1"} <= set(part) for part in folds.parts)


def test_groups_may_name_cases_that_were_left_out_and_still_link() -> None:
    cases = singles(6)
    for seed in range(10):
        folds = make_folds(cases, folds=3, seed=seed, together=[("c000", "gone"), ("gone", "c005")])
        assert any({"c000", "c005"} <= set(part) for part in folds.parts)


def test_fewer_patients_than_folds_is_told_with_the_fix() -> None:
    cases = [case(f"p{i % 3}_{i}", f"p{i % 3}") for i in range(12)]
    with pytest.raises(UsageError, match=r"5 folds need at least 5 patients, but the 12 cases are of 3 "):
        make_folds(cases)
    assert make_folds(cases, folds=3).count == 3
    with pytest.raises(UsageError, match="--set folds=3 for as many, or --fold none"):
        make_folds(cases)
    with pytest.raises(UsageError, match="add --fold none to train on all cases"):
        make_folds(cases[:1])
    with pytest.raises(UsageError, match="no split"):
        make_folds(cases, folds=1)


def test_an_unknown_fold_is_told() -> None:
    with pytest.raises(UsageError, match="There is no fold 5; choose one of 0 to 4"):
        make_folds(singles(10)).train(5)


def test_a_leaking_split_names_the_pair_and_the_reason() -> None:
    cases = [case("a1", "a"), case("a2", "a"), case("b"), case("c"), case("d")]
    with pytest.raises(DataError, match=r"a1 \(training\) and a2 \(validation\) are of one patient \(a\)"):
        check_split(cases, ["a1", "b"], ["a2", "c"])
    with pytest.raises(DataError, match=r"b \(training\) and c \(validation\) are the same scan"):
        check_split(cases, ["a1", "a2", "b"], ["c", "d"], together=[("b", "c")])
    with pytest.raises(
        DataError, match=r"a1 \(training\) and b \(validation\) belong together through other"
    ):
        check_split(cases, ["a1"], ["b"], together=[("a2", "b")])
    with pytest.raises(DataError, match="Case b is both in training and in validation"):
        check_split(cases, ["a1", "b"], ["b"])
    with pytest.raises(DataError, match="names case z, which the data set does not have"):
        check_split(cases, ["a1"], ["z"])
    check_split(cases, ["a1", "a2", "b"], ["c", "d"], together=[("c", "d")])


def test_folds_come_back_from_their_file_and_a_wrong_file_is_refused(tmp_path: Path) -> None:
    folds = make_folds(singles(23), seed=3)
    folds.save(tmp_path / "folds.json")
    assert Folds.load(tmp_path / "folds.json") == folds
    (tmp_path / "twice.json").write_text('{"seed": 0, "parts": [["a", "b"], ["b"]]}')
    with pytest.raises(VesalError, match="case b is in two folds"):
        Folds.load(tmp_path / "twice.json")
    (tmp_path / "empty.json").write_text('{"seed": 0, "parts": [["a"], []]}')
    with pytest.raises(VesalError, match=r"empty\.json does not hold a split .*fold 1 holds out no case"):
        Folds.load(tmp_path / "empty.json")
