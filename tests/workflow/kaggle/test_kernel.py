"""Kernels for Kaggle: what is written."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from vesal.errors import UsageError
from vesal.train.recipe import TrainConfig
from vesal.workflow.kaggle import kernel as kaggle
from vesal.workflow.kaggle.kernel import METADATA, SCRIPT, UNUSED, export, export_kernel, slug
from vesal.workflow.requests.kernel_options import KernelOptions

#: Quick to write, as it carries no Vesal.
HEART = KernelOptions(user="me", datasets=("someone/heart-mri",), budget="30m", install="vesal==1.0")


def _settings(script: Path) -> dict[str, Any]:
    """SETTINGS of a written script, read without running it."""
    for node in ast.parse(script.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "SETTINGS":
            return ast.literal_eval(node.value)  # type: ignore[no-any-return]
    raise AssertionError("no SETTINGS")


def test_the_folder_has_what_kaggle_asks_for(tmp_path: Path) -> None:
    options = KernelOptions(
        user="me",
        datasets=("someone/heart-mri", "me/other"),
        competitions=("lung-2026",),
        earlier="me/vesal-auto",
        title="Left atrium, 30 min",
        budget="30m",
        install="vesal==1.0",
    )
    exported = export_kernel(tmp_path / "kernel", options)
    assert json.loads((tmp_path / "kernel" / METADATA).read_text()) == {
        "id": "me/left-atrium-30-min",
        "title": "Left atrium, 30 min",
        "code_file": SCRIPT,
        "language": "python",
        "kernel_type": "script",
        "is_private": True,
        "enable_gpu": True,
        "enable_internet": True,
        "dataset_sources": ["someone/heart-mri", "me/other"],
        "competition_sources": ["lung-2026"],
        "kernel_sources": ["me/vesal-auto"],
        "model_sources": [],
        "machine_shape": "NvidiaTeslaT4",
    }
    settings = _settings(tmp_path / "kernel" / SCRIPT)
    assert settings["length"] == {"budget_s": 1800.0}
    assert settings["overrides"] == {"fold": 0}
    assert exported.commands == {
        "push": f"kaggle kernels push -p {tmp_path / 'kernel'}",
        "status": "kaggle kernels status me/left-atrium-30-min",
        "output": f"kaggle kernels output me/left-atrium-30-min -p {tmp_path / 'kernel' / 'output'}",
    }
    assert all(command in exported.text() for command in exported.commands.values())


def test_a_kernel_is_public_where_that_is_asked_for(tmp_path: Path) -> None:
    export_kernel(tmp_path, replace(HEART, public=True))
    assert json.loads((tmp_path / METADATA).read_text())["is_private"] is False


def test_without_a_gpu_none_is_asked_for(tmp_path: Path) -> None:
    export_kernel(tmp_path, KernelOptions(user="me", fetch="msd-heart", accelerator="none", install="vesal"))
    described = json.loads((tmp_path / METADATA).read_text())
    assert described["enable_gpu"] is False
    assert "machine_shape" not in described
    assert _settings(tmp_path / SCRIPT)["fetch"] == "msd-heart"


def test_the_same_export_gives_the_same_script_and_may_be_repeated(tmp_path: Path) -> None:
    carrying = KernelOptions(user="me", fetch="msd-heart")
    export_kernel(tmp_path / "kernel", carrying)
    first = (tmp_path / "kernel" / SCRIPT).read_bytes()
    export_kernel(tmp_path / "kernel", carrying)
    assert (tmp_path / "kernel" / SCRIPT).read_bytes() == first
    assert b"@" not in first.split(b'VESAL = """')[0]


def test_the_script_carries_this_very_vesal(tmp_path: Path) -> None:
    export_kernel(tmp_path, KernelOptions(user="me", fetch="msd-heart"))
    runpy.run_path(str(tmp_path / SCRIPT), run_name="script")["unpack"](tmp_path / "carried")
    root = Path(kaggle.__file__).parents[2]
    carried = {
        path.relative_to(tmp_path / "carried" / "vesal") for path in (tmp_path / "carried").rglob("*.*")
    }
    sources = {path.relative_to(root) for path in root.rglob("*") if path.suffix in (".py", ".yaml", ".txt")}
    sources = {path for path in sources if not any(folder in path.parents for folder in UNUSED)}
    assert {path for path in sources if not any(part.startswith(".") for part in path.parts)} <= carried
    assert not [path for path in carried if "__pycache__" in path.parts or path.name.startswith(".")]
    here = Path("workflow") / "kaggle" / "kernel.py"
    assert (tmp_path / "carried" / "vesal" / here).read_bytes() == (root / here).read_bytes()
    assert (tmp_path / SCRIPT).stat().st_size < 900_000


def test_installing_keeps_the_platforms_torch_and_takes_what_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_kernel(tmp_path / "carries", KernelOptions(user="me", fetch="msd-heart"))
    export_kernel(tmp_path / "named", KernelOptions(user="me", fetch="msd-heart", install="vesal==1.0"))
    commands: list[list[str]] = []

    def pip(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", pip)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "")
    for name in ("carries", "named"):
        script = runpy.run_path(str(tmp_path / name / SCRIPT), run_name="script")
        script["install"](tmp_path / name)
    assert commands == []  # Vesal is there
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for name in ("carries", "named"):
        runpy.run_path(str(tmp_path / name / SCRIPT), run_name="script")["install"](tmp_path / name)
    kept = (tmp_path / "carries" / "constraints.txt").read_text()
    assert f"torch=={importlib.metadata.version('torch')}\n" in kept
    carries, named = commands
    assert carries[1:6] == ["-m", "pip", "install", "--quiet", "--constraint"]
    assert any(word.startswith("nibabel>=") for word in carries)
    assert not any(word.startswith(("monai", "pytest")) for word in carries)
    assert named[-1] == "vesal==1.0"
    assert sys.path[0] == str(tmp_path / "carries" / "vesal")
    assert (tmp_path / "carries" / "vesal" / "vesal" / "__init__.py").exists()
    assert not (tmp_path / "named" / "vesal").exists()


def test_a_platform_whose_torch_is_too_old_gets_a_newer_one_with_what_belongs_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    export_kernel(tmp_path, HEART)
    there = {"torch": "2.5.1", "torchvision": "0.20.1", "numpy": "2.0.0"}

    def version(name: str) -> str:
        if name not in there:
            raise importlib.metadata.PackageNotFoundError(name)
        return there[name]

    calls: list[tuple[list[str], str]] = []

    def pip(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        kept = (tmp_path / "constraints.txt").read_text()
        calls.append((command[7:], kept))
        return subprocess.CompletedProcess(command, int("torch==" in kept or online is False))

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(subprocess, "run", pip)
    online = True
    install = runpy.run_path(str(tmp_path / SCRIPT), run_name="script")["install"]
    install(tmp_path)
    assert calls == [
        (["vesal==1.0"], "torch==2.5.1\ntorchvision==0.20.1\nnumpy==2.0.0\n"),
        (["vesal==1.0", "torch", "torchvision"], "numpy==2.0.0\n"),
    ]
    assert "torch 2.5.1" in capsys.readouterr().out
    online = False
    with pytest.raises(SystemExit, match="switch the kernel's internet on"):
        install(tmp_path)


def test_networks_of_monai_bring_it_along() -> None:
    assert kaggle._requirements("monai-unet", None)[-1].startswith("monai")
    assert kaggle._requirements("monai-unet", "vesal==1.0") == kaggle._requirements("monai-unet", None)[-1:]
    assert not any(text.startswith("monai") for text in kaggle._requirements("unet", None))


def test_a_recipe_of_ones_own_travels_in_the_script(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    text = "lr: 0.001\nepochs: 3  # \"few\" \\ 'many'\n"
    recipe.write_text(text)
    export_kernel(
        tmp_path / "kernel", KernelOptions(user="me", fetch="msd-heart", recipe=str(recipe), install="vesal")
    )
    settings = _settings(tmp_path / "kernel" / SCRIPT)
    assert settings["recipe_yaml"] == text
    assert settings["recipe"] == "mine.yaml"
    assert settings["length"] == {}
    assert json.loads((tmp_path / "kernel" / METADATA).read_text())["title"] == "Vesal mine"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user": None}, "add --user"),
        ({"user": "me/you"}, "add --user"),
        ({"datasets": ()}, "nothing to train on"),
        ({"datasets": ("heart",)}, "--dataset takes OWNER/NAME"),
        ({"earlier": "x"}, "--continue-from takes OWNER/NAME"),
        ({"competitions": ("a b",)}, "--competition takes"),
        ({"fetch": "msd-liver"}, "choose one of: msd-brain"),
        ({"recipe": "nope"}, "no recipe 'nope'"),
        ({"settings": ("lrr=1",)}, "lrr"),
        ({"budget": "soon"}, "not a length of time"),
        ({"budget": "13h"}, "after 12 hours"),
        ({"budget": None, "settings": ("steps=5", "epochs=5")}, "both set the length"),
        ({"settings": ("steps=5",)}, "both set the length"),
        ({"fold": 2, "settings": ("fold=1",)}, r"fold is given by an option \(2\) and by --set \(1\)"),
        (
            {"settings": ("initial_weights=/home/me/a.vesal",)},
            "begins with /home/me/a.vesal, which Kaggle does not",
        ),
        ({"title": "abc"}, "5 to 50 characters"),
        ({"title": "心臓心臓心臓"}, "5 to 50 characters"),
        ({"accelerator": "T4 x2"}, "--accelerator takes"),
    ],
)
def test_what_kaggle_would_not_take_is_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        export_kernel(tmp_path / "kernel", KernelOptions(**{**vars(HEART), **changes}))
    assert not (tmp_path / "kernel").exists()


def test_a_fold_or_weights_of_an_attached_data_set_may_be_set(tmp_path: Path) -> None:
    weights = "/kaggle/input/mine/model.vesal"
    export_kernel(tmp_path, replace(HEART, settings=("fold=1", f"initial_weights={weights}")))
    assert _settings(tmp_path / SCRIPT)["overrides"] == {"fold": 1, "initial_weights": weights}


@pytest.mark.parametrize("name", [SCRIPT, METADATA])
def test_a_file_of_another_hand_is_not_replaced_and_other_files_are_in_nobodys_way(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match=f"Vesal did not write.*: {name}; choose another"):
        export_kernel(tmp_path, HEART)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["thesis.tex", name])
    (tmp_path / name).unlink()
    export_kernel(tmp_path, HEART)
    export_kernel(tmp_path, replace(HEART, budget="40m"))
    (tmp_path / name).write_text((tmp_path / name).read_text() + "\n")
    with pytest.raises(UsageError, match=f"changed since: {name};"):
        export_kernel(tmp_path, HEART)


def test_slugs_are_kaggles() -> None:
    assert slug("My Awesome Kernel") == "my-awesome-kernel"


def test_a_run_folder_gives_its_settings(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(UsageError, match=r"not a run folder"):
        export(tmp_path / "kernel", HEART, run)
    TrainConfig(lr=0.004, steps=7).save(run / "config.yaml")
    export(tmp_path / "kernel", HEART, run)
    settings = _settings(tmp_path / "kernel" / SCRIPT)
    assert yaml.safe_load(settings["recipe_yaml"])["lr"] == 0.004
    with pytest.raises(UsageError, match=r"both say what to train"):
        export(tmp_path / "k", KernelOptions(user="me", recipe="mine"), run)
