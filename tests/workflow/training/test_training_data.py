"""A run goes on with the data that it began with, and says what changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from vesal.audit.checks import check_dataset
from vesal.data.fingerprint import fingerprint
from vesal.errors import UsageError
from vesal.layouts.registry import load_dataset
from vesal.planning.plan import Plan
from vesal.run.folder import Run
from vesal.train.recipe import TrainConfig
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training.train import train_run
from vesal.workflow.training.training_data import usable_cases
from vesal.workflow.training.training_session import Session


@pytest.fixture(scope="module")
def begun(tiny_data: Path, tiny_plan: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(data, run) of one step on all cases."""
    folder = tmp_path_factory.mktemp("begun")
    data = Path(shutil.copytree(tiny_data, folder / "data"))
    request = TrainRequest(
        data=data, out=folder / "run", plan_file=tiny_plan, steps=1, device="cpu", quiet=True
    )
    train_run(request, tell=lambda _text: None)
    return data, folder / "run"


def resumed(data: Path, run: Path) -> list[str]:
    messages: list[str] = []
    train_run(TrainRequest(data=data, out=run, resume=True, device="cpu", quiet=True), tell=messages.append)
    return messages


def described(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def apply(data: Path) -> None:
        file = data / "dataset.json"
        value = json.loads(file.read_text())
        change(value)
        file.write_text(json.dumps(value))

    return apply


def _renamed(value: dict) -> None:
    value["labels"]["1"] = "wall"


def _other_value(value: dict) -> None:
    value["labels"] = {"0": "background", "1": "shell", "8": "core"}


def _exchanged(value: dict) -> None:
    value["labels"] = {"0": "background", "1": "core", "7": "shell"}


def _other_channel(value: dict) -> None:
    value["modality"] = {"0": "CT"}


def _partly(value: dict) -> None:
    value["annotated"] = {"tiny_03": ["core"]}


def _gone(value: dict) -> None:
    value["training"] = value["training"][1:]


def _without_files(data: Path) -> None:
    described(_gone)(data)
    for folder in ("imagesTr", "labelsTr"):
        (data / folder / "tiny_00.nii.gz").unlink()


def _painted(data: Path) -> None:
    """The label of one case moves by a voxel: as many voxels of each class as before."""
    file = data / "labelsTr" / "tiny_03.nii.gz"
    label = nib.load(file)
    nib.save(nib.Nifti1Image(np.roll(np.asarray(label.dataobj), 1, axis=0), label.affine), file)


def _other_scan(data: Path) -> None:
    for folder in ("imagesTr", "labelsTr"):
        shutil.copy(data / folder / "tiny_01.nii.gz", data / folder / "tiny_02.nii.gz")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            described(_renamed),
            "labels were background 0, shell 1, core 7 and are background 0, wall 1, core 7",
        ),
        (described(_other_value), "and are background 0, shell 1, core 8"),
        (described(_exchanged), "and are background 0, core 1, shell 7"),
        (described(_other_channel), "the channels were MRI and are CT"),
        (described(_partly), r"what is said of the files of tiny_03 is something else \(annotated\)"),
        (_without_files, "tiny_00 is not there any more"),
        (_painted, "the files of tiny_03 hold something else"),
        (_other_scan, "the files of tiny_02 hold something else"),
    ],
)
def test_a_resumed_run_refuses_data_that_changed_and_says_what(
    begun: tuple[Path, Path], tmp_path: Path, change: Callable[[Path], None], words: str
) -> None:
    data, run = (Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in begun)
    change(data)
    before = {path: path.read_bytes() for path in run.glob("*.json")}
    with pytest.raises(UsageError, match=words):
        resumed(data, run)
    assert {path: path.read_bytes() for path in run.glob("*.json") if path in before} == before


def test_data_that_moved_and_were_touched_are_the_same_and_new_cases_are_left_out(
    begun: tuple[Path, Path], tmp_path: Path
) -> None:
    data, run = (Path(shutil.copytree(folder, tmp_path / f"moved_{folder.name}")) for folder in begun)

    def with_new(value: dict) -> None:
        value["training"].append({"image": "./imagesTr/tiny_99.nii.gz", "label": "./labelsTr/tiny_99.nii.gz"})

    for folder, more in (("imagesTr", 3), ("labelsTr", 0)):
        file = data / folder / "tiny_04.nii.gz"
        image = nib.load(file)
        changed = np.asarray(image.dataobj) + np.asarray(image.dataobj).dtype.type(more)
        nib.save(nib.Nifti1Image(changed, image.affine), data / folder / "tiny_99.nii.gz")
        file.touch()
    described(with_new)(data)
    messages = resumed(data, run)
    assert any(
        "New since the run began, so neither trained nor validated: tiny_99" in text for text in messages
    )
    assert "tiny_99" not in json.loads((run / "cases.json").read_text())


def test_a_plan_that_is_gone_is_not_made_anew_for_folds_that_were_begun(
    begun: tuple[Path, Path], tmp_path: Path
) -> None:
    data, run = (Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in begun)
    (run / "plan.json").unlink()
    with pytest.raises(UsageError, match=r"plan\.json is gone, but folds were begun"):
        resumed(data, run)


def test_a_plan_of_other_data_and_a_cache_that_is_a_file_are_refused_before_anything_is_read(
    tiny_data: Path, tiny_plan: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    Plan.load(tiny_plan).model_copy(update={"channels": ("CT",)}).save(tmp_path / "other.json")
    for options, words in (
        ({"cache": tmp_path / "file"}, "--cache takes a folder, and .*file is a file"),
        ({"plan_file": tmp_path / "other.json"}, "was made for other labels or channels"),
    ):
        request = TrainRequest(data=tiny_data, out=tmp_path / "run", device="cpu", quiet=True, **options)
        with pytest.raises(UsageError, match=words):
            train_run(request, tell=lambda _text: None)
    assert not (tmp_path / "run").exists()
    assert (tmp_path / "file").read_text() == "mine"


def test_a_label_of_one_case_alone_is_said_before_it_is_trained(tmp_path: Path) -> None:
    """Nobody declared the values, and a slip in one case is a class."""
    for number in range(6):
        array = np.zeros((6, 7, 8), np.uint8)
        array[2:4, 2:5, 2:5] = 1
        array[0, 0, :2] = 7 if number == 3 else 0
        for folder, values in (("images", array.astype(np.float32) + number), ("masks", array)):
            (tmp_path / folder).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / folder / f"c{number}.nii.gz")
    dataset = load_dataset(tmp_path)
    findings = check_dataset(dataset, fingerprint(dataset))
    told: list[str] = []
    session = Session(
        TrainRequest(tmp_path, tmp_path / "run"),
        Run(tmp_path / "run"),
        TrainConfig(),
        None,
        None,
        told.append,
    )
    usable_cases(session, dataset, findings)
    (sentence,) = (text for text in told if "one case alone" in text)
    assert "in case c3 ('label_7' = 7 in 2 voxels)" in sentence
    assert "--set labels.NAME=VALUE" in sentence
