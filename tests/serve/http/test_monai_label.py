"""MONAI Label's own client, unchanged, with a Vesal model."""

from __future__ import annotations

import importlib.util
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import httpx2
import nibabel as nib
import numpy as np
import pytest
import uvicorn
from serve_client import settings

from vesal.infer.predictor import load_model
from vesal.layouts.input_scans import cases_to_predict
from vesal.serve.http.application import build_app
from vesal.serve.jobs.job_service import JobService
from vesal.workflow.predict import predict_cases

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def model(trained_run: Path) -> Path:
    return trained_run / "fold_0" / "model.vesal"


@pytest.fixture(scope="module")
def scan(tiny_data: Path) -> Path:
    return tiny_data / "imagesTs" / "tiny_50.nii.gz"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[str]:
    chosen = settings(tmp_path_factory.mktemp("state"), model, token=TOKEN)
    config = uvicorn.Config(build_app(chosen, JobService(chosen)), port=0, log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.01)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    yield f"http://{host}:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def theirs() -> ModuleType:
    """Their module alone: the package would bring its server, and all that this needs."""
    found = importlib.util.find_spec("monailabel")
    if found is None or found.origin is None:
        pytest.skip("MONAI Label is not installed (pip install --no-deps monailabel)")
    file = Path(found.origin).parent / "client" / "client.py"
    spec = importlib.util.spec_from_file_location("monai_label_client", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        pytest.skip(f"MONAI Label's client needs {error.name}, which this Python lacks")
    return module


def expected(model: Path, scan: Path, folder: Path) -> np.ndarray:
    loaded = load_model(model, device="cpu")
    predict_cases(loaded, cases_to_predict([scan], 1, loaded.labels), folder)
    return np.asarray(nib.load(folder / "tiny_50.nii.gz").dataobj)


@pytest.mark.clinic
def test_their_client_logs_in_infers_on_a_file_and_on_a_session(
    address: str, theirs: ModuleType, model: Path, scan: Path, tmp_path: Path
) -> None:
    client = theirs.MONAILabelClient(address, str(tmp_path), client_id="someone")
    assert client.auth_enabled()
    assert not client.auth_valid_token()
    token = client.auth_token("anyone", TOKEN)
    client.update_auth(token)
    assert client.auth_valid_token()
    info = client.info()
    assert info["models"]["tiny"]["labels"] == {"shell": 1, "core": 7}
    truth = expected(model, scan, tmp_path / "expected")

    image, params = client.infer("tiny", "", {}, file=str(scan))
    np.testing.assert_array_equal(np.asarray(nib.load(image).dataobj), truth)
    assert params["label_names"] == {"shell": 1, "core": 7}

    # A new one, as Slicer makes for each request: after a form it sends that form's boundary with whatever follows.
    client = theirs.MONAILabelClient(address, str(tmp_path))
    client.update_auth(token)
    session = client.create_session(str(scan))["session_id"]
    assert client.get_session(session)["image"] == scan.name
    image, params = client.infer("tiny", "", {}, session_id=session)
    np.testing.assert_array_equal(np.asarray(nib.load(image).dataobj), truth)
    assert set(params["volumes_ml"]) == {"shell", "core"}
    client = theirs.MONAILabelClient(address, str(tmp_path))
    client.update_auth(token)
    client.remove_session(session)
    with pytest.raises(theirs.MONAILabelClientException):
        client.get_session(session)


@pytest.mark.clinic
def test_their_client_is_told_why_something_fails(
    address: str, theirs: ModuleType, scan: Path, tmp_path: Path
) -> None:
    client = theirs.MONAILabelClient(address, str(tmp_path))
    with pytest.raises(theirs.MONAILabelClientException):
        client.info()  # without a token
    with pytest.raises(theirs.MONAILabelClientException):
        client.auth_token("anyone", "a wrong password")
    client.update_auth(client.auth_token("anyone", TOKEN))
    with pytest.raises(theirs.MONAILabelClientException, match="There is no model"):
        client.infer("other", "", {}, file=str(scan))
    with pytest.raises(theirs.MONAILabelClientException, match="keeps no data set"):
        client.infer("tiny", "image-of-a-datastore", {})


def test_answers_in_other_forms(address: str, scan: Path) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    with httpx2.Client(base_url=address, headers=headers, timeout=120.0) as client:
        files = {"file": (scan.name, scan.read_bytes())}
        assert client.post("/infer/tiny?output=json", files=files).json()["label_names"] == {
            "shell": 1,
            "core": 7,
        }
        image = client.post("/infer/tiny?output=image", files=files)
        assert image.content.startswith(b"\x1f\x8b")
        broken = {"file": ("short.nii.gz", scan.read_bytes()[:300])}
        answer = client.post("/infer/tiny", files=broken)
        assert answer.status_code == 422
        assert "short.nii.gz" in answer.json()["error"]
        two = io.BytesIO()
        with zipfile.ZipFile(two, "w") as archive:
            for name in ("one.nii.gz", "two.nii.gz"):
                archive.write(scan, name)
        answer = client.post("/infer/tiny", files={"file": ("two.zip", two.getvalue())})
        assert (answer.status_code, "holds 2 scans" in answer.json()["error"]) == (422, True)


def test_a_name_of_any_letters_comes_back_and_a_file_beside_a_session_is_no_error_of_ours(
    address: str, scan: Path
) -> None:
    head = {"authorization": f"Bearer {TOKEN}"}
    with httpx2.Client(base_url=address, headers=head, timeout=60.0) as client:
        file = {"file": ("肺.nii.gz", scan.read_bytes())}
        answer = client.post("/infer/tiny?output=image", files=file)
        assert answer.status_code == 200
        assert "filename*=" in answer.headers["content-disposition"]
        session = client.put("/session/", files=file).json()["session_id"]
        answer = client.post(f"/infer/tiny?session_id={session}", files=file)
        assert (answer.status_code, "2 came" in answer.json()["error"]) == (400, True)
