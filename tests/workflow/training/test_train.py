"""Training as a user would run it, on scans so small that it takes seconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from vesal.errors import DataError, UsageError
from vesal.files import read_json_lines
from vesal.infer.predictor import load_model
from vesal.volume.io import read_volume
from vesal.workflow.requests.train_request import TrainRequest
from vesal.workflow.training.train import train_run
from vesal.workflow.training.training_session import Interrupted

#: The plan of all runs here, once the fixture has made it.
PLAN: list[Path] = []


@pytest.fixture(scope="module", autouse=True)
def _small_plan(tiny_plan: Path) -> None:
    PLAN[:] = [tiny_plan]


def silent(_text: str) -> None:
    """Takes messages that no test looks at."""


def request(data: Path, out: Path, **changes: object) -> TrainRequest:
    overrides = {"steps": 120, "lr": 0.02, "validate_every": 0.25} | changes.pop("overrides", {})  # type: ignore[operator]
    if "fold" in changes:
        overrides["fold"] = changes.pop("fold")
    return TrainRequest(
        data=data, out=out, overrides=overrides, plan_file=PLAN[0], device="cpu", quiet=True, **changes
    )  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(trained_run: Path) -> Path:
    """What `request` on fold 0 trains."""
    return trained_run


def test_a_run_folder_holds_what_the_design_promises(trained: Path) -> None:
    for name in (
        "plan.json",
        "config.yaml",
        "folds.json",
        "fold_0/model.vesal",
        "fold_0/last.ckpt",
        "fold_0/metrics.jsonl",
        "scores.json",
        "scores.csv",
        "scores.md",
        "report.html",
    ):
        assert (trained / name).is_file(), name
    assert list((trained / "fold_0" / "tensorboard").iterdir())


def test_training_learns_and_its_history_says_so(trained: Path) -> None:
    rows = read_json_lines(trained / "fold_0" / "metrics.jsonl")
    losses = [row["train_loss"] for row in rows if "train_loss" in row]
    dice = [row["val_dice"] for row in rows if "val_dice" in row]
    assert losses[-1] < losses[0]
    assert len(dice) >= 4
    assert max(dice) > 0.5


def test_predictions_lie_on_the_scans_grid_with_the_original_values(trained: Path, tiny_data: Path) -> None:
    model = load_model(trained)
    for path in sorted((tiny_data / "imagesTr").glob("*.nii.gz")):
        label = model.predict(read_volume(path)).label
        source = nib.load(path)
        assert label.array.shape == source.shape
        np.testing.assert_array_equal(label.geometry.affine, source.affine)
        assert set(np.unique(label.array)) <= {0, 1, 7}


def test_scans_of_one_patient_and_identical_scans_stay_on_one_side(trained: Path) -> None:
    folds = json.loads((trained / "folds.json").read_text())
    for names in folds["parts"]:
        assert ("tiny_05" in names) == ("tiny_06" in names)


def test_a_split_that_tears_identical_scans_apart_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    names = [f"tiny_{number:02}" for number in range(7)]
    split = tmp_path / "split.json"
    split.write_text(
        json.dumps([{"train": names[:6], "val": names[6:]}, {"train": names[6:], "val": names[:6]}])
    )
    with pytest.raises(DataError, match=r"tiny_05.*tiny_06|tiny_06.*tiny_05"):
        train_run(request(tiny_data, tmp_path / "run", fold=0, folds_file=split), tell=silent)


def test_a_folder_that_is_in_use_is_not_overwritten(trained: Path, tiny_data: Path, tmp_path: Path) -> None:
    before = (trained / "fold_0" / "model.vesal").read_bytes()
    with pytest.raises(UsageError, match="--resume"):
        train_run(request(tiny_data, trained, fold=0), tell=silent)
    assert (trained / "fold_0" / "model.vesal").read_bytes() == before
    (tmp_path / "letters").write_text("mine")
    with pytest.raises(UsageError, match="not a run"):
        train_run(request(tiny_data, tmp_path, fold=0, resume=True), tell=silent)


def test_resuming_a_finished_run_changes_nothing(trained: Path, tiny_data: Path) -> None:
    before = (trained / "fold_0" / "model.vesal").read_bytes()
    told: list[str] = []
    again = TrainRequest(data=tiny_data, out=trained, resume=True, device="cpu", quiet=True)
    train_run(again, tell=told.append)
    assert not any("steps" in text for text in told)  # the plan's reasons, which were told at first
    assert (trained / "fold_0" / "model.vesal").read_bytes() == before


def test_the_model_file_of_a_finished_fold_is_written_again_where_it_is_gone(
    trained: Path, tiny_data: Path, tmp_path: Path
) -> None:
    run = copy_of(trained, tmp_path)
    (run / "fold_0" / "model.vesal").unlink()
    told: list[str] = []
    result = train_run(
        TrainRequest(data=tiny_data, out=run, resume=True, device="cpu", quiet=True), tell=told.append
    )
    (message,) = [text for text in told if "was gone" in text]
    finished = json.loads((run / "fold_0" / "finished.json").read_text())
    assert f"written anew with the weights of step {finished['step']}" in message
    assert ("the best were" in message) == (finished["step"] != finished["best_step"])
    assert result.problems == ()
    assert load_model(run / "fold_0").packages[0].provenance["step"] == finished["step"]


def test_an_interrupted_fold_neither_votes_nor_spoils_the_scores_of_the_others(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops_after: Any
) -> None:
    settings = {"steps": 12, "folds": 2, "validate_every": 0.2}
    with monkeypatch.context() as patch:
        patch.setattr("vesal.train.trainer.StopRequest", stops_after(6))
        with pytest.raises(Interrupted):
            train_run(request(tiny_data, tmp_path / "run", fold=0, overrides=settings), tell=silent)
    other = TrainRequest(
        data=tiny_data, out=tmp_path / "run", resume=True, device="cpu", quiet=True, overrides={"fold": 1}
    )
    result = train_run(other, tell=silent)
    assert result.scores is not None
    assert len(load_model(tmp_path / "run").networks) == 1


def test_a_trained_run_cannot_be_given_another_split(trained: Path, tiny_data: Path, tmp_path: Path) -> None:
    names = [f"tiny_{number:02}" for number in range(7)]
    (tmp_path / "split.json").write_text(json.dumps({"seed": 0, "parts": [names[:3], names[3:]]}))
    with pytest.raises(UsageError, match="split otherwise"):
        train_run(
            TrainRequest(
                data=tiny_data,
                out=trained,
                resume=True,
                device="cpu",
                quiet=True,
                folds_file=tmp_path / "split.json",
            ),
            tell=silent,
        )


def test_a_fixed_scan_is_read_again_on_resume(tiny_data: Path, tmp_path: Path) -> None:
    data = copy_of(tiny_data, tmp_path)
    path = data / "imagesTr" / "tiny_02.nii.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    first = train_run(request(data, tmp_path / "run", overrides={"steps": 2}), tell=silent)
    assert [failure.id for failure in first.left_out] == ["tiny_02"]
    path.write_bytes(whole)
    again = TrainRequest(data=data, out=tmp_path / "run", resume=True, device="cpu", quiet=True)
    assert train_run(again, tell=silent).left_out == ()


def test_a_damaged_fingerprint_is_taken_anew(tiny_data: Path, tmp_path: Path) -> None:
    train_run(request(tiny_data, tmp_path / "run", overrides={"steps": 2}), tell=silent)
    for damage in ("{", "{}"):
        (tmp_path / "run" / "fingerprint.json").write_text(damage)
        again = TrainRequest(data=tiny_data, out=tmp_path / "run", resume=True, device="cpu", quiet=True)
        assert train_run(again, tell=silent).left_out == ()
        assert json.loads((tmp_path / "run" / "fingerprint.json").read_text())["cases"]


def test_a_prolonged_fold_that_is_stopped_is_no_longer_finished(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops_after: Any
) -> None:
    train_run(request(tiny_data, tmp_path / "run", fold=0, overrides={"steps": 3}), tell=silent)
    finished = tmp_path / "run" / "fold_0" / "finished.json"
    assert finished.exists()
    longer = TrainRequest(
        data=tiny_data, out=tmp_path / "run", resume=True, device="cpu", quiet=True, overrides={"steps": 40}
    )
    monkeypatch.setattr("vesal.train.trainer.StopRequest", stops_after(2))
    with pytest.raises(Interrupted):
        train_run(longer, tell=silent)
    assert not finished.exists()


def test_a_prolonged_run_trains_on_and_predicts_anew(tiny_data: Path, tmp_path: Path) -> None:
    train_run(request(tiny_data, tmp_path / "run", fold=0, overrides={"steps": 3}), tell=silent)
    folder = tmp_path / "run" / "fold_0"
    before = (folder / "predictions.json").read_text()
    longer = TrainRequest(
        data=tiny_data, out=tmp_path / "run", resume=True, device="cpu", quiet=True, overrides={"steps": 40}
    )
    train_run(longer, tell=silent)
    rows = read_json_lines(folder / "metrics.jsonl")
    assert rows[-1]["step"] == 40
    assert len([row for row in rows if "val_dice" in row and row["step"] > 3]) > 1
    assert (folder / "predictions.json").read_text() != before


def test_a_resumed_run_keeps_its_settings(trained: Path, tiny_data: Path) -> None:
    with pytest.raises(UsageError, match="keeps its settings; leave out lr"):
        train_run(
            TrainRequest(
                data=tiny_data,
                out=trained,
                resume=True,
                device="cpu",
                quiet=True,
                overrides={"lr": 1.0},
            ),
            tell=silent,
        )


def test_the_same_seed_gives_the_same_files_byte_for_byte(tiny_data: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        train_run(
            request(tiny_data, tmp_path / name, fold=1, overrides={"steps": 15, "deterministic": True}),
            tell=silent,
        )
    for name in ("fold_1/model.vesal", "fold_1/last.ckpt", "scores.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    predictions = sorted((tmp_path / "a" / "fold_1" / "predictions").glob("*.nii.gz"))
    assert predictions
    for path in predictions:
        twin = tmp_path / "b" / "fold_1" / "predictions" / path.name
        np.testing.assert_array_equal(nib.load(path).get_fdata(), nib.load(twin).get_fdata())


def test_another_seed_gives_another_model(trained: Path, tiny_data: Path, tmp_path: Path) -> None:
    train_run(request(tiny_data, tmp_path / "c", overrides={"steps": 2, "seed": 5}), tell=silent)
    train_run(request(tiny_data, tmp_path / "d", overrides={"steps": 2, "seed": 6}), tell=silent)
    one, other = (load_model(tmp_path / name).packages[0].weights for name in "cd")
    assert any((one[name] != other[name]).any() for name in one)


def test_training_on_all_cases_leaves_a_model_without_scores(tiny_data: Path, tmp_path: Path) -> None:
    result = train_run(request(tiny_data, tmp_path / "run", overrides={"steps": 3}), tell=silent)
    assert result.scores is None
    assert (tmp_path / "run" / "fold_all" / "model.vesal").is_file()
    assert load_model(tmp_path / "run").labels.names == ("shell", "core")


def test_cross_validation_scores_every_case_once_and_its_folds_vote(tiny_data: Path, tmp_path: Path) -> None:
    result = train_run(
        request(tiny_data, tmp_path / "run", fold="all", overrides={"steps": 3, "folds": 2}), tell=silent
    )
    assert result.scores is not None
    assert sorted({row.case for row in result.scores.cases}) == [f"tiny_{number:02}" for number in range(7)]
    assert len(load_model(tmp_path / "run").networks) == 2


def test_a_loss_that_is_never_finite_is_told(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="lower the learning rate"):
        train_run(
            request(tiny_data, tmp_path / "run", overrides={"steps": 200, "lr": 1e30, "clip": None}),
            tell=silent,
        )


def test_a_broken_case_is_left_out_and_named_and_the_others_train(tiny_data: Path, tmp_path: Path) -> None:
    data = copy_of(tiny_data, tmp_path)
    path = data / "imagesTr" / "tiny_02.nii.gz"
    path.write_bytes(path.read_bytes()[:500])
    told: list[str] = []
    result = train_run(request(data, tmp_path / "run", overrides={"steps": 2}), tell=told.append)
    assert [failure.id for failure in result.left_out] == ["tiny_02"]
    assert any("tiny_02" in line for line in told)


def copy_of(folder: Path, to: Path) -> Path:
    import shutil

    return Path(shutil.copytree(folder, to / folder.name))


# --- stopped runs ------------------------------------------------------------------------------------


def start(data: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "vesal.cli",
        "train",
        str(data),
        "-o",
        str(out),
        "--device",
        "cpu",
        *more,
    ]
    if "--resume" not in more:
        command += ["--fold", "0", "--plan", str(PLAN[0])]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def wait_for_steps(out: Path, steps: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        rows = read_json_lines(out / "fold_0" / "metrics.jsonl")
        if rows and rows[-1]["step"] >= steps:
            return
        time.sleep(0.05)
    raise AssertionError(f"no {steps} steps: {process.communicate()[1]}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_valid_model_and_resume_goes_on(
    number: signal.Signals, tiny_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = start(tiny_data, out, "--steps", "100000")
    wait_for_steps(out, 10, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert "--resume" in errors
    assert "Traceback" not in errors
    assert load_model(out).networks
    stopped_at = read_json_lines(out / "fold_0" / "metrics.jsonl")[-1]["step"]
    resumed = start(tiny_data, out, "--resume", "--steps", str(stopped_at + 30))
    _, errors = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, errors
    steps = [row["step"] for row in read_json_lines(out / "fold_0" / "metrics.jsonl")]
    assert steps == sorted(steps)
    assert steps[-1] == stopped_at + 30


def same_result(one: Path, other: Path) -> None:
    """Models and scores are the same bytes; checkpoints hold the same, whose bytes depend on what was loaded."""
    for name in ("fold_0/model.vesal", "scores.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    first, second = (torch.load(run / "fold_0" / "last.ckpt", weights_only=True) for run in (one, other))
    assert first["position"] == second["position"]
    torch.testing.assert_close(first["network"], second["network"], rtol=0, atol=0)
    torch.testing.assert_close(first["optimizer"]["state"], second["optimizer"]["state"], rtol=0, atol=0)


def test_a_stopped_and_resumed_run_ends_with_the_very_weights_of_one_that_was_not(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops_after: Any
) -> None:
    settings = {"steps": 24, "deterministic": True}
    train_run(request(tiny_data, tmp_path / "whole", fold=0, overrides=settings), tell=silent)
    with monkeypatch.context() as patch:
        patch.setattr("vesal.train.trainer.StopRequest", stops_after(9))
        with pytest.raises(Interrupted, match="--resume"):
            train_run(request(tiny_data, tmp_path / "parts", fold=0, overrides=settings), tell=silent)
    train_run(
        TrainRequest(data=tiny_data, out=tmp_path / "parts", resume=True, device="cpu", quiet=True),
        tell=silent,
    )
    same_result(tmp_path / "whole", tmp_path / "parts")


def checkpoint_time(run: Path) -> float:
    checkpoint = run / "fold_0" / "last.ckpt"
    return checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0.0


def test_a_run_killed_at_any_of_five_random_moments_ends_like_one_that_was_not(
    tiny_data: Path, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    settings = ["--steps", "300", "--deterministic"]
    settings += ["--set", "checkpoint_s=0.2", "--set", "validate_every=0.1"]
    whole = start(tiny_data, tmp_path / "whole", *settings)
    began = time.monotonic()
    _, errors = whole.communicate(timeout=300)
    assert whole.returncode == 0, errors
    length_s = time.monotonic() - began
    out = tmp_path / "run"
    kills = in_training = 0
    while kills < 5:
        # Killed before the configuration was written, there is nothing to resume.
        process = start(tiny_data, out, *(["--resume"] if (out / "config.yaml").exists() else settings))
        before = checkpoint_time(out)
        delay_s = float(generator.uniform(0.0, 0.1) * length_s)
        if kills % 2:
            # Every other time in the training for certain, however busy the machine is.
            while checkpoint_time(out) == before and process.poll() is None:
                time.sleep(0.01)
        else:
            delay_s *= 4
        try:
            process.wait(timeout=delay_s)
            assert process.returncode == 0, process.communicate()[1]
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
            in_training += checkpoint_time(out) != before
    assert kills >= 3
    assert in_training >= 1
    finished = start(tiny_data, out, "--resume")
    _, errors = finished.communicate(timeout=300)
    assert finished.returncode == 0, errors
    same_result(tmp_path / "whole", out)
