"""What the viewer is given of files: the scan, its masks with names, and nothing that does not belong together."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
from dicom_examples import random_series, slice_objects, write_objects

from vesal.data.labels import Label, LabelSet
from vesal.errors import DataError, UsageError
from vesal.serve.viewed_files import ROUTE, Viewed, prepare_view
from vesal.volume.geometry import Geometry
from vesal.volume.io import write_volume
from vesal.volume.volume import Volume

AFFINE = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, 6], [0, 0, 3.0, 7], [0, 0, 0, 1]])
SHAPE = (6, 7, 5)


def label() -> np.ndarray:
    found = np.zeros(SHAPE, np.uint8)
    found[1:3, 1:4, 1:4] = 1
    found[4, 4, 2] = 7
    return found


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    values = np.random.default_rng(0).normal(size=SHAPE)
    nib.save(nib.Nifti1Image(values.astype(np.float64), AFFINE), folder / "scan.nii.gz")
    nib.save(nib.Nifti1Image(label(), AFFINE), folder / "mask.nii.gz")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_scan_mask_and_truth_come_on_their_grid_with_volumes(files: Path, out: Path) -> None:
    labels = LabelSet(labels=(Label(name="shell", value=1), Label(name="core", value=7, colour="#102030")))
    viewed = Viewed(files / "scan.nii.gz", (files / "mask.nii.gz",), files / "mask.nii.gz", labels=labels)
    found = prepare_view(viewed, out)
    assert found.scan.url == f"{ROUTE}/0/scan.nii"
    assert [mask.role for mask in found.masks] == ["prediction", "truth"]
    mask = found.masks[0]
    assert mask.volumes_ml == {"shell": pytest.approx(18 * 9 / 1000), "core": pytest.approx(9 / 1000)}
    assert [(one.name, one.value) for one in mask.labels] == [("shell", 1), ("core", 7)]
    assert mask.labels[1].colour == "#102030"
    shown = nib.load(out / found.scan.url.removeprefix(f"{ROUTE}/"))
    np.testing.assert_allclose(shown.affine, AFFINE)
    assert shown.get_data_dtype() == np.float32
    np.testing.assert_array_equal(nib.load(out / "1" / "mask.nii").get_fdata(), label())


def test_without_a_model_values_name_themselves_and_headers_name_segments(files: Path, out: Path) -> None:
    found = prepare_view(Viewed(files / "scan.nii.gz", (files / "mask.nii.gz",)), out)
    assert [one.name for one in found.masks[0].labels] == ["label 1", "label 7"]
    header = {}
    for number, (name, value) in enumerate((("atrium", "1"), ("vein", "7"))):
        fields = {"ID": name, "Name": name, "LabelValue": value, "Layer": "0"}
        header |= {f"Segment{number}_{key}": text for key, text in fields.items()}
    nrrd.write(str(files / "mask.seg.nrrd"), label(), header)
    again = out / "again"
    again.mkdir()
    found = prepare_view(Viewed(files / "scan.nii.gz", (files / "mask.seg.nrrd",)), again)
    assert [one.name for one in found.masks[0].labels] == ["atrium", "vein"]


def test_an_uncertainty_map_comes_too(files: Path, out: Path) -> None:
    path = files / "uncertainty.nrrd"
    write_volume(path, Volume(np.full((1, *SHAPE), 0.5, np.float32), Geometry(SHAPE, AFFINE)))
    found = prepare_view(Viewed(files / "scan.nii.gz", uncertainty=path), out)
    assert found.uncertainty is not None
    assert (out / found.uncertainty.url.removeprefix(f"{ROUTE}/")).is_file()


def test_what_does_not_belong_together_is_refused(files: Path, out: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.uint8), AFFINE), files / "other.nii.gz")
    with pytest.raises(DataError, match="3 x 3 x 3 voxels and the scan 6 x 7 x 5"):
        prepare_view(Viewed(files / "scan.nii.gz", (files / "other.nii.gz",)), out)
    with pytest.raises(UsageError, match="There is no"):
        prepare_view(Viewed(files / "absent.nii.gz"), out)
    with pytest.raises(UsageError, match="a folder without DICOM"):
        prepare_view(Viewed(files), out)


def test_of_several_phases_the_first_is_shown_and_that_is_said(
    tmp_path: Path, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    for name, time in (("a", "10"), ("b", "20")):
        objects = slice_objects(random_series(tags={"TriggerTime": time}))
        for number, one in enumerate(objects):
            one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"1.2.{time}.{number}"
        write_objects(tmp_path / "study", objects, [f"{name}{number}" for number in range(len(objects))])
    prepare_view(Viewed(tmp_path / "study"), out)
    assert "2 phases (TriggerTime = 10, TriggerTime = 20); the first is shown" in caplog.text


def test_a_series_that_cannot_be_shown_is_refused_with_the_reason(tmp_path: Path, out: Path) -> None:
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    gap = [one for number, one in enumerate(slice_objects(random_series())) if number != 2]
    write_objects(tmp_path / "study", gap, [f"{number}" for number in range(len(gap))])
    with pytest.raises(DataError, match=r"no scan that can be shown.*missing"):
        prepare_view(Viewed(tmp_path / "study"), out)


@pytest.mark.parametrize("name", ["a#b", "a?b", "a%b", "a b é 肺"])
def test_a_file_of_any_name_is_found_at_its_address(files: Path, out: Path, name: str) -> None:
    from fastapi.testclient import TestClient

    from vesal.serve.view_server import view_app

    for kind in ("scan", "mask"):
        (files / f"{kind}.nii.gz").rename(files / f"{name} {kind}.nii.gz")
    answer = prepare_view(Viewed(files / f"{name} scan.nii.gz", (files / f"{name} mask.nii.gz",)), out)
    assert answer.scan.name == f"{name} scan"
    client = TestClient(
        view_app(answer, out, "key"), base_url="http://localhost", cookies={"vesal-view-80": "key"}
    )
    for shown in (answer.scan, *answer.masks):
        assert client.get(shown.url).status_code == 200
