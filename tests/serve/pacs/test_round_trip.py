"""From Orthanc through Vesal's own prediction and back: what comes back is found by its identifiers, refers to the very
series, conforms to the standard, and is in other programs what was predicted."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from dicom_examples import Drawn, axial, write_series
from orthanc_server import Orthanc, needs_orthanc
from referees import (
    centroid,
    dciodvfy_errors,
    dcmqi_segments,
    needs_dciodvfy,
    needs_dcmqi,
    needs_plastimatch,
    plastimatch_masks,
)
from torch import Tensor

from vesal.data.labels import LabelSet
from vesal.infer.model import Model
from vesal.layouts.dicom.chosen_series import WantedScan
from vesal.layouts.input_scans import cases_to_predict
from vesal.planning.plan import Normalisation, Plan, Stage
from vesal.serve.pacs.archive import Archive
from vesal.serve.pacs.archive_watch import note_studies
from vesal.serve.pacs.pacs_jobs import StudyJobs, StudyState
from vesal.serve.pacs.pacs_settings import ArchiveSettings
from vesal.serve.pacs.study_journey import StudyJourney
from vesal.serve.pacs.study_query import parse_query
from vesal.volume.dicom import series_file
from vesal.workflow.predict import predict_cases
from vesal.workflow.requests.predict_options import PredictOptions

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

LABELS = LabelSet.from_values({"bone": 1})


def bright(batch: Tensor) -> Tensor:
    """Logits of what is brighter than 150: of bone in CT, of the ball in the phantom."""
    return torch.cat([0 * batch, (batch - 150.0) / 50.0], dim=1)


class _FromFile(Model):
    """As of a model file, whose digest stands in what is written."""

    @property
    def digest(self) -> str:
        return "ab" * 32


def model(spacing_mm: tuple[float, ...], patch: tuple[int, ...]) -> Model:
    plan = Plan.model_validate(
        {
            "dimension": 3,
            "spacing_mm": spacing_mm,
            "patch": patch,
            "batch": 1,
            "stages": (Stage(features=4, kernel=(3, 3, 3), stride=(1, 1, 1)),),
            "normalisation": (Normalisation(scheme="none"),),
            "mirror_axes": (),
            "channels": ("CT",),
            "labels": LABELS,
            "median_shape": patch,
        }
    )
    return _FromFile(plan, (bright,), torch.device("cpu"))  # type: ignore[arg-type]


def add_phantom(orthanc: Orthanc, folder: Path) -> None:
    x, y, z = np.indices((24, 20, 9))
    ball = np.sqrt((x - 10) ** 2 + (y - 9) ** 2 + (2.5 * (z - 4)) ** 2) < 6
    orthanc.add(*write_series(folder, Drawn((300 * ball).astype(np.int16), axial())))


def add_lung(orthanc: Orthanc, data_dir: Path) -> None:
    path = data_dir / "LUNG1-003" / "LUNG1-003.zip"
    if not path.is_file():
        pytest.skip(f"the real scans hold no {path}")
    with zipfile.ZipFile(path) as opened:
        for name in opened.namelist():
            if name.endswith(".dcm"):
                orthanc.post("/instances", opened.read(name))


@pytest.mark.parametrize("which", ["phantom", "LUNG1-003"])
def test_a_study_comes_back_with_objects_that_others_understand(
    which: str, orthanc: Orthanc, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if which == "phantom":
        add_phantom(orthanc, tmp_path / "phantom")
        spacing_mm, patch = (0.8, 0.9, 2.5), (16, 16, 8)
    else:
        add_lung(orthanc, request.getfixturevalue("data_dir"))
        spacing_mm, patch = (3.0, 3.0, 3.0), (96, 96, 48)
    before = set(orthanc.instances())

    def predict(folder: Path, out: Path) -> list[Path]:
        cases = cases_to_predict([folder], 1, dicom=WantedScan(("CT",), spacing_mm))
        found = predict_cases(
            model(spacing_mm, patch), cases, out, PredictOptions(to="dicom-seg,rtstruct,sr")
        )
        assert found.failures == []
        return sorted(out.glob("*.dcm"))

    archive = Archive(ArchiveSettings.of(url=orthanc.url))
    with StudyJobs(tmp_path / "studies.sqlite") as jobs:
        note_studies(archive, jobs, parse_query("Modality=CT"))
        journey = StudyJourney(jobs, tmp_path / "work", archive, predict, archive)
        while journey.work():
            pass
        (job,) = jobs.jobs()
        assert (job.state, job.reason) == (StudyState.STORED, "")
    (scan,) = job.series
    check(orthanc, archive, (job.study, scan), tmp_path)
    assert len(set(orthanc.instances()) - before) == 3


def check(orthanc: Orthanc, archive: Archive, uids: tuple[str, str], folder: Path) -> None:
    """Found by QIDO of another client, and what it should be."""
    study, scan = uids
    client = web.api.DICOMwebClient(orthanc.url)
    paths = archive.fetch(study, [scan], folder / "fetched")
    geometry = series_file.scan_of(paths[0]).stack.geometry
    files = {}
    for modality in ("SEG", "RTSTRUCT", "SR"):
        rows = [
            row
            for row in client.search_for_instances(study, search_filters={"Modality": modality})
            if orthanc.file(row["00080018"]["Value"][0]).find(b"Vesal") > 0
        ]
        assert len(rows) == 1, modality
        content = orthanc.file(rows[0]["00080018"]["Value"][0])
        assert scan.encode() in content, modality
        files[modality] = folder / f"{modality}.dcm"
        files[modality].write_bytes(content)
        assert dciodvfy_errors(files[modality]) == []
    mask = dcmqi_segments(files["SEG"], geometry, folder / "seg")[1]
    layers, grid, _ = series_file.read_layers(_beside(files["SEG"], paths[0]))
    assert mask.any()
    assert grid.close_to(geometry)
    assert np.array_equal(layers[0] == 1, mask)
    theirs = plastimatch_masks(files["RTSTRUCT"], paths[0].parent, folder / "rt")["bone"] != 0
    assert abs(int(theirs.sum()) - int(mask.sum())) <= 0.01 * mask.sum()
    assert np.abs(centroid(theirs) - centroid(mask)).max() <= 0.1
    report = pydicom.dcmread(files["SR"])
    assert str(pydicom.dcmread(BytesIO(files["SEG"].read_bytes())).SOPInstanceUID) in str(report)


def _beside(file: Path, scan: Path) -> Path:
    """The file where the series lies."""
    found = scan.with_name(file.name)
    found.write_bytes(file.read_bytes())
    return found
