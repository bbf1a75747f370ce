"""Masks and scans of every kind of file, in the viewer in headless Chromium."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from fake_server import Case, FakeServer, phantom_case, serving
from viewer_page import ViewerPage, chromium, coloured

from vesal.volume.io import read_label, write_label

pytestmark = pytest.mark.clinic


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def case() -> Case:
    return phantom_case("short-axis", (48, 48, 16))


def of_type(case: Case, kind: str) -> bytes:
    """The truth as NIfTI of another type of number, or of another format."""
    image = nib.Nifti1Image.from_bytes(gzip.decompress(case.files["truth.nii.gz"]))
    if kind in ("nrrd", "mha"):
        with tempfile.TemporaryDirectory() as folder:
            source, path = Path(folder) / "truth.nii.gz", Path(folder) / f"truth.{kind}"
            source.write_bytes(case.files["truth.nii.gz"])
            write_label(path, read_label(source))
            return path.read_bytes()
    return nib.Nifti1Image(np.asarray(image.dataobj).astype(kind), image.affine).to_bytes()


@pytest.mark.parametrize("kind", ["nrrd", "mha", "float32", "int32", "uint16", "float64"])
def test_a_mask_of_every_kind_lies_where_it_should(browser: Any, case: Case, kind: str) -> None:
    name = f"other.{kind}" if kind in ("nrrd", "mha") else "other.nii"
    other = replace(case, files=case.files | {name: of_type(case, kind)})
    with serving(FakeServer(other, view=True, shown=("scan.nii.gz", name))) as server:
        page = ViewerPage(browser, server.url).open("#view=1&layout=axial")
        page.wait_for_result()
        for row in page.page.locator(".dice tbody tr").all():
            assert "1.000" in row.inner_text()
        assert coloured(page.pixels()).mean() > 0.01
        assert page.trouble == []
        page.close()


def test_the_channel_that_was_chosen_last_is_shown_however_late_another_comes(
    browser: Any, case: Case
) -> None:
    image = nib.Nifti1Image.from_bytes(gzip.decompress(case.files["scan.nii.gz"]))
    inverse = nib.Nifti1Image(np.asarray(image.dataobj).max() - np.asarray(image.dataobj), image.affine)
    other = replace(case, files=case.files | {"late.nii": inverse.to_bytes()})
    with serving(FakeServer(other)) as server:
        job = server.add("heart", ["nifti"])
        job |= {"status": "finished", "results": [job["results"][0] | {"name": "late.nii"}, *job["results"]]}
        job["results"].reverse()
        page, held = ViewerPage(browser, server.url), []
        page.page.route("**/results/late.nii", lambda route: held.append(route))
        page.open(f"#job={job['id']}&layout=axial")
        page.wait_for_result()
        before = page.pixels()
        channels = page.page.get_by_label("Channel")
        channels.select_option("late.nii")
        channels.select_option("scan.nii.gz")
        page.page.wait_for_timeout(500)
        with page.page.expect_response("**/results/late.nii"):
            held[0].continue_()
        page.page.wait_for_timeout(500)
        assert np.abs(page.pixels().astype(int) - before).mean() < 5
        assert page.trouble == []
        page.close()


def test_a_scan_of_several_channels_shows_each(browser: Any, case: Case) -> None:
    image = nib.Nifti1Image.from_bytes(gzip.decompress(case.files["scan.nii.gz"]))
    array = np.asarray(image.dataobj)
    four = nib.Nifti1Image(np.stack([array, array.max() - array], axis=-1), image.affine).to_bytes()
    other = replace(case, files=case.files | {"four.nii": four})
    with serving(FakeServer(other, view=True, shown=("four.nii", "mask.nii.gz"))) as server:
        page = ViewerPage(browser, server.url).open("#view=1&layout=axial")
        page.wait_for_result()
        before = page.pixels()
        page.page.get_by_label("Channel").select_option("channel 2")
        assert np.abs(page.pixels().astype(int) - before).mean() > 5
        assert page.trouble == []
        page.close()
