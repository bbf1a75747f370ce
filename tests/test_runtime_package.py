"""The distribution vesal-runtime: it holds what prediction needs, by a name of its own."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import tomllib
import types
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from graphs import write_by_intensity

from vesal.version import __version__

ROOT = Path(__file__).parents[1]
#: What only the whole of Vesal needs.
ABSENT = (
    "vesal",
    "torch",
    "scipy",
    "typer",
    "rich",
    "onnxruntime",
    "openvino",
    "PIL",
    "nrrd",
    "tifffile",
    "pydicom",
)
#: The packages of this environment without what an editable install of Vesal adds.
WITH_SITE = f"import sys; sys.path += {[path for path in sys.path if path.endswith('site-packages')]!r}\n"


@pytest.fixture(scope="module")
def build() -> dict[str, Any]:
    """The functions of hatch_build.py; hatchling itself is only there while a wheel is built."""
    name = "hatchling.builders.hooks.plugin.interface"
    parts = name.split(".")
    with pytest.MonkeyPatch.context() as patch:
        for end in range(1, len(parts) + 1):
            patch.setitem(sys.modules, ".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
        sys.modules[name].BuildHookInterface = object  # type: ignore[attr-defined]
        return runpy.run_path(str(ROOT / "runtime" / "hatch_build.py"))


@pytest.fixture(scope="module")
def package(build: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = build["gather"](
        ROOT / "src", ROOT / "runtime" / "package_init.py", tmp_path_factory.mktemp("wheel")
    )
    return folder


def test_it_is_imported_where_vesal_and_torch_are_not(package: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(package.parent)!r})
for name in {ABSENT!r}:
    sys.modules[name] = None
import vesal_runtime
from vesal_runtime.infer.runtime.program import main
assert vesal_runtime.load_model and vesal_runtime.read_volume
assert not [name for name in sys.modules if name.startswith("vesal.")]
main(["--version"])
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", WITH_SITE + code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == __version__


def test_what_the_page_does_from_python_works(package: Path, tmp_path: Path) -> None:
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name, reason="the extra onnx is not installed")
    write_by_intensity(tmp_path / "model.vesal")
    scan = np.full((18, 20, 16), 0.1, np.float32)
    scan[4:12, 4:12, 4:12] = 2.6
    nib.save(nib.Nifti1Image(scan, np.eye(4)), tmp_path / "scan.nii.gz")
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    absent = f"for name in {ABSENT[:2]!r}:\n    sys.modules[name] = None\n"
    code = f"{WITH_SITE}sys.path.insert(0, {str(package.parent)!r})\n{absent}{block}"
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj) == 9).sum() == 512


def test_the_source_archive_brings_its_own_modules(build: dict[str, Any], tmp_path: Path) -> None:
    def included(root: Path) -> dict[str, str]:
        hook, data = build["RuntimeHook"](), {"force_include": {}}
        hook.root = str(root)
        hook.initialize("standard", data)
        for made in data["force_include"]:
            assert {"__init__.py", "LICENSE", "infer"} <= {path.name for path in Path(made).iterdir()}
        hook.finalize("standard", data, "")
        assert not any(Path(made).exists() for made in data["force_include"])
        return data["force_include"]

    # An unpacked archive lies anywhere, without the rest of the repository.
    (tmp_path / "vesal_runtime").mkdir()
    assert list(included(ROOT / "runtime").values()) == ["vesal_runtime"]
    assert included(tmp_path) == {}


def test_no_module_of_it_needs_torch_or_trains(package: Path) -> None:
    files = [file.relative_to(package).as_posix() for file in package.rglob("*.py")]
    assert "infer/windows.py" in files
    assert "infer/runtime/program.py" in files
    assert not [
        file
        for file in files
        if file.split("/")[0] in ("train", "workflow", "cli", "serve", "report", "augment")
    ]
    for file in files:
        text = (package / file).read_text()
        assert "from vesal." not in text
        assert "\nimport torch" not in text


def test_it_asks_for_no_other_package_than_the_whole_of_vesal_does() -> None:
    def names(path: Path, *extras: str) -> set[str]:
        project = tomllib.loads(path.read_text())["project"]
        wanted = [
            *project["dependencies"],
            *(one for extra in extras for one in project["optional-dependencies"][extra]),
        ]
        return {one.split(">")[0] for one in wanted}

    whole = names(ROOT / "pyproject.toml", "onnx", "openvino")
    assert names(ROOT / "runtime" / "pyproject.toml", "openvino", "formats") <= whole
    assert "torch" not in names(ROOT / "runtime" / "pyproject.toml")
