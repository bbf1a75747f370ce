"""Every recipe that ships trains, resumes, predicts and evaluates on its phantom, scaled down by --set alone."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from vesal.cli.app import app
from vesal.phantoms.registry import write_phantoms
from vesal.run.folder import Run
from vesal.train.checkpoint import Position
from vesal.train.recipe import load_recipe, recipe_names
from vesal.workflow.networks import TYPICAL_DATA

#: Recipe -> its phantom, and what makes it small.
SMALL: dict[str, tuple[str, list[str]]] = {
    "auto": ("heart", ["plan.patch=[32,32,32]", "plan.width=0.25"]),
    "heart-monai": ("heart", ["plan.patch=[32,32,32]", "plan.width=0.25", "plan.spacing_mm=[3,3,3]"]),
    "heart-unet3d": ("heart", ["plan.patch=[32,32,32]", "plan.width=0.125", "plan.spacing_mm=[3,3,3]"]),
    "lung-attention-2d": ("lung-tumour", ["plan.patch=[64,64]", "plan.width=0.125", "accumulation=2"]),
    "acdc-robust": ("short-axis", ["plan.patch=[64,64]", "plan.batch=4", "folds=5"]),
    "brats-nvidia": (
        "brain-tumour",
        ["plan.patch=[32,32,32]", "plan.features=[8,12,16,24]", "plan.spacing_mm=[3,3,3]"],
    ),
}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    for kind in {kind for kind, _ in SMALL.values()}:
        write_phantoms(folder / kind, kind, 5)
    return folder


def vesal(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, (words, result.output, result.exception)
    return result.stdout


def position(run: Path) -> Position:
    return Position(**torch.load(run / "fold_0" / "last.ckpt", weights_only=True)["position"])


def test_every_recipe_has_a_phantom_here_and_a_home() -> None:
    assert set(SMALL) == set(recipe_names()) == set(TYPICAL_DATA)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_recipe_trains_resumes_predicts_and_evaluates(name: str, phantoms: Path, tmp_path: Path) -> None:
    if load_recipe(name).network.startswith("monai") and importlib.util.find_spec("monai") is None:
        pytest.skip("the extra 'monai' is not installed")
    kind, settings = SMALL[name]
    data, run = phantoms / kind, tmp_path / "run"
    small = [word for pair in [*settings, "overlap=0", "validate_epochs=null"] for word in ("--set", pair)]
    vesal("train", data, "-o", run, "--recipe", name, "--fold", 0, "--steps", 2, "--device", "cpu", *small)
    assert position(run).step == 2
    vesal("train", data, "-o", run, "--resume", "--steps", 4, "--device", "cpu")
    steps = [json.loads(line)["step"] for line in (run / "fold_0" / "metrics.jsonl").open()]
    assert steps == sorted(steps)
    assert steps[-1] == 4
    assert position(run).step == 4
    for file in ("report.html", "summary.json", "summary.md", "fold_0/history.csv"):
        assert (run / file).stat().st_size > 0, file
    for picture in ("training_curves.png", "val_predictions.png"):
        assert (run / "fold_0" / picture).read_bytes().startswith(b"\x89PNG"), picture
    scan = sorted((data / "imagesTr").iterdir())[0]
    masks, truth = tmp_path / "masks", tmp_path / "truth"
    truth.mkdir()
    shutil.copy(data / "labelsTr" / scan.name, truth)
    vesal("predict", run, scan, "-o", masks, "--overlap", 0, "--device", "cpu")
    scores = json.loads(vesal("evaluate", masks, truth, "--labels", data / "dataset.json", "--json"))
    assert len(scores["cases"]) == len(Run(run).dataset().labels.classes)
