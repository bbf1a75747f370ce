"""`vesal serve` beside a real archive: a study goes in, its results come out, once, whatever is killed between."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from dicom_examples import MR, Drawn, write_series
from orthanc_server import Orthanc, needs_orthanc, running
from serve_client import PATIENCE_S, serving, settings

from vesal.errors import DataError, VesalError
from vesal.serve.jobs.job import Job, JobOptions, Outcome, ResultFile, Status
from vesal.serve.jobs.job_service import JobService
from vesal.serve.jobs.supervisor import Ended, JobOrder
from vesal.serve.pacs.retries import Stopped
from vesal.serve.pacs_service import PredictStudy

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")

STORED = {"SEG", "RTSTRUCT", "SR"}


# --- a study as a job, without an archive -------------------------------------------------------------------


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobService]:
    made = JobService(settings(tmp_path / "state", Path("tiny.vesal")))
    yield made
    made.stop()


def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study-1" / "scans"
    folder.mkdir(parents=True)
    (folder / "a.dcm").write_bytes(b"slice")
    return folder


def ending(service: JobService, monkeypatch: pytest.MonkeyPatch, *ends: Ended) -> list[JobOrder]:
    """Let jobs end so, one after the other; what was computed."""
    computed: list[JobOrder] = []

    def compute(order: JobOrder) -> Ended:
        computed.append(order)
        assert (order.inputs[0] / "a.dcm").read_bytes().startswith(b"slice")
        order.folder.mkdir()
        (order.folder / "a.seg.dcm").write_bytes(b"segmentation")
        return ends[len(computed) - 1]

    monkeypatch.setattr(service._supervisor, "compute", compute)
    service.start()
    return computed


DONE = Ended(
    outcome=Outcome(
        results=(
            ResultFile(name="a.seg.dcm", kind="dicom-seg", case="a", bytes=12, sha256=""),
            ResultFile(name="a.nii.gz", kind="nifti", case="a", bytes=1, sha256=""),
        )
    )
)


def test_a_study_is_segmented_once_however_often_it_is_asked_for(
    service: JobService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = ending(service, monkeypatch, DONE)
    predict = PredictStudy(service, "tiny", ("dicom-seg",), threading.Event())
    for _ in range(2):
        (path,) = predict(study(tmp_path / str(len(computed))).parent / "scans", tmp_path / "out")
        assert path.read_bytes() == b"segmentation"
    assert len(computed) == 1
    assert computed[0].job.options == JobOptions(to=("nifti", "dicom-seg"))


def test_a_study_that_was_corrected_gets_no_result_of_before(
    service: JobService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = ending(service, monkeypatch, DONE, DONE)
    predict = PredictStudy(service, "tiny", ("dicom-seg",), threading.Event())
    folder = study(tmp_path)
    predict(folder, tmp_path / "out")
    # The archive's, with another patient's name and the same identifiers.
    (folder / "a.dcm").write_bytes(b"slice of another patient")
    predict(folder, tmp_path / "out")
    assert len(computed) == 2


def test_a_study_gets_no_result_of_another_model_of_the_same_name(
    service: JobService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = ending(service, monkeypatch, DONE, DONE)
    folder = study(tmp_path)
    for made_by in ("first", "first", "second"):
        PredictStudy(service, "tiny", ("dicom-seg",), threading.Event(), made_by)(folder, tmp_path / "out")
    assert len(computed) == 2


def test_a_failed_study_is_tried_anew(
    service: JobService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = ending(service, monkeypatch, Ended(error="No memory."), DONE)
    predict = PredictStudy(service, "tiny", ("dicom-seg",), threading.Event())
    folder = study(tmp_path)
    with pytest.raises(VesalError, match=r"No memory\.") as failed:
        predict(folder, tmp_path / "out")
    assert not isinstance(failed.value, DataError)
    assert predict(folder, tmp_path / "out")
    assert len(computed) == 2


def test_a_study_that_no_try_would_segment_is_told_as_such(
    service: JobService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending(service, monkeypatch, Ended(error="A slice is missing.", refused=True))
    with pytest.raises(DataError, match="A slice is missing"):
        PredictStudy(service, "tiny", ("dicom-seg",), threading.Event())(study(tmp_path), tmp_path / "out")


def test_a_server_that_ends_leaves_the_study_to_the_next(service: JobService, tmp_path: Path) -> None:
    service.start()
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        PredictStudy(service, "tiny", ("dicom-seg",), stop)(study(tmp_path), tmp_path / "out")


def test_results_that_expired_are_made_again(
    service: JobService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = ending(service, monkeypatch, DONE, DONE)
    predict = PredictStudy(service, "tiny", ("dicom-seg",), threading.Event())
    folder = study(tmp_path)
    predict(folder, tmp_path / "out")
    job: Job | None = service.get(computed[0].job.id)
    assert job is not None
    assert job.status is Status.FINISHED
    (service.results(job) / "a.seg.dcm").unlink()
    with pytest.raises(VesalError, match="made again"):
        predict(folder, tmp_path / "out")
    assert predict(folder, tmp_path / "out")


# --- beside Orthanc -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running(tmp_path_factory.mktemp("orthanc")) as found:
        yield found


@pytest.fixture
def model(trained_run: Path, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.vesal"
    path.write_bytes((trained_run / "fold_0" / "model.vesal").read_bytes())
    return path


def add_study(orthanc: Orthanc, scan: Path, folder: Path) -> str:
    """An MR study of a scan; its UID."""
    image = nib.load(scan)
    values = np.asarray(image.dataobj).astype(np.int16)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    paths = write_series(folder, Drawn(values, lps, modality="MR", kind=MR))
    orthanc.add(*paths)
    return str(pydicom.dcmread(paths[0]).StudyInstanceUID)


def stored(orthanc: Orthanc) -> list[str]:
    """Modalities of what lies in the archive, beside scans."""
    found = [one["MainDicomTags"]["Modality"] for one in orthanc.get("/series?expand")]
    return sorted(one for one in found if one != "MR")


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.clinic
@needs_orthanc
def test_a_study_of_the_archive_comes_back_once_whatever_is_killed(
    orthanc: Orthanc, model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    orthanc.delete_all()
    uid = add_study(orthanc, tiny_data / "imagesTs" / "tiny_50.nii.gz", tmp_path / "scan")
    beside = ["--pacs", orthanc.url, "--study", f"StudyInstanceUID={uid}"]
    for moment in ("fetched", "predicted"):
        with serving(tmp_path / "state", model, *beside) as (process, client):

            def there(client: Any = client, moment: str = moment) -> bool:
                states = [one["state"] for one in client.get("/api/studies").json()]
                return bool(states) and states[0] in (moment, "predicted", "stored")

            until(there)
            process.send_signal(signal.SIGKILL)
            process.wait()
    with serving(tmp_path / "state", model, *beside) as (_, client):
        until(lambda: [one["state"] for one in client.get("/api/studies").json()] == ["stored"])
        assert stored(orthanc) == sorted(STORED)
        # Asked for again there is nothing to do.
        assert client.post("/api/studies", json={"query": f"StudyInstanceUID={uid}"}).json() == {"noted": 0}
        (told,) = client.get("/api/studies").json()
        assert uid not in str(told)
        assert client.post("/api/studies", json={"query": "Moddality=CT"}).status_code == 400
    log = (tmp_path / "server.log").read_text()
    assert uid not in log
    assert "stored" in log


@pytest.mark.clinic
@needs_orthanc
def test_a_study_that_arrives_is_taken(
    orthanc: Orthanc, model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    orthanc.delete_all()
    options = f"--pacs {orthanc.url} --watch Modality=MR --watch-every 0.2 --watch-stable 0.4".split()
    with serving(tmp_path / "state", model, *options, "--pacs-to", "dicom-seg") as (_, client):
        until(lambda: client.get("/ready").status_code == 200)
        time.sleep(0.5)  # one look at the empty archive: what is there before is not taken
        add_study(orthanc, tiny_data / "imagesTs" / "tiny_50.nii.gz", tmp_path / "scan")
        until(lambda: stored(orthanc) == ["SEG"])
