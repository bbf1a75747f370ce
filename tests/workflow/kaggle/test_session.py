"""Kernels for Kaggle: what they do, with the platform's folders imitated."""

from __future__ import annotations

import argparse
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vesal.errors import DataError, UsageError
from vesal.train.recipe import TrainConfig
from vesal.workflow.kaggle import session as platform_run
from vesal.workflow.kaggle.kernel import SCRIPT, export_kernel
from vesal.workflow.kaggle.session import PlatformRun, find_data, is_run, run_on_platform
from vesal.workflow.requests.kernel_options import KernelOptions

HEART = KernelOptions(user="me", datasets=("someone/heart-mri",), budget="30m", install="vesal==1.0")


@pytest.fixture(scope="module")
def platform(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kernel that was written by the command line and has run once, with Kaggle's folders imitated."""
    place = tmp_path_factory.mktemp("kaggle")
    words = ("export", "--to", "kaggle", "--user", "me", "--dataset", "me/tiny", "-o", str(place / "kernel"))
    tiny = ("steps=4", "lr=0.004", "plan.patch=[16,16,16]", "plan.features=[4,8]", "plan.batch=2")
    settings = [word for setting in tiny for word in ("--set", setting)]
    done = _python("-m", "vesal.cli", *words, *settings, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["id"] == "me/vesal-auto"
    shutil.copytree(tiny_data, place / "input" / "tiny" / "versions" / "1" / tiny_data.name)
    # The Vesal that the script carries, in place of the one that is installed.
    script = runpy.run_path(str(place / "kernel" / SCRIPT), run_name="script")
    script["unpack"](place / "carried")
    folders = ("--input", place / "input", "--working", place / "working", "--scratch", place / "scratch")
    done = _python(
        place / "kernel" / SCRIPT,
        *(*folders, "--device", "cpu"),
        env={"PYTHONPATH": str(place / "carried"), "KAGGLE_KERNEL_RUN_TYPE": "Batch"},
    )
    assert done.returncode == 0, done.stderr
    (place / "printed.txt").write_text(done.stdout)
    return place


def _python(*words: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | (env or {}),
    )


def test_the_script_finds_the_data_trains_and_prints_the_scores(platform: Path) -> None:
    printed = (platform / "printed.txt").read_text()
    assert printed.startswith("Kaggle, ")
    assert f"Data: {platform / 'input' / 'tiny' / 'versions' / '1' / 'Task99_Tiny'}" in printed
    assert re.search(r"^shell\b.* 0\.\d{3}\b", printed, re.MULTILINE), printed
    run = platform / "working" / "run"
    assert (run / "fold_0" / "model.vesal").exists()
    config = TrainConfig.load(run / "config.yaml")
    assert (config.steps, config.lr, config.fold) == (4, 0.004, 0)
    assert json.loads((run / "environment.json").read_text())["platform"] == "kaggle"


def test_what_the_platform_collects_is_the_run_without_its_cache(platform: Path) -> None:
    assert [path.name for path in (platform / "working").iterdir()] == ["run"]
    assert not (platform / "working" / "run" / "prepared").exists()
    assert any((platform / "scratch" / "prepared").iterdir())


def test_an_attached_output_goes_on_from_zipped_data(platform: Path, tmp_path: Path) -> None:
    given = tmp_path / "input"
    shutil.copytree(platform / "working" / "run", given / "vesal-auto" / "run")
    for path in given.rglob("*"):
        path.chmod(0o444 if path.is_file() else 0o555)
    zipped = given / "tiny" / "tiny.zip"
    zipped.parent.mkdir()
    source = platform / "input" / "tiny" / "versions" / "1"
    with zipfile.ZipFile(zipped, "w") as file:
        for path in sorted(source.rglob("*")):
            file.write(path, path.relative_to(source))
    told: list[str] = []
    request = PlatformRun(
        given, tmp_path / "working", tmp_path / "scratch", overrides={"steps": 3, "fold": 0}, device="cpu"
    )
    result = run_on_platform(request, told.append)
    assert any(text.startswith("Going on with") for text in told)
    assert any("prolonged by 3" in text for text in told)
    config = TrainConfig.load(tmp_path / "working" / "run" / "config.yaml")
    assert (config.steps, config.lr) == (7, 0.004)
    steps = json.loads((tmp_path / "working" / "run" / "fold_0" / "finished.json").read_text())
    assert steps["step"] == 7
    assert result.scores is not None
    assert [path.name for path in (tmp_path / "working").iterdir()] == ["run"]


def test_a_run_that_had_not_ended_keeps_its_settings(platform: Path, tmp_path: Path) -> None:
    shutil.copytree(platform / "working" / "run", tmp_path / "run")
    run = platform_run.Run(tmp_path / "run")
    (run.fold(0) / "finished.json").unlink()
    assert platform_run._prolonged(run, {"steps": 3, "fold": 1}, print) == {}


def test_a_run_of_another_kind_of_length_stays_as_it_is(platform: Path) -> None:
    told: list[str] = []
    run = platform_run.Run(platform / "working" / "run")
    assert platform_run._prolonged(run, {"budget_s": 60.0}, told.append) == {}
    assert "it stays as it is" in told[0]


def test_a_run_is_no_data_set(platform: Path, tmp_path: Path) -> None:
    assert is_run(platform / "working" / "run")
    shutil.copytree(platform / "working" / "run", tmp_path / "input" / "kernel" / "run")
    with pytest.raises(DataError, match=r"holds no data set and no archive"):
        find_data(PlatformRun(tmp_path / "input", tmp_path, tmp_path / "scratch"))


def test_several_data_sets_are_listed_and_one_is_chosen(tmp_path: Path) -> None:
    for name in ("heart/Task02", "lung/Task06"):
        (tmp_path / "input" / name).mkdir(parents=True)
        (tmp_path / "input" / name / "dataset.json").write_text('{"training": []}')
    request = PlatformRun(tmp_path / "input", tmp_path, tmp_path / "scratch")
    with pytest.raises(UsageError, match=r"2 data sets; name one of heart/Task02, lung/Task06"):
        find_data(request)
    chosen = PlatformRun(tmp_path / "input", tmp_path, tmp_path / "scratch", data="lung")
    assert find_data(chosen) == tmp_path / "input" / "lung" / "Task06"


def test_without_attached_data_the_named_set_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Path]] = []

    def fetch(name: str, out: Path, **_: Any) -> Any:
        asked.append((name, out))
        return argparse.Namespace(folder=out / "Task02_Heart")

    monkeypatch.setattr(platform_run, "fetch", fetch)
    request = PlatformRun(tmp_path / "absent", tmp_path, tmp_path / "scratch", fetch="msd-heart")
    assert find_data(request) == tmp_path / "scratch" / "fetched" / "Task02_Heart"
    assert asked == [("msd-heart", tmp_path / "scratch" / "fetched")]


@pytest.mark.parametrize(
    ("variables", "words", "expected"),
    [
        ({"KAGGLE_KERNEL_RUN_TYPE": "Batch"}, {}, {"budget_s": 1800.0}),
        ({"KAGGLE_KERNEL_RUN_TYPE": "Batch"}, {"short": True}, {"budget_s": 60.0}),
        ({}, {}, {"budget_s": 60.0}),
        ({}, {"long": True}, {"budget_s": 1800.0}),
        ({}, {"budget": "90s"}, {"budget_s": 90.0}),
        ({}, {"set": ["steps=5"]}, {"steps": 5}),
    ],
)
@pytest.mark.parametrize("kernel", [HEART, replace(HEART, budget=None, settings=("budget_s=1800",))])
def test_the_run_is_short_at_home_and_long_there(
    tmp_path: Path,
    kernel: KernelOptions,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    words: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    for name in ("KAGGLE_KERNEL_RUN_TYPE", "COLAB_RELEASE_TAG", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    export_kernel(tmp_path, kernel)
    seen: list[PlatformRun] = []

    def record(request: PlatformRun, _tell: Any) -> Any:
        seen.append(request)
        return argparse.Namespace(text=lambda: "done")

    monkeypatch.setattr(platform_run, "run_on_platform", record)
    options = {"input": tmp_path, "working": tmp_path, "scratch": tmp_path, "data": None, "recipe": None}
    options |= {"set": [], "budget": None, "short": False, "long": False, "device": "cpu"} | words
    runpy.run_path(str(tmp_path / SCRIPT), run_name="script")["train"](argparse.Namespace(**options))
    assert seen[0].overrides == {"fold": 0} | expected
