"""`vesal export --to web` in headless Chromium beside `vesal predict`: voxels that differ, and seconds.

    python -m benchmarks.browser MODEL SCAN [SCAN ...] [--picture FILE.png]

MODEL is a model file or a run. It is exported, shown by `vesal view`, and each SCAN is given to the page; its mask is
compared with that of torch in 32 bits. Needs playwright, Chromium, the viewer (`make viewer`) and the extra onnx.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from benchmarks.record import machine, versions
from vesal.infer.predictor import load_model
from vesal.volume.io import read_volume

ARGUMENTS = [
    "--headless", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
]  # fmt: skip
_PATIENCE_MS = 1_800_000


@contextmanager
def shown(folder: Path) -> Iterator[str]:
    """The address of the page while `vesal view` shows it."""
    command = [sys.executable, "-m", "vesal.cli", "view", str(folder), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[2]
        finally:
            process.terminate()


def segment(page: Any, address: str, scan: Path, folder: Path) -> tuple[Path, float, str]:
    """(the mask's file, seconds from the start to its picture, what computed it)."""
    page.goto("about:blank")
    page.goto(address)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose files").click()
    chooser.value.set_files([str(scan)])
    began = time.monotonic()
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_selector("main[data-ready]")
    seconds = time.monotonic() - began
    with page.expect_download() as download:
        page.get_by_role("button", name="Mask (NIfTI)").click()
    target = folder / download.value.suggested_filename
    shutil.copyfile(download.value.path(), target)
    return target, seconds, page.get_by_text("Computed in this browser").first.inner_text()


def compared(model: Any, scan: Path, mask: Path) -> tuple[int, int, float]:
    """(voxels that differ, voxels, seconds of torch in this process)."""
    began = time.monotonic()
    expected = model.predict(read_volume(scan)).label.array
    seconds = time.monotonic() - began
    found = np.asarray(nib.load(mask).dataobj)
    return int(np.count_nonzero(found != expected)), int(expected.size), seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("scans", type=Path, nargs="+")
    parser.add_argument("--picture", type=Path, help="where the last result's page is kept, as PNG")
    given = parser.parse_args()

    from playwright.sync_api import sync_playwright

    from vesal.workflow.deployment.web_export import export_web

    model = load_model(given.model, device="cpu", backend="torch", precision="32")
    print(f"{machine()}\n{versions()}\n")
    print("| scan | voxels | differ | share the same | browser s | torch s |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder, asked, by = Path(name), set(), ""
        done = export_web(given.model, folder / "page")
        path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
        browser = playwright.chromium.launch(
            executable_path=path, args=ARGUMENTS, env={**os.environ, "HOME": name}
        )
        page = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="dark").new_page()
        page.set_default_timeout(_PATIENCE_MS)
        page.on("request", lambda request: asked.add(request.url.split("/assets/")[0].split("/ort/")[0]))
        with shown(done.folder) as address:
            for scan in given.scans:
                mask, seconds, by = segment(page, address, scan, folder)
                differ, voxels, torch_s = compared(model, scan, mask)
                share = 1 - differ / voxels
                print(
                    f"| {scan.name} | {voxels:,} | {differ} | {share:.6f} | {seconds:.1f} | {torch_s:.1f} |"
                )
            if given.picture:
                page.wait_for_timeout(2000)
                page.screenshot(path=given.picture)
        browser.close()
        own = (address.rstrip("/"), "blob:", "data:", "about:")
        elsewhere = sorted(url for url in asked if not url.startswith(own))
    print(
        f"\n{by}\n{done.text().splitlines()[0]}\nRequests beyond the page's own origin: {len(elsewhere)} {elsewhere}"
    )


if __name__ == "__main__":
    main()
