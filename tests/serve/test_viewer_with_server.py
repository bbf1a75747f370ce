"""The viewer in headless Chromium, on `vesal serve` itself with a trained model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from dicom_examples import MR, Drawn, write_series
from serve_client import serving
from viewer_page import ViewerPage, chromium

from vesal.infer.predictor import load_model
from vesal.layouts.input_scans import cases_to_predict
from vesal.workflow.predict import predict_cases

pytestmark = pytest.mark.clinic

#: Where the picture is copied to as viewer.png, such as docs; and the folder that `make demo` wrote, whose model and
#: first held-out scan are in it then.
SCREENSHOTS, DEMO = "VESAL_SCREENSHOTS", "VESAL_DEMO"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def model(trained_run: Path) -> Path:
    return trained_run / "fold_0" / "model.vesal"


@pytest.fixture(scope="module")
def client(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with serving(tmp_path_factory.mktemp("server") / "state", model) as (_, found):
        yield found


@pytest.fixture
def page(browser: Any, client: Any) -> Iterator[ViewerPage]:
    made = ViewerPage(browser, str(client.base_url))
    yield made
    assert made.trouble == []
    made.close()


@pytest.fixture(scope="module")
def scan(tiny_data: Path) -> Path:
    return tiny_data / "imagesTs" / "tiny_50.nii.gz"


def expected(model: Path, scan: Path, folder: Path) -> np.ndarray:
    loaded = load_model(model, device="cpu")
    predict_cases(loaded, cases_to_predict([scan], 1, loaded.labels), folder)
    return np.asarray(nib.load(folder / scan.name).dataobj)


def test_a_scan_that_is_uploaded_comes_back_as_the_server_segments_it(
    page: ViewerPage, client: Any, model: Path, scan: Path, tmp_path: Path
) -> None:
    page.upload(scan)
    assert page.pixels().std() > 10
    name, content = page.download("Mask (NIfTI)")
    (job,) = client.get("/api/jobs?most=1").json()
    assert content == client.get(f"/api/jobs/{job['id']}/results/{name}").content
    (tmp_path / "mask.nii.gz").write_bytes(content)
    found = np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj)
    np.testing.assert_array_equal(found, expected(model, scan, tmp_path / "expected"))


def test_a_folder_of_dicom_gives_objects_to_download(page: ViewerPage, scan: Path, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    image = nib.load(scan)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    values = np.asarray(image.dataobj).astype(np.int16)
    write_series(tmp_path / "study", Drawn(values, lps, modality="MR", kind=MR))
    page.open()
    page.give(tmp_path / "study", folder=True)
    page.ask_for("Mask (DICOM SEG)", "Contours (DICOM RTSTRUCT)")
    page.start()
    page.wait_for_result()
    assert page.pixels().std() > 10
    for button, modality in (("Mask (DICOM SEG)", "SEG"), ("Contours (DICOM RTSTRUCT)", "RTSTRUCT")):
        name, content = page.download(button)
        (tmp_path / name).write_bytes(content)
        assert pydicom.dcmread(tmp_path / name).Modality == modality


def test_a_scan_that_cannot_be_read_is_told(page: ViewerPage, scan: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(scan.read_bytes()[:-100])
    page.open()
    page.give(cut)
    page.start()
    page.page.get_by_role("alert").get_by_text("cut.nii.gz").wait_for()


def test_the_picture_of_the_readme(browser: Any, model: Path, scan: Path, tmp_path: Path) -> None:
    """Drawn of the demo where it was made, else of what these tests have."""
    if demo := os.environ.get(DEMO):
        model = Path(demo) / "run"
        scan = next(iter(sorted((Path(demo) / "run" / "fold_0" / "predictions").glob("*.nii.gz"))))
        scan = next(Path(demo).rglob(f"imagesTr/{scan.name}"))
    with serving(tmp_path / "state", model) as (_, client):
        page = ViewerPage(
            browser, str(client.base_url), color_scheme="dark", viewport={"width": 1280, "height": 800}
        )
        page.upload(scan)
        assert page.pixels().std() > 10
        page.page.screenshot(path=tmp_path / "viewer.png")
        page.close()
    if folder := os.environ.get(SCREENSHOTS):
        shutil.copyfile(tmp_path / "viewer.png", Path(folder) / "viewer.png")
