"""Jobs over HTTP, computed by a real model in a real process."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import nibabel as nib
import numpy as np
import pytest
from fastapi.testclient import TestClient
from serve_client import ended, send, settings

from vesal.infer.predictor import load_model
from vesal.layouts.input_scans import cases_to_predict
from vesal.serve.http.application import build_app
from vesal.serve.http.job_routes import _options
from vesal.serve.jobs.job import Job
from vesal.serve.jobs.job_service import JobService
from vesal.workflow.deployment.served_models import ServedModel
from vesal.workflow.predict import predict_cases


@pytest.fixture(scope="module")
def model(trained_run: Path) -> Path:
    return trained_run / "fold_0" / "model.vesal"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def client(state: Path, model: Path) -> Iterator[httpx2.Client]:
    chosen = settings(state, model, limits={"upload_bytes": 1 << 20})
    with TestClient(build_app(chosen, JobService(chosen)), base_url="http://localhost") as found:
        yield found


@pytest.fixture(scope="module")
def scan(tiny_data: Path) -> Path:
    return tiny_data / "imagesTs" / "tiny_50.nii.gz"


def test_a_scan_comes_back_as_vesal_predict_segments_it(
    client: httpx2.Client, model: Path, scan: Path, tmp_path: Path, state: Path
) -> None:
    job = ended(client, send(client, (scan.name, scan.read_bytes()), to="nrrd,glb,stl,uncertainty"))
    assert (job["status"], job["error"], job["progress"]) == ("finished", None, 1.0)
    kinds = {file["kind"]: file for file in job["results"]}
    assert kinds.keys() == {"nifti", "scan", "nrrd", "glb", "stl", "uncertainty"}
    for file in job["results"]:
        answer = client.get(f"/api/jobs/{job['id']}/results/{file['name']}")
        assert len(answer.content) == file["bytes"]
        assert (
            hashlib.sha256(answer.content).hexdigest() == file["sha256"] == answer.headers["etag"].strip('"')
        )
    loaded = load_model(model, device="cpu")
    predict_cases(loaded, cases_to_predict([scan], 1, loaded.labels), tmp_path)
    expected = nib.load(tmp_path / "tiny_50.nii.gz")
    got = nib.Nifti1Image.from_bytes(
        gzip.decompress(client.get(f"/api/jobs/{job['id']}/results/{kinds['nifti']['name']}").content)
    )
    np.testing.assert_array_equal(got.get_fdata(), expected.get_fdata())
    np.testing.assert_array_equal(got.affine, expected.affine)
    (case,) = job["cases"]
    ml = float(np.prod(expected.header.get_zooms())) / 1000
    voxels = expected.get_fdata()
    assert case["volumes_ml"] == {
        "shell": pytest.approx((voxels == 1).sum() * ml, abs=1e-3),
        "core": pytest.approx((voxels == 7).sum() * ml, abs=1e-3),
    }
    # What was uploaded goes when the job has ended.
    assert sorted(path.name for path in (state / "jobs" / job["id"]).iterdir()) == ["results"]


def test_a_scan_that_breaks_off_fails_with_the_reason_and_leaves_nothing(
    client: httpx2.Client, scan: Path, state: Path
) -> None:
    job = ended(client, send(client, ("short.nii.gz", scan.read_bytes()[:-200])))
    assert job["status"] == "failed"
    assert "short.nii.gz" in job["error"]
    assert str(state) not in job["error"]
    assert list((state / "jobs" / job["id"]).iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"model": "brain"}, "no model 'brain'"),
        ({"to": "jpeg"}, "not 'jpeg'"),
        ({"threshold": "2"}, "not understood"),
        ({"threshold": "high"}, "is a number"),
        ({"colour": "red"}, "the field 'colour'"),
    ],
)
def test_a_form_that_is_not_understood_is_refused(
    client: httpx2.Client, scan: Path, fields: dict[str, str], reason: str
) -> None:
    answer = send(client, (scan.name, scan.read_bytes()), **fields)
    assert answer.status_code == 422
    assert reason in answer.json()["error"]


def test_an_upload_over_the_limit_is_refused(client: httpx2.Client, state: Path) -> None:
    answer = send(client, ("large.nii.gz", bytes(3 << 20)))
    assert answer.status_code == 413
    assert "larger than" in answer.json()["error"]
    assert list((state / "incoming").iterdir()) == []


def test_what_is_no_form_is_refused(client: httpx2.Client) -> None:
    answer = client.post("/api/jobs", content=b"scan", headers={"content-type": "application/octet-stream"})
    assert answer.status_code == 415


def test_a_form_that_breaks_off_is_refused(client: httpx2.Client) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.nii.gz"\r\n\r\n\x1f\x8b half'
    answer = client.post(
        "/api/jobs", content=body, headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert answer.status_code == 400
    assert "breaks off" in answer.json()["error"]


def test_a_finished_job_is_removed_with_its_files(client: httpx2.Client, scan: Path, state: Path) -> None:
    job = ended(client, send(client, (scan.name, scan.read_bytes())))
    assert client.delete(f"/api/jobs/{job['id']}").status_code == 204
    assert client.get(f"/api/jobs/{job['id']}").status_code == 404
    assert not (state / "jobs" / job["id"]).exists()


def test_a_job_that_was_to_be_cancelled_and_has_ended_is_kept(client: httpx2.Client, scan: Path) -> None:
    job = ended(client, send(client, (scan.name, scan.read_bytes())))
    answer = client.delete(f"/api/jobs/{job['id']}?keep_ended=true")
    assert (answer.status_code, answer.json()["status"]) == (200, "finished")
    assert client.get(f"/api/jobs/{job['id']}").json()["results"] == job["results"] != []


def test_a_job_that_waits_is_cancelled(client: httpx2.Client, scan: Path) -> None:
    sent = [send(client, (scan.name, scan.read_bytes())) for _ in range(3)]
    last = sent[-1].headers["location"]
    assert client.delete(last).json()["status"] == "cancelled"
    for answer in sent[:-1]:
        assert ended(client, answer)["status"] == "finished"
    assert client.get(last).json()["results"] == []
    assert [job["id"] for job in client.get("/api/jobs").json()][:3] == [
        answer.json()["id"] for answer in reversed(sent)
    ]


def test_a_name_that_is_no_result_is_not_served(client: httpx2.Client, scan: Path) -> None:
    job = ended(client, send(client, (scan.name, scan.read_bytes())))
    for name in ("../../jobs.sqlite", "%2e%2e%2fjobs.sqlite", "other.nii.gz"):
        assert client.get(f"/api/jobs/{job['id']}/results/{name}").status_code == 404


def test_models_are_described(client: httpx2.Client) -> None:
    (model,) = client.get("/api/models").json()
    assert model["name"] == "tiny"
    assert [(label["name"], label["value"]) for label in model["labels"]] == [("shell", 1), ("core", 7)]
    assert set(model["measured"]) == {"shell", "core", "mean"}


def test_numbers_and_state_are_told(client: httpx2.Client, scan: Path) -> None:
    ended(client, send(client, (scan.name, scan.read_bytes())))
    assert client.get("/ready").json() == {"status": "ready"}
    text = client.get("/metrics").text
    assert 'vesal_jobs_ended_total{model="tiny",status="finished"}' in text
    assert scan.name not in text
    assert client.get("/api/limits").json()["upload_bytes"] == 1 << 20


def test_the_interface_is_described(client: httpx2.Client) -> None:
    described = client.get("/api/openapi.json").json()
    assert "multipart/form-data" in described["paths"]["/api/jobs"]["post"]["requestBody"]["content"]


def test_while_an_upload_becomes_a_job_others_are_answered(
    model: Path, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = JobService(settings(tmp_path / "other", model))
    accept, accepting, answered = service.accept, threading.Event(), threading.Event()

    def slowly(*given: Any) -> Job:
        accepting.set()
        assert answered.wait(20), "nobody was answered meanwhile"
        return accept(*given)

    monkeypatch.setattr(service, "accept", slowly)
    with (
        TestClient(
            build_app(settings(tmp_path / "other", model), service), base_url="http://localhost"
        ) as own,
        ThreadPoolExecutor(1) as pool,
    ):
        sent = pool.submit(send, own, (scan.name, scan.read_bytes()))
        assert accepting.wait(20)
        assert own.get("/health").status_code == 200
        answered.set()
        assert sent.result(20).status_code == 202


def test_series_are_named_once_for_each_channel(client: httpx2.Client) -> None:
    found = _options({"series": "4\nax FLAIR, 3 mm", "to": "glb\nstl"}, client_models(client)[0])
    assert found.series == ("4", "ax FLAIR, 3 mm")
    assert found.to == ("nifti", "glb", "stl")


def client_models(client: httpx2.Client) -> list[ServedModel]:
    return [ServedModel.model_validate(one) for one in client.get("/api/models").json()]
