"""`vesal train`, `vesal serve` and Orthanc with a lung CT among other studies: what comes back into the archive is in
every program the mask that the server made."""

from __future__ import annotations

import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicom_examples import Drawn, axial, write_series
from orthanc_server import Orthanc, needs_orthanc, running
from referees import (
    centroid,
    dciodvfy_errors,
    dcmqi_segments,
    needs_dciodvfy,
    needs_dcmqi,
    needs_plastimatch,
    on_grid,
    plastimatch_masks,
)
from serve_client import serving

from vesal.volume.dicom import series_file

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")
web = pytest.importorskip("dicomweb_client", reason="the extra serve is not installed")
pytestmark = [
    pytest.mark.clinic,
    needs_orthanc,
    needs_dciodvfy,
    needs_dcmqi,
    needs_plastimatch,
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

LABELS = {"Lung L": 1, "Lung R": 2, "Heart": 3, "Spinal cord": 4}
#: Seconds for a scan of 512 x 512 x 107 voxels on a busy machine, three objects and their way back.
PATIENCE_S = 300.0


@pytest.fixture(scope="module")
def archive(data_dir: Path) -> Path:
    found = data_dir / "LUNG1-003" / "LUNG1-003.zip"
    if not found.is_file():
        pytest.skip(f"the real scans hold no {found}")
    return found


@pytest.fixture(scope="module")
def run(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the study's own structures: nothing is measured here but the way."""
    folder = tmp_path_factory.mktemp("lung")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder / "data")
    settings = ["plan.spacing_mm=6,6,6", *(f"labels.{name}={value}" for name, value in LABELS.items())]
    command = ["train", str(folder / "data"), "-o", str(folder / "run"), "--fold", "none", "--budget", "40s"]
    command += [part for setting in settings for part in ("--set", setting)]
    subprocess.run([sys.executable, "-m", "vesal.cli", *command], check=True, stdout=subprocess.DEVNULL)
    return folder / "run"


def test_a_lung_ct_comes_back_from_the_server_as_it_was_segmented(
    archive: Path, run: Path, tmp_path: Path
) -> None:
    with running(tmp_path / "orthanc") as orthanc:
        with zipfile.ZipFile(archive) as opened:
            for name in opened.namelist():
                if name.endswith(".dcm"):
                    orthanc.post("/instances", opened.read(name))
        noise = np.random.default_rng(0).normal(0.0, 300.0, (20, 24, 9)).astype(np.int16)
        orthanc.add(*write_series(tmp_path / "phantom", Drawn(noise, axial())))
        before = set(orthanc.instances())
        query = ["--pacs", orthanc.url, "--study", "PatientID=LUNG1-003"]
        with serving(tmp_path / "state", run, *query) as (_, client):
            deadline = time.monotonic() + PATIENCE_S
            while (found := [one["state"] for one in client.get("/api/studies").json()]) != ["stored"]:
                assert "failed" not in found, client.get("/api/studies").json()
                assert time.monotonic() < deadline
                time.sleep(0.2)
        made = set(orthanc.instances()) - before
        assert len(made) == 3
        check(orthanc, made, segmented(tmp_path / "state"), tmp_path)


def segmented(state: Path) -> Path:
    """The mask that the server holds, beside the scan that it was made of."""
    (path,) = (
        one for one in (state / "jobs").rglob("results/*.nii.gz") if not one.name.endswith(".scan.nii.gz")
    )
    return path


def check(orthanc: Orthanc, made: set[str], mask: Path, folder: Path) -> None:
    """Found by QIDO, of the CT, without an error, and voxel for voxel the mask."""
    client = web.api.DICOMwebClient(orthanc.url)
    (study,) = client.search_for_studies(search_filters={"PatientID": "LUNG1-003"})
    study_uid = study["0020000D"]["Value"][0]
    (scan,) = client.search_for_series(study_uid, search_filters={"Modality": "CT"})
    scan_uid = scan["0020000E"]["Value"][0]
    ct = folder / "ct"
    ct.mkdir()
    for number, row in enumerate(client.search_for_instances(study_uid, scan_uid)):
        (ct / f"{number}.dcm").write_bytes(orthanc.file(row["00080018"]["Value"][0]))
    grid = series_file.scan_of(ct / "0.dcm").stack.geometry
    files = {}
    for modality in ("SEG", "RTSTRUCT", "SR"):
        rows = client.search_for_instances(study_uid, search_filters={"Modality": modality})
        (uid,) = {row["00080018"]["Value"][0] for row in rows} & made
        content = orthanc.file(uid)
        assert scan_uid.encode() in content, modality
        files[modality] = folder / f"{modality}.dcm"
        files[modality].write_bytes(content)
        assert dciodvfy_errors(files[modality]) == []
    segments = dcmqi_segments(files["SEG"], grid, folder / "seg")
    found = plastimatch_masks(files["RTSTRUCT"], ct, folder / "rt")
    contours = {name.replace("_", " "): contour for name, contour in found.items()}
    named = {one.SegmentNumber: one.SegmentLabel for one in pydicom.dcmread(files["SEG"]).SegmentSequence}
    assert set(named.values()) == set(LABELS)
    for number, name in named.items():
        ours = on_grid(mask, grid, LABELS[name])
        assert np.array_equal(segments[number], ours), name
        if name not in contours:
            # So few steps may find no cord: a segment without a frame, a region without contours.
            assert not ours.any(), name
            assert name not in ("Lung L", "Lung R")
            continue
        theirs = contours[name] != 0
        assert abs(int(theirs.sum()) - int(ours.sum())) <= 0.01 * ours.sum(), name
        assert np.abs(centroid(theirs) - centroid(ours)).max() <= 0.1, name
