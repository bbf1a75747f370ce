"""A model that was trained for missing channels: what they cost, and predictions without them."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

import vesal
from vesal.cli.app import app
from vesal.evaluate.scores import Scores
from vesal.infer.channels.missing_channels import MissingChannels, known_costs
from vesal.infer.predictor import load_model
from vesal.nn.model_file import load_package

SHAPE = (18, 16, 14)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six scans of two channels in nnU-Net's layout: the ball is bright in T1, and hardly seen in T2."""
    folder = tmp_path_factory.mktemp("two") / "Dataset097_Two"
    points = np.stack(np.indices(SHAPE), axis=-1)
    for number in range(6):
        random = np.random.default_rng(number)
        centre = np.array(SHAPE) / 2 + random.uniform(-2, 2, 3)
        label = (np.linalg.norm(points - centre, axis=-1) < 4.5).astype(np.uint8)
        files = {f"imagesTr/two_{number}_{channel:04}": 100 + float(bright) * label + random.normal(0, 20, SHAPE)
                 for channel, bright in enumerate((300, 5))}  # fmt: skip
        for name, array in {**files, f"labelsTr/two_{number}": label}.items():
            path = folder / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array.astype(np.int16), np.eye(4)), path)
    description = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "ball": 1},
        "numTraining": 6,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("two") / "run"
    settings = ("plan.patch=[16,16,16]", "plan.features=[4,8]", "plan.batch=2", "augment.drop_channels=0.3")
    overrides = {"steps": 60, "lr": 0.02, "fold": 0, "folds": 3, "validate_every": 0.5, "ema": 0.9}
    request = vesal.TrainRequest(
        data=data, out=out, settings=settings, overrides=overrides, device="cpu", quiet=True
    )
    vesal.train_run(request, tell=lambda _text: None)
    return out


def predict(*words: object) -> str:
    done = CliRunner().invoke(app, ["predict", *map(str, words), "--device", "cpu"])
    return f"{done.output}{'' if done.exception is None else done.exception}"


def test_what_each_channel_is_worth_is_measured_and_in_run_model_and_report(run: Path) -> None:
    costs = MissingChannels.load(run / "missing_channels.json")
    assert set(costs.channels) == {"T1", "T2"}
    assert known_costs(load_package(run / "fold_0" / "model.vesal").missing_channels) == costs
    dice = Scores.load(run / "scores.json").of("dice").mean
    assert dice is not None
    # The ball is seen in T1 alone.
    assert costs.channels["T1"].lost > costs.channels["T2"].lost
    for cost in costs.channels.values():
        assert cost.cases == 2
        assert cost.dice + cost.lost == pytest.approx(dice, abs=1e-4)
    assert "Dice lost (95% interval)" in (run / "report.html").read_text()


def test_a_scan_is_predicted_without_a_channel_by_the_flag_or_without_its_file(
    run: Path, data: Path, tmp_path: Path
) -> None:
    scans = data / "imagesTr"
    pair = [scans / f"two_0_{channel:04}.nii.gz" for channel in (0, 1)]
    text = predict(run, *pair, "-o", tmp_path / "flag", "--missing", "t2")
    assert "Predicted without T2: two_0 (without T2 the Dice of 2 held-out cases " in text
    alone = tmp_path / "scans"
    alone.mkdir()
    (alone / "two_0_0000.nii.gz").write_bytes(pair[0].read_bytes())
    text = predict(run, alone, "-o", tmp_path / "file")
    assert "Predicted without T2: two_0" in text
    flag, file, whole = (
        np.asarray(nib.load(folder / "two_0.nii.gz").dataobj)
        for folder in (tmp_path / "flag", tmp_path / "file", _whole(run, pair, tmp_path / "whole"))
    )
    assert np.array_equal(flag, file)
    assert not np.array_equal(flag, whole)
    # What is there, whole, is kept; predicted with all channels it is another result.
    assert "1 kept" in predict(run, *pair, "-o", tmp_path / "flag", "--missing", "T2", "--resume")
    assert "missing channels" in predict(run, *pair, "-o", tmp_path / "whole", "--missing", "T2", "--resume")


def _whole(run: Path, pair: list[Path], out: Path) -> Path:
    assert "without" not in predict(run, *pair, "-o", out)
    return out


def test_in_python_the_absent_channel_is_named_in_the_volume(run: Path, data: Path) -> None:
    model = load_model(run, device="cpu")
    one = vesal.read_volume(data / "imagesTr" / "two_0_0000.nii.gz")
    array = np.concatenate([one.array, np.zeros_like(one.array)])
    found = model.predict(type(one)(array, one.geometry, absent=(1,)))
    assert found.label.array.shape == SHAPE


def test_without_such_a_training_it_is_refused_with_the_fix(
    trained_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    scan = tiny_data / "imagesTs" / "tiny_50.nii.gz"
    assert "nothing is left of the scan" in predict(trained_run, scan, "-o", tmp_path, "--missing", "MRI")
