"""Which cases are measured, with which models, and how truth is translated to their labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vesal.data.folds import Folds
from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError
from vesal.layouts.registry import load_dataset
from vesal.workflow.robustness.benchmark_cases import choose_cases, translation


@pytest.fixture
def trained(tiny_data: Path, tmp_path: Path) -> Path:
    """A run of three folds, as far as the benchmark looks at one."""
    folder = tmp_path / "run"
    dataset = load_dataset(tiny_data)
    dataset.save(folder / "dataset.json")
    names = sorted(case.id for case in dataset.cases)
    Folds(seed=0, parts=(tuple(names[:2]), tuple(names[2:4]), tuple(names[4:]))).save(folder / "folds.json")
    for number in (0, 2):
        (folder / f"fold_{number}").mkdir()
        (folder / f"fold_{number}" / "model.vesal").write_bytes(b"%d" % number)
        (folder / f"fold_{number}" / "finished.json").write_text("{}")
    return folder


def groups(chosen):
    return {group.models[0].parent.name: [case.id for case in group.cases] for group in chosen.groups}


def test_of_a_run_each_held_out_case_is_measured_with_the_model_that_has_not_seen_it(trained, tiny_data):
    expected = {"fold_0": ["tiny_00", "tiny_01"], "fold_2": ["tiny_04", "tiny_05", "tiny_06"]}
    assert groups(choose_cases(trained, None)) == expected
    assert groups(choose_cases(trained, tiny_data)) == expected
    assert groups(choose_cases(trained, None, fold=2)) == {"fold_2": expected["fold_2"]}
    for fold in (None, 2):
        assert groups(choose_cases(trained / "fold_2", None, fold=fold)) == {"fold_2": expected["fold_2"]}
    assert groups(choose_cases(trained / "fold_0" / "model.vesal", tiny_data)) == {
        "fold_0": expected["fold_0"]
    }


def test_on_other_data_all_models_of_a_run_vote_on_all_cases(trained, tiny_data, tmp_path):
    other = shutil.copytree(tiny_data, tmp_path / "other")
    chosen = choose_cases(trained, other)
    assert [len(group.models) for group in chosen.groups] == [2]
    assert len(chosen.names) == 7
    assert len(choose_cases(trained, other, fold=0).groups[0].models) == 1


def test_what_cannot_be_chosen_is_refused(trained, model, tiny_data):
    with pytest.raises(UsageError, match="lies in no run"):
        choose_cases(model, None)
    with pytest.raises(UsageError, match="no model of fold 1"):
        choose_cases(trained, None, fold=1)
    with pytest.raises(UsageError, match="has the folds 0 to 2"):
        choose_cases(trained, None, fold=7)
    for data in (None, tiny_data / "imagesTr"):
        with pytest.raises(UsageError, match="is of fold 0, and --fold says 2"):
            choose_cases(trained / "fold_0", data, fold=2)
    (trained / "folds.json").unlink()
    with pytest.raises(DataError, match="trained on all cases"):
        choose_cases(trained, None)


def test_a_few_cases_are_spread_evenly_over_all(trained):
    assert choose_cases(trained, None).first(3).names == ["tiny_00", "tiny_04", "tiny_06"]


def test_truth_is_translated_to_the_models_labels_by_name_or_by_value():
    model = LabelSet.from_values({"core": 1, "shell": 2})
    assert translation(LabelSet.from_values({"shell": 5, "core": 9}), model)[:3].tolist() == [0, 2, 1]
    assert translation(LabelSet.from_values({"1": 1, "2": 2, "3": 3}), model)[:4].tolist() == [0, 1, 2, 0]
    with pytest.raises(DataError, match="predicts shell"):
        translation(LabelSet.from_values({"one": 1}), model)
