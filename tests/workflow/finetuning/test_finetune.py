"""A training that begins with a model, from its plan to the comparison with one that begins with nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_tasks import task
from typer.testing import CliRunner

import vesal
from vesal import memory_limit
from vesal.cli.app import app
from vesal.errors import UsageError
from vesal.evaluate.paired_comparison import Comparison
from vesal.evaluate.scores import Scores
from vesal.files import read_json
from vesal.nn.adaptation import Adaptation
from vesal.nn.model_file import load_package, save_package
from vesal.planning.plan import Plan
from vesal.run.folder import Run
from vesal.train.recipe import TrainConfig
from vesal.workflow.finetuning import finetune as finetune_module
from vesal.workflow.training.train import TrainResult


def finetune(model: Path, data: Path, out: Path, **values: Any) -> list[str]:
    """The messages of a fine-tuning on the CPU."""
    messages: list[str] = []
    request = vesal.FinetuneRequest(
        **{"model": model, "data": data, "out": out, "device": "cpu", "quiet": True} | values
    )
    vesal.finetune_run(request, tell=messages.append)
    return messages


def test_plan_and_weights_are_taken_and_what_is_new_is_named(
    trained_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    model = trained_run / "fold_0" / "model.vesal"
    data = task(
        tiny_data, tmp_path / "data", labels={"0": "background", "7": "Core", "1": "rim"}, channel="T1"
    )
    # So small a step that the weights stay where they begin.
    still = ("lr=1e-12", "ema=null", "optimizer=adam", "plan.features=[4,4]")
    messages = finetune(model, data, tmp_path / "run", steps=1, settings=still)
    before, after = load_package(model), load_package(tmp_path / "run" / "fold_all" / "model.vesal")
    assert after.plan.stages == before.plan.stages
    assert after.plan.spacing_mm == before.plan.spacing_mm
    assert after.plan.labels.names == ("rim", "Core")
    old, new = (of.weights["heads.0.weight"] for of in (before, after))
    torch.testing.assert_close(new[[0, 2]], old[[0, 2]], atol=1e-6, rtol=0)
    torch.testing.assert_close(new[1], torch.zeros_like(new[1]), atol=1e-6, rtol=0)
    rest = [name for name in before.weights if not name.startswith("heads")]
    for name in rest:
        torch.testing.assert_close(after.weights[name], before.weights[name], atol=1e-6, rtol=0)
    text = "\n".join(messages)
    assert "class Core (from core)" in text
    assert (
        "New: channel T1 (begins with the mean of the model's channels); class rim (begins with zeros)."
        in text
    )
    assert "The model's class shell is left." in text
    assert "plan.features has no effect: the model that it begins with gives the plan." in text
    record = Adaptation.load(tmp_path / "run" / "fold_all" / "finetuning.json")
    assert record.classes == {"rim": "with zeros", "Core": "core"}
    assert after.provenance["finetuned_from"]["classes"] == record.classes
    # The folder of the model is no one else's matter.
    assert after.provenance["finetuned_from"]["model"] == "model.vesal"
    config = TrainConfig.load(tmp_path / "run" / "config.yaml")
    assert (config.adapt, config.warmup, config.lr) == (True, 0.1, 1e-12)


def test_beside_a_training_from_the_start_with_a_frozen_encoder_and_partly_labelled_cases(
    trained_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    model = trained_run / "fold_0" / "model.vesal"
    # Another fold of the same scans: what it holds out was learned from.
    held_out = Run(trained_run).folds()
    assert held_out is not None
    partly = {name: ["core"] for name in held_out.validation(1)}
    data = task(tiny_data, tmp_path / "data", annotated=partly)
    out = tmp_path / "run"
    words = ["finetune", model, data, "-o", out, "--folds", trained_run / "folds.json", "--fold", "1"]
    words += ["--steps", "6", "--freeze-encoder", "--compare-scratch", "--device", "cpu"]
    words += [word for pair in ("plan.patch=[16,16,16]", "plan.width=0.2") for word in ("--set", pair)]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, (done.output, done.exception)
    before, after = load_package(model).weights, load_package(out / "fold_1" / "model.vesal").weights
    record = Adaptation.load(out / "fold_1" / "finetuning.json")
    assert record.frozen
    assert all(torch.equal(before[name], after[name]) for name in record.frozen)
    assert not torch.equal(before["heads.0.weight"], after["heads.0.weight"])
    # What was not drawn is neither right nor wrong.
    scores = Scores.load(out / "scores.json")
    assert {(row.case, row.class_name) for row in scores.cases} == {(name, "core") for name in partly}
    assert Run(out / "from_scratch").folds() == Run(out).folds()
    scratch = TrainConfig.load(out / "from_scratch" / "config.yaml")
    assert (scratch.steps, scratch.adapt, scratch.lr) == (6, False, TrainConfig().lr)
    found = Comparison.load(out / "beside_scratch" / "comparison.json")
    assert (found.a, found.b) == ("from scratch", "fine-tuned")
    assert {pair.case for pair in found.cases} == set(partly)
    assert "fine-tuned" in done.output
    page = (out / "report.html").read_text()
    assert "Beside a training from the start" in page
    assert "Frozen:" in page
    assert set(record.seen) == set(partly)
    assert "their scores are too good" in page
    assert "their scores are too good" in done.output.replace("\n", " ")


def test_added_cases_of_the_same_task_are_prepared_alone_and_no_side_changes(
    trained_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    model, prepared = trained_run / "fold_0" / "model.vesal", trained_run / "prepared"
    data = task(tiny_data, tmp_path / "data", added=3)
    there = {file.name: file.stat().st_mtime_ns for file in prepared.iterdir()}
    messages = finetune(model, data, tmp_path / "run", go_on=True, steps=1)
    # Into its own folder, which gets the others' entries; the model's run stays as it is.
    own = {file.name for file in (tmp_path / "run" / "prepared").glob("*.image.npy")}
    assert len(own - there.keys()) == 3
    assert own >= {name for name in there if name.endswith(".image.npy")}
    assert {file.name: file.stat().st_mtime_ns for file in prepared.iterdir()} == there
    before, after = Run(trained_run).folds(), Run(tmp_path / "run").folds()
    assert before is not None
    assert after is not None
    assert set(before.validation(0)) <= set(after.validation(0))
    assert set(before.train(0)) <= set(after.train(0))
    assert after.names - before.names == {"tiny_20", "tiny_21", "tiny_22"}
    assert any("3 cases are new" in text for text in messages)
    assert Plan.load(tmp_path / "run" / "plan.json").labels == Plan.load(trained_run / "plan.json").labels
    assert not Adaptation.load(tmp_path / "run" / "fold_0" / "finetuning.json").seen
    assert (tmp_path / "run" / "fold_0" / "finished.json").exists()
    # It is resumed with the settings that it has, by itself: neither the model nor its run is there any more.
    gone = trained_run.rename(trained_run.with_name("gone"))
    try:
        entries = {
            file.name: file.stat().st_mtime_ns for file in (tmp_path / "run" / "prepared").glob("*.npy")
        }
        finetune(model, data, tmp_path / "run", go_on=True, resume=True, steps=2)
    finally:
        gone.rename(trained_run)
    after_it = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "run" / "prepared").glob("*.npy")}
    assert after_it == entries
    assert read_json(tmp_path / "run" / "fold_0" / "finished.json")["step"] == 2


def test_what_cannot_be_is_refused_before_anything_is_written(
    trained_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    model = trained_run / "fold_0" / "model.vesal"
    other = task(tiny_data, tmp_path / "data", labels={"0": "background", "1": "a", "7": "b"})
    refused: list[tuple[Path, Path, dict[str, Any], str]] = [
        (tmp_path / "absent.vesal", tiny_data, {}, "There is no"),
        (model, tiny_data, {"compare_scratch": True}, "add --fold 0"),
        (model, other, {"go_on": True}, "for the model's own task, but the labels were"),
        (model, tiny_data, {"go_on": True, "fold": 1}, "is of fold 0"),
        (model, tiny_data, {"go_on": True, "fold": "all"}, "leave --fold out"),
        (model, tiny_data, {"settings": ("network=attention-unet",)}, "model's network is unet"),
    ]
    for source, data, values, words in refused:
        with pytest.raises(UsageError, match=words):
            finetune(source, data, tmp_path / "run", steps=1, **values)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="use vesal finetune"):
        vesal.train_run(
            vesal.TrainRequest(
                data=tiny_data, out=tmp_path / "run", settings=("freeze_encoder=true",), steps=1, quiet=True
            )
        )


def test_a_run_goes_on_with_the_model_that_it_began_with_and_with_no_other_start(
    trained_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    model, run = trained_run / "fold_0" / "model.vesal", tmp_path / "run"
    finetune(model, tiny_data, run, steps=1)
    other, moved = tmp_path / "other.vesal", tmp_path / "moved.vesal"
    package = load_package(model)
    save_package(moved, package)
    save_package(other, replace(package, weights={name: of + 1 for name, of in package.weights.items()}))
    finetune(moved, tiny_data, run, resume=True)
    with pytest.raises(UsageError, match=r"began with .*fold_0/model\.vesal, not with .*other\.vesal"):
        finetune(other, tiny_data, run, resume=True)
    with pytest.raises(UsageError, match=r"leave out freeze_encoder \(false in the run\)"):
        finetune(model, tiny_data, run, resume=True, freeze_encoder=True)


def test_both_trainings_keep_to_the_limit_of_memory(
    trained_run: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []

    def train_run(request: Any, *_: Any) -> TrainResult:
        kept.append((request.max_ram, memory_limit.limit()))
        config = TrainConfig(steps=1, fold=0)
        request.out.mkdir(parents=True, exist_ok=True)
        config.save(request.out / "config.yaml")
        return TrainResult(run=request.out, models=(), scores=None, left_out=(), report=None)

    monkeypatch.setattr(finetune_module, "train_run", train_run)
    monkeypatch.setattr(finetune_module, "compare_runs", lambda *_, **__: None)
    monkeypatch.setattr(finetune_module, "write_run_report", lambda _: None)
    model, most = trained_run / "fold_0" / "model.vesal", memory_limit.held_bytes() + 10**10
    wanted = {"steps": 1, "fold": 0, "compare_scratch": True, "max_ram": most}
    finetune(model, tiny_data, tmp_path / "run", **wanted)
    assert kept == [(most, most)] * 2
    assert memory_limit.limit() is None
    with pytest.raises(UsageError, match="less than the program itself takes"):
        finetune(model, tiny_data, tmp_path / "small", **wanted | {"max_ram": 1000})
