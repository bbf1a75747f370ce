"""What the verbs load before they work: whoever segments one small scan waits for nothing that it does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vesal.nn.model_file import Package, save_package
from vesal.nn.zoo import build_network
from vesal.planning.plan import Plan

_CODE = """
import sys
from vesal.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end
print("LOADED", *sorted(sys.modules))
"""

#: Each takes a tenth of a second or more, and is for drawing, training, compiling or resampling.
HEAVY = (
    *("matplotlib", "skimage", "tensorboard", "monai", "jinja2", "rich.progress", "torch._dynamo", "sympy"),
    *(
        "torch._inductor",
        "scipy.ndimage",
        "scipy.stats",
        "scipy.spatial",
        "scipy.linalg",
        "vesal.train.trainer",
    ),
)


def loaded(*words: object) -> set[str]:
    """Modules of a process that does what these words ask for."""
    command = [sys.executable, "-c", _CODE, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.fixture(scope="module")
def model(tiny_plan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = Plan.load(tiny_plan)
    path = tmp_path_factory.mktemp("model") / "model.vesal"
    save_package(path, Package(plan, "unet", {}, {}, build_network("unet", plan).state_dict()))
    return path


def test_a_prediction_loads_nothing_that_it_does_not_need(
    model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    scan = tiny_data / "imagesTs" / "tiny_50.nii.gz"
    names = loaded("predict", model, scan, "-o", tmp_path, "--device", "cpu", "--backend", "torch")
    assert "torch" in names
    assert not names.intersection(HEAVY)
    assert (tmp_path / "tiny_50.nii.gz").exists()


def test_scoring_folders_loads_no_torch(tiny_data: Path) -> None:
    names = loaded("evaluate", tiny_data / "labelsTr", tiny_data / "labelsTr")
    assert "vesal.evaluate.score_folders" in names
    assert not names.intersection(
        {"torch", "matplotlib", "skimage", "tensorboard", "jinja2", "rich.progress"}
    )


@pytest.mark.parametrize(
    "module",
    [
        "workflow.inspect",
        "workflow.convert",
        "workflow.fetch",
        "run.folder",
        "phantoms.registry",
        "report.pages.run_page",
    ],
)
def test_verbs_about_data_and_pages_import_no_torch(module: str) -> None:
    code = f"import sys, vesal.{module}; assert not {{'torch', 'matplotlib', 'scipy.ndimage'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
