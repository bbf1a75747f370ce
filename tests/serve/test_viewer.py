"""The viewer in headless Chromium, against canned answers about a phantom."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from fake_server import Case, FakeServer, phantom_case, serving
from viewer_page import ViewerPage, chromium, coloured

pytestmark = pytest.mark.clinic

WIDE, PHONE = {"width": 1100, "height": 760}, {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def case() -> Case:
    return phantom_case("short-axis", (48, 48, 16))


@pytest.fixture
def server(case: Case) -> Iterator[FakeServer]:
    with serving(FakeServer(case)) as fake:
        yield fake


@pytest.fixture
def page(browser: Any, server: FakeServer) -> Iterator[ViewerPage]:
    viewer = ViewerPage(browser, server.url)
    yield viewer
    viewer.close()


@pytest.fixture
def scan(case: Case, tmp_path: Path) -> Path:
    path = tmp_path / "patient-7.nii.gz"
    path.write_bytes(case.files["scan.nii.gz"])
    return path


@pytest.fixture
def finished(server: FakeServer) -> str:
    """The address of a result with all that one can have."""
    job = server.add("heart", ["nifti", "uncertainty"])
    job["status"] = "finished"
    return f"#job={job['id']}"


def test_a_scan_goes_up_and_its_result_comes_back(
    page: ViewerPage, server: FakeServer, scan: Path, case: Case
) -> None:
    page.open()
    page.give(scan)
    page.ask_for("Uncertainty map (NIfTI)", "Surfaces (GLB)")
    page.start()
    progress = page.page.get_by_role("progressbar", name="Progress")
    progress.wait_for()
    said = page.page.locator(".progress-text")
    assert said.inner_text() == "Waiting; 2 jobs come before this one."
    page.page.get_by_text("Predicting, 40 %").first.wait_for()
    page.wait_for_result()
    fields, files = server.uploads[0]
    assert fields == {"model": "heart", "to": "nifti,uncertainty,glb"}
    assert files == {"patient-7.nii.gz": case.files["scan.nii.gz"]}
    assert page.page.get_by_text("Needs review").is_visible()
    for name, ml in case.volumes_ml.items():
        row = page.page.locator(".classes li", has_text=name)
        volume = row.locator(".number").inner_text()
        assert float(volume.split()[0]) == pytest.approx(ml, rel=0.02), volume
        assert "(90 % interval)" in row.locator(".interval").inner_text()
    assert page.trouble == []


def test_a_folder_keeps_the_places_of_its_files(page: ViewerPage, server: FakeServer, tmp_path: Path) -> None:
    for name in ("a/1.dcm", "a/2.dcm", "b/1.dcm", ".DS_Store"):
        path = tmp_path / "study" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    page.open()
    page.give(tmp_path / "study", folder=True)
    page.page.get_by_text("3 files from study").wait_for()
    page.start()
    page.wait_for_result()
    assert server.uploads[0][1] == {
        f"study/{name}": name.encode() for name in ("a/1.dcm", "a/2.dcm", "b/1.dcm")
    }


def test_what_is_dropped_is_taken_folders_with_all_in_them(page: ViewerPage, tmp_path: Path) -> None:
    (tmp_path / "study" / "series").mkdir(parents=True)
    for number in range(150):  # more than a browser lists at a time
        (tmp_path / "study" / "series" / f"{number}.dcm").write_bytes(b"x")
    page.open()
    page.drop(".drop", tmp_path / "study")
    page.page.get_by_text("150 files from study, 150 bytes").wait_for()


def test_the_pictures_are_not_blank(page: ViewerPage, finished: str) -> None:
    page.open(finished)
    page.wait_for_result()
    four = page.pixels()
    half = [size // 2 for size in four.shape[:2]]
    for rows in (slice(0, half[0]), slice(half[0], None)):
        for columns in (slice(0, half[1]), slice(half[1], None)):
            assert four[rows, columns].std() > 5
    page.layout("3D")
    assert coloured(page.pixels()).mean() > 0.005


def test_a_class_that_is_switched_off_is_no_longer_drawn(page: ViewerPage, finished: str, case: Case) -> None:
    page.open(f"{finished}&layout=axial")
    page.wait_for_result()
    before = page.pixels()
    boxes = page.page.locator(".classes input")
    boxes.first.uncheck()
    after = page.pixels()
    assert coloured(after).sum() < coloured(before).sum() * 0.95
    boxes.first.check()
    assert np.abs(page.pixels().astype(int) - before).mean() < 1
    assert boxes.count() == len(case.labels)


def test_window_opacity_and_uncertainty_change_the_picture(page: ViewerPage, finished: str) -> None:
    page.open(f"{finished}&layout=axial")
    page.wait_for_result()
    pictures = [page.pixels()]
    for step in (
        lambda: page.page.get_by_label("Preset").select_option("full range"),
        lambda: page.page.get_by_label("Width").fill("150"),
        lambda: page.page.get_by_label("Opacity").first.fill("20"),
        lambda: page.page.get_by_label("Outline only").check(),
        lambda: page.page.get_by_label("Show the map").check(),
    ):
        step()
        page.page.keyboard.press("Tab")
        pictures.append(page.pixels())
        assert np.abs(pictures[-1].astype(int) - pictures[-2]).mean() > 0.1, len(pictures)
    assert page.trouble == []


def test_a_drag_with_the_right_button_sets_the_window(page: ViewerPage, finished: str) -> None:
    page.open(f"{finished}&layout=axial")
    page.wait_for_result()
    width = page.page.get_by_label("Width")
    before = width.input_value()
    box = page.page.locator("canvas").bounding_box()
    mouse = page.page.mouse
    mouse.move(box["x"] + 200, box["y"] + 200)
    mouse.down(button="right")
    for step in range(1, 6):
        mouse.move(box["x"] + 200 + 12 * step, box["y"] + 200 + 8 * step)
    mouse.up(button="right")
    assert width.input_value() != before
    assert page.page.get_by_label("Preset").input_value() == ""


def test_truth_and_prediction_differ_in_three_colours(
    page: ViewerPage, finished: str, case: Case, tmp_path: Path
) -> None:
    truth = tmp_path / "truth.nii.gz"
    truth.write_bytes(case.files["truth.nii.gz"])
    page.open(f"{finished}&layout=axial")
    page.wait_for_result()
    page.drop("canvas", truth)
    page.page.locator(".dice tbody tr").first.wait_for()
    masks = [nifti(case.files[name]) for name in ("truth.nii.gz", "mask.nii.gz")]
    for row, label in zip(page.page.locator(".dice tbody tr").all(), case.labels, strict=True):
        a, b = (mask == label["value"] for mask in masks)
        assert label["name"] in row.inner_text()
        assert f"{2 * (a & b).sum() / (a.sum() + b.sum()):.3f}" in row.inner_text()
    difference = page.pixels()
    page.layout("Truth")
    assert np.abs(page.pixels().astype(int) - difference).mean() > 0.5
    assert page.trouble == []


def nifti(data: bytes) -> np.ndarray:
    return np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(data)).dataobj)


def test_the_downloaded_mask_is_the_servers_byte_for_byte(
    page: ViewerPage, finished: str, case: Case
) -> None:
    page.open(finished)
    page.wait_for_result()
    assert page.download("Mask (NIfTI)") == ("mask.nii.gz", case.files["mask.nii.gz"])


def test_a_copied_link_opens_the_same_view(page: ViewerPage, finished: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.open(finished)
    page.wait_for_result()
    page.layout("Axial")
    page.page.locator(".classes input").first.uncheck()
    page.page.locator("canvas").focus()
    for key in ("PageUp", "PageUp", "ArrowLeft"):
        page.page.keyboard.press(key)
    page.page.wait_for_timeout(500)
    page.page.get_by_role("button", name="Copy link").click()
    page.page.get_by_text("The link was copied.").first.wait_for()
    link = page.page.evaluate("() => navigator.clipboard.readText()")
    before = page.pixels(), page.place()
    page.open(link.removeprefix(page.url))
    page.wait_for_result()
    after = page.pixels(), page.place()
    assert after[1] == pytest.approx(before[1], abs=0.11)  # the link holds hundredths, the page shows tenths
    assert np.abs(after[0].astype(int) - before[0]).mean() < 1


def test_the_keyboard_alone_works_everything(page: ViewerPage, scan: Path) -> None:
    keys = page.page.keyboard
    page.open()
    page.page.locator(".drop").wait_for()
    keys.press("Tab")
    assert page.page.evaluate("() => document.activeElement.id") == "skip"
    page.tab_to("Choose files")
    with page.page.expect_file_chooser() as chooser:
        keys.press("Enter")
    chooser.value.set_files(str(scan))
    page.page.get_by_text("patient-7.nii.gz,").wait_for()
    assert page.page.evaluate("() => document.activeElement.textContent") == "Start"
    keys.press("Enter")
    page.wait_for_result()
    there, reached, unseen = page.tab_through()
    assert (reached, unseen) == (there, [])
    page.tab_to("Scan with its mask")
    place = page.page.locator(".readout")
    before = place.inner_text()
    keys.press("PageUp")
    assert place.inner_text() != before
    keys.press("2")
    assert page.page.get_by_role("radio", name="Axial").is_checked()
    picture = page.pixels()
    keys.press("m")
    assert coloured(page.pixels()).sum() < coloured(picture).sum()
    keys.press("?")
    page.page.get_by_role("dialog", name="Keys").wait_for()
    keys.press("Escape")
    assert page.page.get_by_role("dialog").count() == 0
    keys.press("n")
    page.page.get_by_role("heading", name="Segment a scan").wait_for()


def test_a_refused_file_is_told_in_an_alert(page: ViewerPage, server: FakeServer, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("no scan")
    page.open()
    page.give(notes)
    page.start()
    page.page.get_by_role("alert").get_by_text("notes.txt is no scan; give NIfTI").wait_for()


def test_a_job_that_failed_says_why(page: ViewerPage, server: FakeServer, scan: Path) -> None:
    server.fail_with = "The scan has 4 axes; give a 3D scan."
    page.open()
    page.give(scan)
    page.start()
    page.page.get_by_role("alert").get_by_text("give a 3D scan").wait_for()


def test_a_server_that_is_away_for_a_while_is_waited_for(page: ViewerPage, server: FakeServer) -> None:
    job = server.add("heart", ["nifti"])
    server.steps = 10**6
    page.open(f"#job={job['id']}")
    page.page.get_by_role("progressbar").wait_for()
    page.page.route("**/api/jobs/*", lambda route: route.abort())
    page.page.get_by_role("alert").get_by_text("The server does not answer.").wait_for()
    server.steps = 1
    page.page.unroute("**/api/jobs/*")
    page.wait_for_result()
    assert page.page.get_by_text("The server does not answer.").count() == 0


def test_a_job_that_is_gone_is_told_with_a_way_on(page: ViewerPage) -> None:
    page.open("#job=gone")
    page.page.get_by_role("alert").get_by_text("There is nothing at /api/jobs/gone.").wait_for()
    page.page.get_by_role("link", name="Back to the start").click()
    page.page.get_by_role("heading", name="Segment a scan").wait_for()


def test_without_webgl_the_files_are_still_there(page: ViewerPage, finished: str, case: Case) -> None:
    page.context.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.open(finished)
    page.page.get_by_role("alert").get_by_text("This browser has no WebGL2").wait_for()
    assert page.download("Mask (NIfTI)")[1] == case.files["mask.nii.gz"]


def test_jobs_are_listed_cancelled_and_removed(page: ViewerPage, server: FakeServer) -> None:
    waiting, ended = server.add("heart", ["nifti"], "first"), server.add("other", ["nifti"], "second")
    server.steps = 10**6
    ended["status"] = "finished"
    page.open()
    page.page.get_by_role("link", name="second").wait_for()
    page.page.get_by_role("button", name="Remove second").click()
    page.page.get_by_role("button", name="Remove with its files?").click()
    page.page.get_by_role("link", name="second").wait_for(state="detached")
    page.page.get_by_role("link", name="first").click()
    page.page.get_by_role("button", name="Cancel").click()
    page.page.get_by_text("This job was cancelled.").wait_for()
    assert server.jobs == {waiting["id"]: waiting}
    assert page.trouble == []


def test_the_token_is_asked_for_once_and_stands_in_no_address(browser: Any, case: Case) -> None:
    with serving(FakeServer(case, token="s3cret-token")) as server:
        job = server.add("heart", ["nifti"])
        job["status"] = "finished"
        page = ViewerPage(browser, server.url)
        sent: list[str] = []
        page.page.on("request", lambda request: sent.append(request.url))
        page.open(f"#job={job['id']}")
        page.page.get_by_label("Token", exact=True).fill("wrong")
        page.page.keyboard.press("Enter")
        page.page.get_by_text("The server refused this token.").wait_for()
        page.page.get_by_label("Token", exact=True).fill("s3cret-token")
        page.page.keyboard.press("Enter")
        page.wait_for_result()
        assert page.download("Mask (NIfTI)")[1] == case.files["mask.nii.gz"]
        page.page.wait_for_timeout(500)
        assert not [url for url in [*sent, page.page.url] if "s3cret" in url]
        page.close()


def test_vesal_view_shows_its_files_without_upload(browser: Any, case: Case) -> None:
    with serving(FakeServer(case, view=True)) as server:
        page = ViewerPage(browser, server.url).open("#view=1")
        page.wait_for_result()
        assert page.page.get_by_role("link", name="New scan").count() == 0
        assert page.page.locator(".dice tbody tr").count() == len(case.labels)
        page.layout("Difference")
        assert coloured(page.pixels()).any()
        assert page.trouble == []
        page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_axe_finds_no_serious_fault(
    browser: Any, server: FakeServer, finished: str, theme: str, size: dict
) -> None:
    page = ViewerPage(browser, server.url, axe=True, color_scheme=theme, viewport=size)
    page.open()
    page.page.get_by_role("link", name="patient-7").wait_for()
    page.page.get_by_text("Files to make, and options").click()
    assert page.faults() == []
    page.page.get_by_role("button", name="List of keys").click()
    assert page.faults() == []
    page.open(finished)
    page.wait_for_result()
    page.page.get_by_label("Show the map").check()
    assert page.faults() == []
    assert page.page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
    page.close()


def test_faults_and_foreign_requests_would_be_found(browser: Any, server: FakeServer) -> None:
    page = ViewerPage(browser, server.url, axe=True).open()
    page.page.get_by_text("Files to make, and options").wait_for()
    page.page.evaluate("""() => {
      const input = document.createElement('input')
      document.querySelector('main').append(input)
      return fetch('http://127.0.0.1:9/').catch(() => null)
    }""")
    assert any(fault.startswith("label") for fault in page.faults())
    assert any("http://127.0.0.1:9/" in line for line in page.trouble)
    page.close()
