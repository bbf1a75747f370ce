"""pydicom's own test files, broken ones too: each is read as pydicom decodes it, or refused in a sentence.

Those that lie in pydicom, and where the package pydicom-data is there also its files. Most hold one slice of a scan: a
copy beside it, a step further on, makes a volume of it.
"""

from __future__ import annotations

import importlib.util
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vesal.errors import VesalError
from vesal.volume.dicom import series_file
from vesal.volume.dicom.dicom_scan import DicomScan, scans
from vesal.volume.dicom.series import read_study
from vesal.volume.dicom.source import open_source

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")

#: Of pydicom's 86 files so many hold a slice that says where it lies and that can be decoded.
_LEAST_READ = 20


def files() -> list[Path]:
    folders = [Path(pydicom.__file__).parent / "data"]
    if (more := importlib.util.find_spec("data_store")) is not None:
        folders += map(Path, more.submodule_search_locations or [])
    return [
        path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]


@pytest.fixture(autouse=True)
def _salt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def found(folder: Path) -> tuple[list[DicomScan], list[str]]:
    """The volumes in a folder, and why its other objects are none. Whatever is no sentence is raised."""
    try:
        study = read_study(open_source(folder))
    except VesalError as error:
        return [], [str(error)]
    volumes, refused = [], []
    for series in study.series:
        try:
            volumes += scans(study, series)
        except VesalError as error:
            refused.append(str(error))
    for annotation in study.annotations:
        try:
            layers, _, _ = series_file.read_layers(folder / annotation.file)
            refused.append(f"none, for it was read: {len(layers)} layers")
        except VesalError as error:
            refused.append(str(error))
    return volumes, [*refused, *study.left_out]


def with_a_neighbour(folder: Path, path: Path) -> bool:
    """Whether a copy of a slice, a step along its normal, could be put beside it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            other = pydicom.dcmread(path)
            across, down = np.array(other.ImageOrientationPatient, dtype=float).reshape(2, 3)
            other.ImagePositionPatient = [
                f"{value:.6f}"
                for value in np.array(other.ImagePositionPatient, dtype=float) + 3.0 * np.cross(across, down)
            ]
            other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
            other.save_as(folder / "neighbour.dcm")
        except Exception:
            # A file that pydicom does not take apart is one for the first test.
            return False
    return True


def test_no_file_ends_in_anything_but_a_volume_or_a_sentence(tmp_path: Path) -> None:
    for number, path in enumerate(files()):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copyfile(path, folder / path.name)
        volumes, why = found(folder)
        assert volumes or why, path.name
        assert all(sentence and "\n" not in sentence for sentence in why)
        for scan in volumes:
            _values(scan)


def test_slices_are_read_as_pydicom_decodes_them(tmp_path: Path) -> None:
    read = 0
    for number, path in enumerate(files()):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copyfile(path, folder / path.name)
        if not with_a_neighbour(folder, path):
            continue
        for scan in found(folder)[0]:
            values = _values(scan)
            if values is None:
                continue
            place = next(
                at
                for at, frame in enumerate(scan.stack.frames)
                if frame is not None and frame.file == path.name
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                header = pydicom.dcmread(path)
                stored = header.pixel_array.astype(np.float64)
            scaled = stored * float(header.get("RescaleSlope", 1)) + float(header.get("RescaleIntercept", 0))
            assert np.allclose(values[0, :, :, place], scaled.T, rtol=1e-6), path.name
            read += 1
    assert read >= _LEAST_READ


def _values(scan: DicomScan) -> Any:
    """The volume's values; None where it is refused in a sentence."""
    try:
        return scan.read().array
    except VesalError:
        return None
