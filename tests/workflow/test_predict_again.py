"""What prediction does where results are already there."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from test_predict import gray, model, predict, save_slices, slices, trained  # noqa: F401

from vesal.engine.in_process import InProcess
from vesal.errors import DataError, UsageError
from vesal.files import write_json
from vesal.infer.predictor import load_model
from vesal.infer.quality.estimate import QualityEstimate
from vesal.layouts.input_scans import cases_to_predict
from vesal.outputs import OutputFolder
from vesal.run_files import OUTPUTS
from vesal.volume.io import read_label
from vesal.workflow.predict import predict_cases
from vesal.workflow.prediction.case_predictor import CasePredictor
from vesal.workflow.prediction.quality_files import QualityFiles
from vesal.workflow.prediction.worker_prediction import Cohort, ModelSource
from vesal.workflow.requests.predict_options import PredictOptions


def test_a_label_map_drawn_by_hand_or_corrected_by_hand_is_never_replaced(tmp_path: Path) -> None:
    folder, out = save_slices(tmp_path / "in", "a", "b"), save_slices(tmp_path / "out", "b")
    before = (out / "b.png").read_bytes()
    for resume in (False, True):
        with pytest.raises(UsageError, match=r"1 file .* Vesal did not write.*b.png; choose"):
            predict(model(), [folder], out, resume=resume)
    assert (out / "b.png").read_bytes() == before
    assert not (out / "a.png").exists()
    (out / "b.png").unlink()
    predict(model(), [folder], out)
    predict(model(), [folder], out)  # what is ours may be replaced
    (out / "b.png").write_bytes(before)
    for resume in (False, True):
        with pytest.raises(UsageError, match=r"changed since.*b.png"):
            predict(model(), [folder], out, resume=resume)
    assert (out / "b.png").read_bytes() == before


@pytest.mark.parametrize("left", [0, 40])
def test_resuming_makes_a_cut_or_empty_result_anew(tmp_path: Path, left: int) -> None:
    folder, out = save_slices(tmp_path / "in", "a", "b"), tmp_path / "out"
    predict(model(), [folder], out)
    whole = (out / "a.png").read_bytes()
    (out / "a.png").write_bytes(whole[:left])
    found = predict(model(), [folder], out, resume=True)
    assert (found.kept, found.redone) == (["b"], {"a": "changed or damaged"})
    assert set(found.files) == {"a", "b"}
    assert (out / "a.png").read_bytes() == whole
    assert "2 of 2 scans segmented in out (1 kept, 1 new)" in found.text(2, Path("out"))


def test_resuming_makes_results_of_another_scan_or_other_options_anew(tmp_path: Path) -> None:
    folder, out = save_slices(tmp_path / "in", "a", "b"), tmp_path / "out"
    predict(model(), [folder], out)
    Image.fromarray(gray(7)).save(folder / "b.png")
    (folder / "a.png").touch()  # the same content at another time is the same scan
    assert predict(model(), [folder], out, resume=True).redone == {"b": "another scan"}
    assert predict(model(), [folder], out, resume=True).kept == ["a", "b"]
    other = predict(model(), [folder], out, resume=True, threshold=0.6)
    assert other.redone == {"a": "another threshold", "b": "another threshold"}


def test_a_record_that_lacks_an_option_of_today_still_counts(tmp_path: Path) -> None:
    folder, out = save_slices(tmp_path / "in", "a"), tmp_path / "out"
    predict(model(), [folder], out)
    lines = [json.loads(line) for line in (out / OUTPUTS).read_text().splitlines()]
    for line in lines:
        line.get("made_of", {}).pop("level of intervals", None)
    (out / OUTPUTS).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert predict(model(), [folder], out, resume=True).kept == ["a"]


def test_resuming_with_another_model_makes_everything_anew(
    trained: Path,  # noqa: F811
    slices: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    first = load_model(trained)
    weights = {name: tensor * 0.5 for name, tensor in first.packages[0].weights.items()}
    other = replace(first, packages=(replace(first.packages[0], weights=weights),))
    assert first.digest == load_model(trained).digest != other.digest
    predict(first, [slices / "images"], tmp_path)
    assert len(predict(first, [slices / "images"], tmp_path, resume=True).kept) == 9
    assert set(predict(other, [slices / "images"], tmp_path, resume=True).redone.values()) == {
        "another model"
    }


def test_one_scan_may_become_one_named_file(tmp_path: Path) -> None:
    folder = save_slices(tmp_path / "in", "a")
    for _ in range(2):
        found = predict(model(), [folder], tmp_path / "mask.nii.gz")
    assert found.files == {"a": tmp_path / "mask.nii.gz"}
    assert read_label(tmp_path / "mask.nii.gz").array.any()
    assert {path.name for path in tmp_path.iterdir()} == {"in", "mask.nii.gz", OUTPUTS}


def test_a_constant_scan_is_to_be_reviewed(tmp_path: Path) -> None:
    folder = save_slices(tmp_path / "in", "a")
    Image.fromarray(np.full((20, 28), 150, np.uint8)).save(folder / "flat.png")
    found = predict(model(), [folder], tmp_path / "out")
    assert found.notes == {"flat": "the scan holds one value throughout (150)"}
    row = json.loads((tmp_path / "out" / "quality.json").read_text())["cases"]["flat"]
    assert (row["verdict"], row["reason"]) == ("review", found.notes["flat"])
    assert "Review flat: the scan holds one value throughout (150)" in found.text(2, tmp_path)


class Estimator:
    """In the place of a `QualityEstimator`."""

    temperature = 1.0

    def estimate(self, *_: object, **__: object) -> QualityEstimate:
        return QualityEstimate("ok", "", 0.5, 1.0, {}, {}, "")


def test_resuming_with_another_quality_model_estimates_anew(trained: Path, tmp_path: Path) -> None:  # noqa: F811
    folder, out = save_slices(tmp_path / "in", "a"), tmp_path / "out"
    loaded = replace(load_model(trained, device="cpu", backend="torch"), quality_estimator=Estimator())
    models = [
        replace(loaded, packages=(replace(loaded.packages[0], quality={"fitted": number}),))
        for number in range(2)
    ]
    assert models[0].digest == models[1].digest
    predict(models[0], [folder], out)
    assert predict(models[0], [folder], out, resume=True).kept == ["a"]
    assert predict(models[1], [folder], out, resume=True, quality=False).kept == ["a"]
    assert predict(models[1], [folder], out, resume=True).redone == {"a": "another quality model"}


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("way", ["no estimate", "a named file", "a kill"])
def test_what_was_found_of_a_result_goes_before_another_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    folder, out = save_slices(tmp_path / "in", "a"), tmp_path / "out"
    for name in ("flat", "other"):
        Image.fromarray(np.full((20, 28), 150, np.uint8)).save(folder / f"{name}.png")
    predict(model(), [folder], out)
    Image.fromarray(gray(1)).save(folder / "flat.png")
    if way == "no estimate":
        predict(model(), [folder / "flat.png"], out, quality=False)
    elif way == "a named file":
        predict(model(), [folder / "flat.png"], out / "flat.png")
    else:
        # Not by a signal: a test in a process of its own ignores Ctrl-C.
        monkeypatch.setattr(QualityFiles, "flag", interrupted)
        with pytest.raises(KeyboardInterrupt):
            predict(model(), [folder / "flat.png", folder / "other.png"], out)
    assert read_label(out / "flat.png").array.any()
    left = {"other"} if way != "a kill" else set()
    assert set(json.loads((out / "quality.json").read_text())["cases"]) == left
    assert len((out / "quality.csv").read_text().splitlines()) == 1 + len(left)


@pytest.mark.parametrize("quality", [True, False])
def test_no_estimate_stands_beside_another_result_than_its_own_whatever_ends_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quality: bool
) -> None:
    folder, out = save_slices(tmp_path / "in", "a"), tmp_path / "out"
    predict(model(), [folder], out)
    row = dict.fromkeys(("verdict", "reason", "threshold", "ood_score")) | {
        "uncertainty": 0.5,
        "predicted_dice": {},
    }
    with OutputFolder(out):
        write_json(out / "quality.json", {"version": 1, "cases": {"a": row, "b": row}})
    found = []

    def write(*_: object) -> None:
        found.append(set(json.loads((out / "quality.json").read_text())["cases"]))
        raise DataError("no result")

    monkeypatch.setattr(CasePredictor, "write", write)
    predict(model(), [folder], out, quality=quality)
    assert found == [{"b"}]


def test_who_puts_whole_shards_together_writes_what_was_found_in_them(
    trained: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder, out = save_slices(tmp_path / "in", "a"), tmp_path / "out"
    Image.fromarray(np.full((20, 28), 150, np.uint8)).save(folder / "flat.png")
    source = ModelSource(trained, "cpu", "torch")
    loaded, cases = source.load(), cases_to_predict([folder], 1)
    for shard in ((1, 2), (2, 2), None):
        cohort, options = Cohort(InProcess(), source, shard), PredictOptions(resume=shard is None)
        result = predict_cases(loaded, cases, out, options, cohort=cohort)
    assert result.kept == ["a", "flat"]
    assert json.loads((out / "quality.json").read_text())["cases"]["flat"]["verdict"] == "review"


def test_results_that_a_prediction_neither_makes_nor_keeps_are_named(tmp_path: Path) -> None:
    folder, out = save_slices(tmp_path / "in", "a", "b"), tmp_path / "out"
    predict(model(), [folder], out)
    assert predict(model(), [folder / "a.png"], out).remarks == []
    (folder / "b.png").rename(folder / "c.png")
    found = predict(model(), [folder], out, resume=True)
    assert (found.kept, found.redone) == (["a"], {})
    assert found.remarks == [
        f"{out} also holds 1 earlier result: b.png, whose scans or format were not named now."
    ]
    assert found.remarks[0] in found.text(2, out)
    other = predict(model(), [folder / "a.png"], out, threshold=0.6)
    assert other.remarks == [
        f"{out} also holds 2 earlier results: b.png, c.png, by another model or other options."
    ]


@pytest.mark.parametrize("resume", [False, True])
def test_a_picture_of_an_earlier_result_beside_a_new_one_is_named(tmp_path: Path, resume: bool) -> None:
    folder, out = save_slices(tmp_path / "in", "a", "b"), tmp_path / "out"
    predict(model(), [folder], out, overlay=True)
    assert predict(model(), [folder], out, resume=resume).remarks == []
    predict(model(), [folder], out, overlay=True)
    assert predict(model(), [folder], out, resume=resume, threshold=0.6).remarks == [
        f"{out} also holds 2 earlier results: overlays/a_overlay.png, overlays/b_overlay.png, by another model or "
        "other options."
    ]


def test_a_scan_that_cannot_be_read_again_says_that_its_earlier_result_stays(tmp_path: Path) -> None:
    folder, out = save_slices(tmp_path / "in", "a"), tmp_path / "out"
    predict(model(), [folder], out)
    (folder / "a.png").write_bytes(b"")
    for _ in range(2):
        found = predict(model(), [folder], out, resume=True)
        assert found.redone == {}
        (failure,) = found.failures
        assert failure.message == (
            f"{folder / 'a.png'} is empty (0 bytes); copy or download it again. "
            f"Its earlier result stays: {out / 'a.png'}."
        )


def test_the_least_dice_is_no_option_where_nothing_is_estimated(tmp_path: Path) -> None:
    folder, out = save_slices(tmp_path / "in", "a"), tmp_path / "out"
    predict(model(), [folder], out)
    assert predict(model(), [folder], out, resume=True, min_dice=0.7).kept == ["a"]
