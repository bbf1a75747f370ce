"""Fixtures for all tests."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np
import pytest
from filelock import FileLock

from vesal import memory_limit
from vesal.data.fingerprint import fingerprint
from vesal.layouts.registry import load_dataset
from vesal.planning.plan import Plan, Stage
from vesal.planning.planner import make_plan
from vesal.planning.settings import PlanSettings

#: Files of tests that take longest. They are begun first, so that no worker is left alone with one of them at the end.
LONGEST = (
    "test_real_data",
    "test_train",
    "test_recipes",
    "test_bad_input",
    "test_app",
    "test_notebook",
    "test_kernel",
    "test_devices",
    "test_faults",
    "test_disk_faults",
    "test_worker_prediction",
    "test_fold_workers",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data", default=None, help="folder of real scans (Task04_Hippocampus, ACDC, ...)")
    parser.addoption("--kills", type=int, default=3, help="how often tests/test_faults.py kills")
    parser.addoption("--clinic", action="store_true", help="a clinic's part that is missing is a failure")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With --clinic a test that needs such a part fails where it is skipped otherwise; real scans need not be there."""
    report = yield
    wanted = item.config.getoption("--clinic") and item.get_closest_marker("clinic")
    if wanted and report.skipped and "real scans" not in str(report.longrepr):
        report.outcome = "failed"
    return report


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are named by their length: a gzip stream holds the time, and every process must give the same names."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) else None


@cache
def _drawing() -> tuple[tuple[object, str, Callable[..., object]], ...]:
    """What draws pictures, as it is before `_blank_pictures` takes it away: where, its name, the function."""
    from matplotlib.figure import Figure

    from vesal.report.figures import scan_figures

    return (Figure, "savefig", Figure.savefig), (scan_figures, "_draw_surfaces", scan_figures._draw_surfaces)


@pytest.fixture(autouse=True, scope="module")
def _blank_pictures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Pictures take a third of a training of a few steps, so they are blank but in the tests that look at them: those
    of the report, and files with `pytestmark = pytest.mark.pictures`."""
    if "report" in request.path.parts or request.node.get_closest_marker("pictures"):
        yield
        return
    from PIL import Image

    def save(_figure: object, file: BinaryIO, **_how: object) -> None:
        Image.new("L", (1, 1)).save(file, "png")

    blank = {"savefig": save, "_draw_surfaces": lambda *_parts: None}
    with pytest.MonkeyPatch.context() as patch:
        for place, name, _ in _drawing():
            patch.setattr(place, name, blank[name])
        yield


@pytest.fixture(scope="session")
def data_dir(request: pytest.FixtureRequest) -> Path:
    """The folder of real scans; the test is skipped when none was named."""
    named = request.config.getoption("--data")
    if not named:
        pytest.skip("no folder of real scans was named (pytest --data DIR)")
    folder = Path(named).absolute()  # a test may link to its files
    if not folder.is_dir():
        pytest.skip(f"the folder of real scans is not there: {folder}")
    return folder


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that one worker makes and all of them use; nobody changes it."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    done = base / f"{name}.done"
    with FileLock(base / f"{name}.lock"):
        if not done.exists():
            make(base / name)
            done.touch()
    return base / name


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven small scans in MSD's layout, of a bright ellipsoid with a brighter core; the last two are one scan."""
    return made_once(tmp_path_factory, "Task99_Tiny", _write_tiny_data)


def _write_tiny_data(folder: Path) -> None:
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / name).mkdir(parents=True)
    training = []
    for number in range(7):
        case = f"tiny_{number:02}"
        image, label, affine = _ellipsoid(min(number, 5))
        nib.save(nib.Nifti1Image(image, affine), folder / "imagesTr" / f"{case}.nii.gz")
        nib.save(nib.Nifti1Image(label, affine), folder / "labelsTr" / f"{case}.nii.gz")
        training.append({"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"})
    image, _, affine = _ellipsoid(50)
    nib.save(nib.Nifti1Image(image, affine), folder / "imagesTs" / "tiny_50.nii.gz")
    description = {
        "name": "Tiny",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "shell", "7": "core"},
        "numTraining": 7,
        "training": training,
        "test": ["./imagesTs/tiny_50.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps(description))


@pytest.fixture(scope="session")
def tiny_plan(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan for them that trains a step in a few milliseconds."""
    dataset = load_dataset(tiny_data)
    plan = make_plan(fingerprint(dataset), dataset.labels, PlanSettings(patch=(16, 16, 16), batch=2))
    stages = [
        Stage(features=features, kernel=(3, 3, 3), stride=(step,) * 3)
        for features, step in ((4, 1), (8, 2), (8, 2))
    ]
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    Plan.model_validate(plan.model_dump() | {"stages": stages, "heads": 2}).save(path)
    return path


@pytest.fixture(scope="module")
def trained_run(tiny_data: Path, tiny_plan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a run on fold 0 of these scans, of 120 steps and four validations; a file of tests may change it."""

    def train(folder: Path) -> None:
        import vesal

        overrides = {"steps": 120, "lr": 0.02, "validate_every": 0.25, "fold": 0}
        request = vesal.TrainRequest(
            data=tiny_data, out=folder, overrides=overrides, plan_file=tiny_plan, device="cpu", quiet=True
        )
        # Whoever needs it first makes it for all, also for those who look at its pictures.
        with pytest.MonkeyPatch.context() as patch:
            for place, name, drawn in _drawing():
                patch.setattr(place, name, drawn)
            vesal.train_run(request)

    run = made_once(tmp_path_factory, "trained", train)
    return Path(shutil.copytree(run, tmp_path_factory.mktemp("trained") / "run"))


def _ellipsoid(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (X, Y, Z) int16, label uint8 with 1 around 7, and an affine whose orientation varies with the seed."""
    generator = np.random.default_rng(seed)
    shape = tuple(int(size) for size in generator.integers((18, 20, 14), (23, 25, 18)))
    centre = np.asarray(shape) / 2 + generator.uniform(-1.5, 1.5, 3)
    radii = np.asarray(shape) * generator.uniform(0.25, 0.32, 3)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    distance = np.sqrt((((grid - centre) / radii) ** 2).sum(axis=-1))
    label = np.where(distance < 0.55, 7, np.where(distance < 1, 1, 0)).astype(np.uint8)
    image = 100 + 150 * (label == 1) + 300 * (label == 7) + generator.normal(0, 20, shape)
    signs = (-1, -1, 1) if seed % 2 else (1, 1, 1)
    affine = np.diag([1.0 * signs[0], 1.0 * signs[1], 1.5 * signs[2], 1.0])
    affine[:3, 3] = generator.uniform(-40, 40, 3)
    return image.round().astype(np.int16), label, affine


@pytest.fixture
def all_on_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[], AbstractContextManager[None]]:
    """Makes a block in which every array lies on the disk, one row is worked on at a time, and pages are always given
    up, as under a limit of memory that is far too small."""
    monkeypatch.setattr(memory_limit, "_ARRAY_SHARE", 0.0)
    monkeypatch.setattr(memory_limit, "_SLAB_SHARE", 0.0)
    monkeypatch.setattr(memory_limit, "_BREATH_SHARE", 2.0)
    return lambda: memory_limit.limited(1 << 40, tmp_path / "disk")


@pytest.fixture(autouse=True, scope="session")
def _own_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The key of pseudonyms is drawn into a folder of the tests, not into the person's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("settings")))
        yield
