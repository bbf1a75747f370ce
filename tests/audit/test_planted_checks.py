"""A planted set: every kind of damage is found under its name and in its case, and nothing is invented beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from damage import DAMAGES, Damage, copy_of

from vesal.audit.checks import check_dataset
from vesal.audit.defects.duplicates import duplicate_groups
from vesal.audit.finding import Finding
from vesal.data.dataset import Case
from vesal.data.fingerprint import Fingerprint, fingerprint
from vesal.data.folds import check_split, make_folds
from vesal.errors import DataError
from vesal.layouts.registry import load_dataset
from vesal.phantoms.registry import write_phantoms

#: The case that is damaged, and one that lends its files.
DAMAGED, OTHER = 5, 2


@dataclass(frozen=True)
class Clean:
    """A data set without damage, and what is known of it."""

    folder: Path
    cases: int
    record: Fingerprint
    findings: tuple[Finding, ...]


def look(folder: Path, known: Fingerprint | None = None) -> tuple[Fingerprint, tuple[Finding, ...]]:
    """Inspect; of cases that are still links to a clean set, the known records are taken."""
    dataset = load_dataset(folder)
    records = {} if known is None else {record.id: record for record in known.cases}
    kept = {case.id for case in dataset.cases if case.id in records and untouched(case)}
    changed = tuple(case for case in dataset.cases if case.id not in kept)
    found = fingerprint(dataset.model_copy(update={"cases": changed}), unlabelled=True, workers=1)
    records = {name: records[name] for name in kept} | {record.id: record for record in found.cases}
    order = [records[case.id] for case in dataset.cases if case.id in records]
    whole = found.model_copy(update={"cases": tuple(order)})
    return whole, check_dataset(dataset, whole)


def untouched(case: Case) -> bool:
    files = (*case.images, case.label)
    return all(path is not None and path.is_symlink() and path.resolve().name == path.name for path in files)


def clean(source: Path, folder: Path, cases: int) -> Clean:
    copy_of(source, folder, cases)
    return Clean(source, cases, *look(folder))


@pytest.fixture(scope="module")
def hippocampi(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Clean:
    return clean(data_dir / "Task04_Hippocampus", tmp_path_factory.mktemp("hippocampi"), 30)


@pytest.fixture(scope="module")
def prostates(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Clean:
    return clean(data_dir / "Task05_Prostate", tmp_path_factory.mktemp("prostates"), 7)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Clean:
    source = tmp_path_factory.mktemp("phantoms") / "whole"
    write_phantoms(source, "short-axis", 12, seed=3)
    return clean(source, tmp_path_factory.mktemp("phantoms_linked"), 12)


def plant(clean: Clean, damage: Damage, folder: Path) -> None:
    names = copy_of(clean.folder, folder, clean.cases)
    damaged = set(damage.harm(folder, names[DAMAGED], names[OTHER]))
    _, found = look(folder, clean.record)
    named = [finding for finding in found if finding.kind == damage.kind and damaged <= set(finding.cases)]
    assert named, [finding.message for finding in found]
    before = {(finding.kind, case) for finding in clean.findings for case in finding.cases}
    now = {(finding.kind, case) for finding in found for case in finding.cases if case not in damaged}
    assert now <= before, "invented"


def names_of(*unneeded: str) -> list[str]:
    return [name for name, damage in DAMAGES.items() if damage.needs not in unneeded]


def test_there_are_more_than_thirty_kinds_and_each_has_its_name() -> None:
    assert len(DAMAGES) >= 40
    assert len({damage.kind for damage in DAMAGES.values()}) >= 25


def test_the_clean_sets_have_no_finding_but_true_ones(hippocampi: Clean, prostates: Clean) -> None:
    # 24 of all 208 hippocampi, and one of these 30, have intensities of a scanner that counts otherwise.
    kinds = {(finding.kind, finding.severity, finding.cases) for finding in hippocampi.findings}
    assert kinds <= {("intensity-outlier", "note", ("hippocampus_044",))}
    kinds = {(finding.kind, finding.severity, finding.cases) for finding in prostates.findings}
    assert kinds == {("missing-class", "note", ("prostate_18",))}


@pytest.mark.parametrize("name", names_of("channels"))
def test_damage_done_to_a_hippocampus_is_found(name: str, hippocampi: Clean, tmp_path: Path) -> None:
    plant(hippocampi, DAMAGES[name], tmp_path)


@pytest.mark.parametrize(
    "name", [*names_of("", "alike", "classes"), "label flipped", "label values exchanged"]
)
def test_damage_done_to_a_prostate_is_found(name: str, prostates: Clean, tmp_path: Path) -> None:
    plant(prostates, DAMAGES[name], tmp_path)


def test_clean_phantoms_have_no_finding(phantoms: Clean) -> None:
    assert phantoms.findings == ()


@pytest.mark.parametrize("name", names_of("channels", "alike"))
def test_damage_done_to_a_phantom_is_found(name: str, phantoms: Clean, tmp_path: Path) -> None:
    plant(phantoms, DAMAGES[name], tmp_path)


def test_a_cropped_copy_is_kept_on_its_scans_side_and_a_split_that_parts_them_is_refused(
    phantoms: Clean, tmp_path: Path
) -> None:
    names = copy_of(phantoms.folder, tmp_path, phantoms.cases)
    pair = DAMAGES["copy cropped"].harm(tmp_path, names[DAMAGED], names[OTHER])
    record, _ = look(tmp_path, phantoms.record)
    together, cases = duplicate_groups(record), load_dataset(tmp_path).cases
    assert together == (pair,)
    for seed in range(5):
        folds = make_folds(cases, folds=4, seed=seed, together=together)
        assert any(set(pair) <= set(part) for part in folds.parts)
    with pytest.raises(DataError, match=rf"{pair[1]}.*{pair[0]}|{pair[0]}.*{pair[1]}"):
        check_split(cases, [pair[0]], [pair[1]], together=together)
