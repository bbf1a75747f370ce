"""Bad input, each told in one sentence that says what, where, and the fix; nothing half written, nothing lost."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from vesal.nn.model_file import load_package

sys.path.insert(0, str(Path(__file__).parent))
from in_process import vesal


def one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """The failure is told on standard error, with these words and no traceback."""
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr + done.stdout, done.stderr + done.stdout


def finds(data: Path, kind: str, case: str) -> None:
    """`vesal inspect` finds this in that case and nothing else wrong, and ends with 1."""
    done = vesal("inspect", data, "--json")
    assert done.returncode == 1, done.stderr
    errors = [found for found in json.loads(done.stdout)["findings"] if found["severity"] == "error"]
    assert [(found["kind"], list(found["cases"])) for found in errors] == [(kind, [case])]
    assert all(found["fix"] for found in errors)


@pytest.fixture
def data(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(tiny_data, tmp_path / "data"))


@pytest.fixture(scope="module")
def model(trained_run: Path) -> Path:
    return trained_run / "fold_0" / "model.vesal"


def change(path: Path, array: np.ndarray | None = None, affine: np.ndarray | None = None) -> None:
    image = nib.load(path)
    array = np.asarray(image.dataobj) if array is None else array
    nib.save(nib.Nifti1Image(array, image.affine if affine is None else affine), path)


def test_a_truncated_gzip(data: Path, model: Path, tmp_path: Path) -> None:
    path = data / "imagesTr" / "tiny_01.nii.gz"
    path.write_bytes(path.read_bytes()[:700])
    finds(data, "unreadable", "tiny_01")
    one_sentence(vesal("predict", model, path, "-o", tmp_path / "out"), "tiny_01")
    assert not list((tmp_path / "out").glob("*.nii.gz"))


def test_nan_voxels(data: Path, model: Path, tmp_path: Path) -> None:
    path = data / "imagesTr" / "tiny_01.nii.gz"
    array = np.asarray(nib.load(path).dataobj).astype(np.float32)
    array[3:5, 2, 2] = np.nan
    change(path, array)
    finds(data, "not-finite", "tiny_01")
    one_sentence(vesal("predict", model, path, "-o", tmp_path / "out"), "tiny_01")


def test_a_label_without_its_image(data: Path) -> None:
    (data / "imagesTr" / "tiny_01.nii.gz").unlink()
    finds(data, "missing-file", "tiny_01")


def test_a_2d_file_where_3d_is_expected(model: Path, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((20, 20), dtype=np.int16), np.eye(4)), tmp_path / "flat.nii.gz")
    one_sentence(vesal("predict", model, tmp_path / "flat.nii.gz", "-o", tmp_path / "out"), "flat", "3D")


def test_a_label_of_another_shape(data: Path) -> None:
    path = data / "labelsTr" / "tiny_01.nii.gz"
    change(path, np.asarray(nib.load(path).dataobj)[:-1])
    finds(data, "label-shape", "tiny_01")


def test_a_label_on_another_grid(data: Path) -> None:
    path = data / "labelsTr" / "tiny_01.nii.gz"
    change(path, affine=nib.load(path).affine @ np.diag([1, 1, 1.2, 1]))
    finds(data, "label-grid", "tiny_01")


def test_a_label_value_that_was_not_declared(data: Path) -> None:
    path = data / "labelsTr" / "tiny_01.nii.gz"
    array = np.asarray(nib.load(path).dataobj).copy()
    array[0, 0, 0] = 9
    change(path, array)
    finds(data, "undeclared-value", "tiny_01")


@pytest.mark.parametrize("damage", ["truncated", "nan", "shape", "undeclared", "flat", "channels", "missing"])
def test_training_leaves_the_bad_case_out_by_name_and_goes_on(
    damage: str, data: Path, tmp_path: Path
) -> None:
    image, label = data / "imagesTr" / "tiny_01.nii.gz", data / "labelsTr" / "tiny_01.nii.gz"
    array = np.asarray(nib.load(label).dataobj).copy()
    if damage == "truncated":
        image.write_bytes(image.read_bytes()[:700])
    elif damage == "nan":
        voxels = np.asarray(nib.load(image).dataobj).astype(np.float32)
        voxels[0] = np.nan
        change(image, voxels)
    elif damage == "shape":
        change(label, array[:-1])
    elif damage == "undeclared":
        array[0] = 9
        change(label, array)
    elif damage == "flat":
        change(image, np.ones((20, 20), dtype=np.int16))
    elif damage == "channels":
        voxels = np.asarray(nib.load(image).dataobj)
        change(image, np.stack([voxels, voxels], axis=-1))
    else:
        label.unlink()
    done = vesal("train", data, "-o", tmp_path / "run", "--steps", "2", "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    assert [case["id"] for case in json.loads(done.stdout)["left_out"]] == ["tiny_01"]
    assert image.exists() or damage == "missing"


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for verb in ("inspect", "plan"):
        one_sentence(vesal(verb, tmp_path / "empty"), "empty")
    one_sentence(vesal("train", tmp_path / "empty", "-o", tmp_path / "run"), "empty")


@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x05\x06" + bytes(18)])
def test_a_model_file_that_is_not_one(content: bytes, tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "x.vesal").write_bytes(content)
    scan = tiny_data / "imagesTr" / "tiny_00.nii.gz"
    one_sentence(vesal("predict", tmp_path / "x.vesal", scan, "-o", tmp_path / "out"), "x.vesal")


def test_a_scan_given_as_the_model(tiny_data: Path, tmp_path: Path) -> None:
    scan = tiny_data / "imagesTr" / "tiny_00.nii.gz"
    one_sentence(vesal("predict", scan, scan, "-o", tmp_path / "out"), "tiny_00.nii.gz")


# --- places that cannot be written -------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small tmpfs cannot be mounted here (needs root)")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that cannot be written, for root too."""
    place = tmp_path / "locked"
    place.mkdir()
    if os.geteuid() != 0:
        place.chmod(0o500)
        yield place
        place.chmod(0o700)
        return
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", place], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a read-only folder cannot be made here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_read_only_output(read_only: Path, tiny_data: Path, model: Path) -> None:
    scan = tiny_data / "imagesTr" / "tiny_00.nii.gz"
    one_sentence(vesal("predict", model, scan, "-o", read_only / "out"), "cannot be written", str(read_only))
    one_sentence(
        vesal("train", tiny_data, "-o", read_only / "run", "--steps", "2"),
        "cannot be written",
        str(read_only),
    )
    one_sentence(vesal("inspect", tiny_data, "-o", read_only / "look"), "cannot be written", str(read_only))


def fill(disk: Path) -> None:
    """Leave not a byte."""
    with (disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)) == 4096:
            pass


def test_a_full_disk_loses_nothing_and_leaves_nothing_half_written(
    small_disk: Path, tiny_data: Path, model: Path, tmp_path: Path
) -> None:
    done = vesal("train", tiny_data, "-o", small_disk / "run", "--steps", "2", "--device", "cpu")
    one_sentence(done, "No space left")
    shutil.rmtree(small_disk / "run", ignore_errors=True)
    fill(small_disk)
    scan = tiny_data / "imagesTr" / "tiny_00.nii.gz"
    one_sentence(vesal("predict", model, scan, "-o", small_disk / "out"), "No space left")
    assert not list((small_disk / "out").glob("*"))
    assert load_package(model).plan
