"""Where a training runs is recognised and told."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesal.run import environment as module
from vesal.run.environment import PLATFORMS, environment, environment_line, platform_name

_VARIABLES = ("KAGGLE_KERNEL_RUN_TYPE", "COLAB_RELEASE_TAG", "SLURM_JOB_ID")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine that is none of the platforms."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(module.sys.modules, "google.colab", raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "platform"),
    [
        ({}, "local"),
        ({"KAGGLE_KERNEL_RUN_TYPE": "Batch"}, "kaggle"),
        ({"COLAB_RELEASE_TAG": "release-colab"}, "colab"),
        ({"SLURM_JOB_ID": "17"}, "slurm"),
        # Kaggle's image is built on Colab's.
        ({"KAGGLE_KERNEL_RUN_TYPE": "Interactive", "COLAB_RELEASE_TAG": "release-colab"}, "kaggle"),
    ],
)
def test_the_platform_is_recognised_by_its_variables(
    bare: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], platform: str
) -> None:
    for name, value in variables.items():
        bare.setenv(name, value)
    assert platform_name(tmp_path / "absent") == platform


def test_kaggles_folder_says_kaggle_but_not_on_colab(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert platform_name(tmp_path) == "kaggle"
    bare.setenv("COLAB_RELEASE_TAG", "release-colab")
    assert platform_name(tmp_path) == "colab"


def test_colab_is_recognised_in_a_notebook_by_its_module(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bare.setitem(module.sys.modules, "google.colab", module)
    assert platform_name(tmp_path / "absent") == "colab"


def test_the_environment_and_its_line_name_the_platform(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("SLURM_JOB_ID", "17")
    bare.setattr(module, "cpu_count", lambda: 4)
    found = environment("cpu")
    assert found["platform"] == "slurm"
    assert found["platform"] in PLATFORMS
    assert environment_line("cpu") == f"SLURM, {found['system']}, 4 CPUs, cpu"
    bare.setattr(module, "cpu_count", lambda: 1)
    assert environment_line("cpu").endswith("1 CPU, cpu")
