"""`vesal export --to web`: the folder, and what its page computes in headless Chromium."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import nibabel as nib
import numpy as np
import pytest
from dicom_examples import MR, Drawn, write_series
from fastapi.testclient import TestClient
from test_import_cascade import plain as cascade
from test_import_model import scan as their_scan
from their_bundle import SPLEEN, metadata_of, network_of, write_bundle
from their_networks import TheirNetwork, dataset_of, kwargs_of, plans_of, write_folder
from viewer_page import ViewerPage, chromium

from vesal.errors import UsageError
from vesal.infer.predictor import load_model
from vesal.layouts.input_scans import cases_to_predict
from vesal.planning.plan import Normalisation, Plan
from vesal.serve.view_server import page_app
from vesal.volume.io import write_volume
from vesal.workflow.deployment import web_export
from vesal.workflow.deployment.web_export import export_web
from vesal.workflow.model_exchange.import_model import import_model
from vesal.workflow.predict import predict_cases
from vesal.workflow.requests.import_request import ImportRequest

for library in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(library, reason="the extra onnx is not installed")


@pytest.fixture(scope="module")
def model(trained_run: Path) -> Path:
    return trained_run / "fold_0" / "model.vesal"


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the page, where it was not built."""
    files = tmp_path / "built"
    for name in ("index.html", "web.html", "assets/app.js", "ort/runtime.wasm"):
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        (files / name).write_text(name)
    monkeypatch.setattr(web_export, "FILES", files)
    monkeypatch.setattr(web_export, "is_built", lambda: True)
    return files


def test_the_folder_holds_the_page_the_model_and_nothing_of_the_training(
    model: Path, built: Path, tmp_path: Path
) -> None:
    done = export_web(model, tmp_path / "page")
    names = {file.relative_to(done.folder).as_posix() for file in done.folder.rglob("*") if file.is_file()}
    assert names == {
        "index.html", "assets/app.js", "ort/runtime.wasm", "model.json", "model.onnx", "vesal-outputs.jsonl"
    }  # fmt: skip
    assert (done.folder / "index.html").read_text() == "web.html"
    assert done.logits < 1e-3
    told = json.loads((done.folder / "model.json").read_text())
    assert told["networks"] == ["model.onnx"]
    assert told["shown"]["labels"][1]["value"] == 7
    assert len(told["usual_shape"]) == told["plan"]["dimension"]
    assert "tiny_00" not in json.dumps(told)
    assert "vesal view" in done.text()
    # Once more: what Vesal wrote there is replaced; what somebody else did is not.
    export_web(model, tmp_path / "page")
    (done.folder / "index.html").write_text("mine")
    with pytest.raises(UsageError, match=r"index\.html"):
        export_web(model, tmp_path / "page")


def of_nnunet(folder: Path, folds: int = 1) -> Path:
    """Random weights, axes as files store them, a z-score within the mask."""
    networks = {str(seed): TheirNetwork(kwargs_of(3), 1, 3, seed=seed) for seed in range(folds)}
    write_folder(folder / "theirs", plans_of(use_mask_for_norm=[True]), dataset_of(), networks)
    import_model(ImportRequest(folder / "theirs", folder / "nnunet.vesal"))
    return folder / "nnunet.vesal"


def of_monai(folder: Path) -> Path:
    pytest.importorskip("monai", reason="MONAI is not installed (extra monai)")
    metadata = metadata_of(["image"], ["background", "spleen"])
    write_bundle(folder / "bundle", SPLEEN, network_of(SPLEEN, 0), metadata)
    import_model(ImportRequest(folder / "bundle", folder / "monai.vesal"))
    return folder / "monai.vesal"


def test_a_model_of_nnunets_is_exported_with_its_rules(built: Path, tmp_path: Path) -> None:
    done = export_web(of_nnunet(tmp_path), tmp_path / "page")
    assert done.logits < 1e-3
    told = json.loads((done.folder / "model.json").read_text())
    plan = told["plan"]
    assert (plan["rules"], plan["axis_order"], plan["as_stored"]) == ("nnunet", [2, 1, 0], True)
    assert [how["scheme"] for how in plan["normalisation"]] == ["zscore_mask"]


def test_a_cascade_is_refused(built: Path, tmp_path: Path) -> None:
    import_model(
        ImportRequest(cascade(tmp_path)[0], tmp_path / "cascade.vesal", configuration="3d_cascade_fullres")
    )
    with pytest.raises(UsageError, match=r"cascade\.vesal is a cascade, .* serve it by vesal serve"):
        export_web(tmp_path / "cascade.vesal", tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_a_box_within_axes_of_another_program_is_refused(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = web_export.describe_export

    def located(*given: Any) -> Any:
        exported, parts = describe(*given)
        return replace(exported, plan=exported.plan.model_copy(update={"locator": exported.plan})), parts

    monkeypatch.setattr(web_export, "describe_export", located)
    with pytest.raises(UsageError, match="looks in a box and prepares scans as another program does"):
        export_web(of_nnunet(tmp_path), tmp_path / "page")


def test_all_that_a_plan_says_reaches_the_page_or_is_none_of_its_business() -> None:
    network = {"stages", "heads", "norm", "activation", "pooling", "bias"}
    training = {"version", "batch", "networks", "label_order", "mirror_axes", "median_shape", "reasons"}
    # The locator goes beside the plan; what hands on masks, and pictures, are refused.
    otherwise = {"locator", "handed_on", "pixel_mm"}
    assert set(Plan.model_fields) == web_export.FIELDS | network | training | otherwise
    told = (Path(__file__).parents[3] / "viewer" / "src" / "infer" / "model.ts").read_text()
    kinds = (Normalisation.model_fields["scheme"], Plan.model_fields["rules"], Plan.model_fields["blend"])
    for kind in kinds:
        assert all(f"'{name}'" in told for name in get_args(kind.annotation))


def test_without_the_page_nothing_is_written(model: Path, built: Path, tmp_path: Path) -> None:
    (built / "web.html").unlink()
    with pytest.raises(UsageError, match="make viewer"):
        export_web(model, tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_a_page_that_is_viewed_is_isolated_so_that_browsers_give_it_threads(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<title>page</title>")
    (tmp_path / "a.wasm").write_bytes(b"\0asm")
    client = TestClient(page_app(tmp_path), base_url="http://127.0.0.1")
    assert "page" in client.get("/").text
    answer = client.get("/a.wasm")
    assert answer.headers["content-type"] == "application/wasm"
    assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert client.get("/../conftest.py").status_code == 404
    # A worker takes the policy of its own file; and another name that leads here is another site's.
    page = (Path(__file__).parents[3] / "viewer" / "web.html").read_text()
    assert f'content="{answer.headers["content-security-policy"]}"' in page
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


# --- in the browser --------------------------------------------------------------------------------------


@contextmanager
def viewing(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "vesal.cli", "view", str(folder), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[2]
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def address(browser: Any, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("web") / "page"
    export_web(model, folder)
    with viewing(folder) as found:
        yield found


def segmented_here(page: ViewerPage, folder: Path) -> nib.Nifti1Image:
    page.start()
    page.wait_for_result()
    assert page.pixels().std() > 10
    name, content = page.download("Mask (NIfTI)")
    (folder / name).write_bytes(content)
    return nib.load(folder / name)


def expected(model: Path, scan: Path, folder: Path) -> nib.Nifti1Image:
    loaded = load_model(model, device="cpu", backend="torch", precision="32")
    predict_cases(loaded, cases_to_predict([scan], 1, loaded.labels), folder)
    return nib.load(folder / scan.name)


@pytest.mark.clinic
def test_the_browser_alone_segments_as_vesal_does_and_asks_nobody(
    browser: Any, address: str, model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    page = ViewerPage(browser, address)
    # Turned and flipped: the mask lies on the scan in its own order of axes.
    image = nib.load(tiny_data / "imagesTs" / "tiny_50.nii.gz")
    turned = image.as_reoriented(np.array([[1, -1], [2, 1], [0, 1]]))
    nib.save(turned, tmp_path / "turned.nii.gz")
    for scan in (tiny_data / "imagesTs" / "tiny_50.nii.gz", tmp_path / "turned.nii.gz"):
        page.open()
        page.give(scan)
        found = segmented_here(page, tmp_path)
        wanted = expected(model, scan, tmp_path / "expected")
        np.testing.assert_array_equal(found.affine, wanted.affine)
        same = np.asarray(found.dataobj) == np.asarray(wanted.dataobj)
        assert same.mean() > 0.999
        assert set(np.unique(np.asarray(found.dataobj))) == {0, 1, 7}
    # No request left the page's own origin, and nothing was sent there.
    assert page.trouble == []
    page.close()


@pytest.mark.clinic
@pytest.mark.parametrize("theirs", [partial(of_nnunet, folds=2), of_monai], ids=["nnunet", "monai"])
def test_the_browser_segments_by_the_rules_of_other_programs(
    browser: Any, theirs: Callable[[Path], Path], tmp_path: Path
) -> None:
    model, scan = theirs(tmp_path), tmp_path / "scan.nii.gz"
    write_volume(scan, their_scan((0.8, 0.9, 7.0), flips=(-1, -1, 1)))
    export_web(model, tmp_path / "page")
    with viewing(tmp_path / "page") as address:
        page = ViewerPage(browser, address).open()
        page.give(scan)
        found = np.asarray(segmented_here(page, tmp_path).dataobj)
        page.close()
    wanted = np.asarray(expected(model, scan, tmp_path / "expected").dataobj)
    assert (found == wanted).mean() > 0.999
    assert 0.01 < (wanted > 0).mean() < 0.99


@pytest.mark.clinic
def test_the_browser_reads_a_folder_of_dicom(
    browser: Any, address: str, model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    scan = tiny_data / "imagesTs" / "tiny_50.nii.gz"
    image = nib.load(scan)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    write_series(
        tmp_path / "study", Drawn(np.asarray(image.dataobj).astype(np.int16), lps, modality="MR", kind=MR)
    )
    page = ViewerPage(browser, address).open()
    page.give(tmp_path / "study", folder=True)
    found = nib.as_closest_canonical(segmented_here(page, tmp_path))
    wanted = nib.as_closest_canonical(expected(model, scan, tmp_path / "expected"))
    np.testing.assert_allclose(found.affine, wanted.affine, atol=1e-3)
    assert (np.asarray(found.dataobj) == np.asarray(wanted.dataobj)).mean() > 0.999
    assert page.trouble == []
    page.close()


@pytest.mark.clinic
def test_what_is_no_scan_is_told_by_the_page(browser: Any, address: str, tmp_path: Path) -> None:
    (tmp_path / "text.nii.gz").write_text("no scan")
    page = ViewerPage(browser, address).open()
    page.give(tmp_path / "text.nii.gz")
    page.start()
    page.page.get_by_role("alert").get_by_text("text.nii.gz is no NIfTI file").wait_for()
    page.close()
