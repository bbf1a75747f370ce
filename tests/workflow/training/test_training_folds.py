"""Which folds a run has, and what is refused before the data are read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vesal.data.labels import LabelSet
from vesal.errors import DataError, UsageError, VesalError
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training.train import TrainResult, train_run
from vesal.workflow.training.training_folds import tell_unseen


def trained(data: Path, out: Path, messages: list[str] | None = None, **options: Any) -> TrainResult:
    request = TrainRequest(data=data, out=out, steps=1, device="cpu", quiet=True, **options)
    return train_run(request, tell=(messages if messages is not None else []).append)


def of_cases(data: Path, folder: Path, count: int) -> Path:
    """A copy with the first cases alone."""
    shutil.copytree(data, folder)
    value = json.loads((folder / "dataset.json").read_text())
    value["training"] = value["training"][:count]
    (folder / "dataset.json").write_text(json.dumps(value))
    for name in ("imagesTr", "labelsTr"):
        for path in sorted((folder / name).iterdir())[count:]:
            path.unlink()
    return folder


@pytest.mark.parametrize("count", [2, 3, 4])
def test_few_patients_are_told_how_many_folds_work_and_that_works_at_once(
    tiny_data: Path, tiny_plan: Path, tmp_path: Path, count: int
) -> None:
    data = of_cases(tiny_data, tmp_path / "data", count)
    options = {"fold": 0, "plan_file": tiny_plan}
    with pytest.raises(UsageError, match=f"--set folds={count} for as many, or --fold none"):
        trained(data, tmp_path / "run", **options)
    result = trained(data, tmp_path / "run", settings=(f"folds={count}",), **options)
    assert result.scores is not None
    assert len({row.case for row in result.scores.cases}) == 1


@pytest.mark.parametrize("asked", [7, 20])
def test_identical_scans_count_as_one_in_the_first_refusal_and_what_is_told_works_at_once(
    tiny_data: Path, tiny_plan: Path, tmp_path: Path, asked: int
) -> None:
    options = {"fold": 0, "plan_file": tiny_plan}
    with pytest.raises(UsageError, match=rf"{asked} folds need .* 7 cases are of 6 .*--set folds=6 for"):
        trained(tiny_data, tmp_path / "run", settings=(f"folds={asked}",), **options)
    assert not list((tmp_path / "run").glob("p*")), "it is planned and prepared before it is refused"
    assert trained(tiny_data, tmp_path / "run", settings=("folds=6",), **options).scores is not None


def test_cases_that_cannot_be_used_do_not_count_among_the_folds_that_work(
    tiny_data: Path, tiny_plan: Path, tmp_path: Path
) -> None:
    data = of_cases(tiny_data, tmp_path / "data", 4)
    (data / "imagesTr" / "tiny_01.nii.gz").write_bytes(b"cut")
    options = {"fold": 0, "plan_file": tiny_plan}
    with pytest.raises(UsageError, match=r"3 cases are of 3 .*--set folds=3 for"):
        trained(data, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
    assert trained(data, tmp_path / "run", settings=("folds=3",), **options).scores is not None


def test_scans_of_few_patients_are_as_many_folds_as_patients(tiny_data: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    rows = [f"tiny_{n:02},{tiny_data}/imagesTr/tiny_{n:02}.nii.gz,{tiny_data}/labelsTr/tiny_{n:02}.nii.gz,p{n // 2}"
            for n in range(6)]  # fmt: skip
    (data / "manifest.csv").write_text("\n".join(["id,image,label,patient", *rows]) + "\n")
    settings = ("plan.patch=16,16,16", "plan.width=4")
    with pytest.raises(UsageError, match=r"5 folds need .* 6 cases are of 3 .*--set folds=3 for"):
        trained(data, tmp_path / "run", fold=0, settings=settings)
    result = trained(data, tmp_path / "run", fold=0, settings=(*settings, "folds=3"))
    assert result.scores is not None
    assert len({row.case for row in result.scores.cases}) == 2


def test_a_fold_that_is_not_there_is_refused_before_anything_is_written(
    tiny_data: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="There is no fold 5; choose one of 0 to 4"):
        trained(tiny_data, tmp_path / "run", fold=5)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_single_pair_is_one_fold_and_what_it_does_not_name_is_told(
    tiny_data: Path, tiny_plan: Path, tmp_path: Path
) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["tiny_00", "labelsTr/tiny_01.nii.gz"], "val": ["tiny_02"]}))
    messages: list[str] = []
    options = {"fold": 0, "folds_file": split}
    result = trained(tiny_data, tmp_path / "run", messages, plan_file=tiny_plan, **options)
    assert result.scores is not None
    assert {row.case for row in result.scores.cases} == {"tiny_02"}
    assert any("neither trained nor validated: tiny_03, tiny_04" in text for text in messages)
    with pytest.raises(UsageError, match="There is no fold 1; choose 0"):
        trained(tiny_data, tmp_path / "other", fold=1, folds_file=split)
    trained(tiny_data, tmp_path / "run", resume=True, **options)


def test_a_split_that_names_another_case_is_refused_before_reading(tiny_data: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["tiny_00"], "val": ["heart_1"]}))
    words = r"names case heart_1, which the data set does not have; its cases are tiny_00"
    with pytest.raises(DataError, match=words):
        trained(tiny_data, tmp_path / "run", fold=0, folds_file=split)
    assert not (tmp_path / "run" / "fingerprint.json").exists()


def test_a_damaged_case_is_taken_out_of_a_persons_split(
    tiny_data: Path, tiny_plan: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    file = data / "imagesTr" / "tiny_01.nii.gz"
    file.write_bytes(file.read_bytes()[:300])
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["tiny_00", "tiny_01"], "val": ["tiny_02"]}))
    options = {"fold": 0, "folds_file": split, "plan_file": tiny_plan}
    result = trained(data, tmp_path / "run", **options)
    assert [failure.id for failure in result.left_out] == ["tiny_01"]
    split.write_text(json.dumps({"train": ["tiny_00"], "val": ["tiny_01"]}))
    with pytest.raises(VesalError, match="Without the cases that are left out, fold 0 holds out no case"):
        trained(data, tmp_path / "other", **options)


def test_a_step_far_beyond_the_memory_is_refused_before_the_preparation(
    tiny_data: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        UsageError, match=r"A step needs about [\d,]+ GB, and .* GB are free; lower plan.batch"
    ):
        trained(tiny_data, tmp_path / "run", settings=("plan.batch=100000000",))
    assert not (tmp_path / "run" / "prepared").exists()


def test_a_class_that_no_training_case_holds_is_named() -> None:
    def case(*values: int) -> SimpleNamespace:
        return SimpleNamespace(foreground={value: np.zeros((1, 3)) for value in values})

    labels = LabelSet.from_values(
        {"core": 1, "shell": 2, "vein": 3}, regions={"all": ["core", "shell"], "vein": ["vein"]}
    )
    messages: list[str] = []
    folds = [(0, [case(1), case(1, 3)], []), (1, [case(2)], []), ("all", [case()], [])]
    tell_unseen(folds, labels, messages.append)
    assert messages == [
        "No training case of fold 1 has a voxel of vein, which cannot be learned.",
        "No training case has a voxel of all, vein, which cannot be learned.",
    ]
