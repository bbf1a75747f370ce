"""The split that goes on with added cases: whoever was learned from is never held out."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesal.data.dataset import Case, Dataset
from vesal.data.folds import Folds
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError
from vesal.run.folder import Run
from vesal.workflow.finetuning.continued_split import continued_split
from vesal.workflow.finetuning.source_model import SourceModel


def dataset(*patients: str, root: Path = Path("scans")) -> Dataset:
    """A case for each name, of the patient of its first letter."""
    cases = tuple(
        Case(id=name, images=(root / name,), label=root / name, patient=name[0]) for name in patients
    )
    return Dataset(
        name="set",
        root=root,
        layout="msd",
        channels=("MRI",),
        labels=LabelSet.from_values({"a": 1}),
        cases=cases,
    )


def source(folder: Path, folds: Folds | None, fold: str = "0") -> SourceModel:
    run = Run(folder)
    folder.mkdir(exist_ok=True)
    dataset("a1", "b1", "c1", "d1").save(run.dataset_file)
    if folds is not None:
        folds.save(run.folds_file)
    return SourceModel(folder / "model.vesal", None, run, fold)  # type: ignore[arg-type]


HALVES = Folds(seed=0, parts=(("a1", "b1"), ("c1", "d1")))


def test_new_cases_join_their_patient_and_else_the_smallest_part(tmp_path: Path) -> None:
    data = dataset("a1", "b1", "c1", "d1", "a2", "c2", "e1", "e2", "f1")
    found = continued_split(source(tmp_path, HALVES), data, None)
    assert found is not None
    split, fold, text = found
    assert fold == 0
    assert {"a1", "b1", "a2"} <= set(split.parts[0])
    assert {"c1", "d1", "c2"} <= set(split.parts[1])
    # The two of one patient stay together.
    assert len({number for number, part in enumerate(split.parts) for name in part if name[0] == "e"}) == 1
    assert split.names == {case.id for case in data.cases}
    assert "5 cases are new" in text
    again = continued_split(source(tmp_path, HALVES), data, 0)
    assert again == found
    one = continued_split(source(tmp_path, HALVES), data, 0, together=[("f1", "d1")])
    assert one is not None
    assert "f1" in one[0].parts[1]


def test_where_one_fold_was_given_the_new_ones_are_trained_on(tmp_path: Path) -> None:
    one = Folds(seed=0, parts=(("a1",),), training=("b1", "c1", "d1"))
    found = continued_split(source(tmp_path, one), dataset("a1", "b1", "c1", "d1", "a2", "e1"), None)
    assert found is not None
    assert found[0].parts == (("a1", "a2"),)
    assert found[0].training == ("b1", "c1", "d1", "e1")


def test_after_a_training_on_all_cases_new_patients_alone_are_held_out(tmp_path: Path) -> None:
    data = dataset("a1", "b1", "c1", "d1", "a2", "e1", "f1", "g1", "h1", "i1")
    known = source(tmp_path, None, "all")
    assert continued_split(known, data, None) is None
    found = continued_split(known, data, 1)
    assert found is not None
    split, fold, text = found
    assert (fold, split.count) == (0, 1)
    assert set(split.parts[0]) <= {"e1", "f1", "g1", "h1", "i1"}
    assert {"a1", "a2"} <= set(split.train(0))
    assert "was trained on all cases" in text
    with pytest.raises(UsageError, match="1 new patient: too few"):
        continued_split(known, dataset("a1", "e1"), 0)


def test_another_fold_and_a_part_that_is_gone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is of fold 0"):
        continued_split(source(tmp_path, HALVES), dataset("a1", "b1", "c1", "d1"), 1)
    with pytest.raises(DataError, match="put them back"):
        continued_split(source(tmp_path, HALVES), dataset("c1", "d1"), None)


def test_nothing_is_known_of_a_model_elsewhere() -> None:
    assert continued_split(SourceModel(Path("m.vesal"), None), dataset("a1"), None) is None  # type: ignore[arg-type]
