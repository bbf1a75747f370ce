"""Drives the viewer in headless Chromium, whatever server it comes from.

Skips the test, with the reason, where Chromium, playwright or the bundle is missing.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_server import BUNDLE
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).parents[2]
AXE = ROOT / "viewer" / "node_modules" / "axe-core" / "axe.min.js"
#: Chromium draws WebGL2 on the CPU with these, and asks nobody outside for anything.
ARGUMENTS = [
    "--headless", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
#: On the CPU of a busy machine a picture takes its time.
PATIENCE_MS = 90_000

_FOCUSABLE = """() => {
  const all = document.querySelectorAll('a[href], button, input, select, canvas[tabindex], summary, [tabindex="0"]')
  const seen = new Set()
  return [...all].filter((element) => {
    if (element.disabled || element.tabIndex < 0 || !element.checkVisibility()) return false
    if (element.type !== 'radio') return true
    return !seen.has(element.name) && seen.add(element.name)
  }).length
}"""

_FOCUSED = """() => {
  const element = document.activeElement
  if (!element || element === document.body) return null
  const drawn = element.type === 'radio' && element.nextElementSibling ? element.nextElementSibling : element
  const all = [...document.querySelectorAll('*')]
  const text = (element.ariaLabel || element.labels?.[0]?.textContent || element.textContent || element.id).trim()
  return { key: element.type === 'radio' ? element.name : String(all.indexOf(element)), text,
           outline: getComputedStyle(drawn).outlineStyle }
}"""

_AXE = """async () => {
  const found = await axe.run(document, { resultTypes: ['violations'] })
  return found.violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(' | ')}`)
}"""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser, with a home of its own that is removed again."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("there is no chromium")
    if not (BUNDLE / "index.html").is_file():
        pytest.skip("the viewer is not built (make viewer)")
    with tempfile.TemporaryDirectory() as home, api.sync_playwright() as playwright:
        environment = {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home}
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, env=environment)
        try:
            yield browser
        finally:
            browser.close()


class ViewerPage:
    """One page of the viewer. `trouble` gathers errors of its console and requests that left its server."""

    def __init__(self, browser: Any, url: str, *, axe: bool = False, **context: Any) -> None:
        self.url = url
        self.trouble: list[str] = []
        self.context = browser.new_context(**({"viewport": {"width": 1000, "height": 720}} | context))
        self.context.set_default_timeout(PATIENCE_MS)
        if axe:
            if not AXE.is_file():
                pytest.skip("axe-core is not installed (npm ci in viewer/)")
            self.context.add_init_script(path=AXE)
        self.page = self.context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        self.page.on("request", self._sent)
        # Heard from the start: a key may open the dialog before a listener of later is there.
        self.page.on("filechooser", lambda _chooser: None)

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.trouble.append(f"console: {message.text}")

    def _sent(self, request: Any) -> None:
        if not request.url.startswith((self.url, "blob:", "data:")):
            self.trouble.append(f"request: {request.url}")

    def open(self, fragment: str = "") -> ViewerPage:
        self.page.goto("about:blank")
        self.page.goto(self.url + fragment)
        return self

    def close(self) -> None:
        self.context.close()

    def give(self, *files: str | Path, folder: bool = False) -> None:
        """Chooses files by the button."""
        with self.page.expect_file_chooser() as chooser:
            self.page.get_by_role("button", name="Choose a folder" if folder else "Choose files").click()
        chooser.value.set_files([str(file) for file in files][: 1 if folder else None])

    def drop(self, selector: str, *paths: Path) -> None:
        """Drops files and folders of the disk on an element."""
        self.page.locator(selector).wait_for()
        box = self.page.locator(selector).bounding_box()
        session = self.context.new_cdp_session(self.page)
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            event = {"type": kind, "x": box["x"] + 20, "y": box["y"] + 20, "data": data}
            session.send("Input.dispatchDragEvent", event)

    def ask_for(self, *formats: str) -> None:
        """Ticks formats by the names that the page gives them."""
        self.page.get_by_text("Files to make, and options").click()
        for name in formats:
            self.page.get_by_label(name, exact=True).check()

    def start(self) -> None:
        self.page.get_by_role("button", name="Start", exact=True).click()

    def wait_for_result(self) -> None:
        self.page.wait_for_selector("main[data-ready]")

    def upload(self, *files: str | Path, formats: Sequence[str] = ()) -> None:
        """From the start to the result of a scan."""
        self.open()
        self.give(*files)
        if formats:
            self.ask_for(*formats)
        self.start()
        self.wait_for_result()

    def pixels(self) -> NDArray[np.uint8]:
        """The picture, (rows, columns, RGB), once it stands still."""
        before = None
        for _ in range(20):
            self.page.wait_for_timeout(250)
            shot = self.page.locator("canvas").screenshot(animations="disabled")
            if shot == before:
                break
            before = shot
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))

    def place(self) -> list[float]:
        """The crosshair as the page tells it: right, anterior, superior in mm."""
        text = self.page.locator(".readout .number").first.inner_text().replace("\u2212", "-")
        return [float(number) for number in re.findall(r"-?\d+\.\d", text)]

    def layout(self, name: str) -> None:
        self.page.get_by_role("radio", name=name, exact=True).check(force=True)

    def download(self, name: str) -> tuple[str, bytes]:
        """The file behind a button of the Files panel: (its name, its bytes)."""
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name=re.compile(rf"^{re.escape(name)}")).click()
        return download.value.suggested_filename, Path(download.value.path()).read_bytes()

    def faults(self) -> list[str]:
        """What axe finds serious or critical."""
        return self.page.evaluate(_AXE)

    def tab_to(self, name: str) -> None:
        """Presses Tab until the control of this name has the focus."""
        for _ in range(80):
            self.page.keyboard.press("Tab")
            focused = self.page.evaluate(_FOCUSED)
            if focused and focused["text"].startswith(name):
                return
        raise AssertionError(f"Tab does not reach {name}")

    def tab_through(self) -> tuple[int, int, list[str]]:
        """Presses Tab once around: (controls there are, controls reached, those without a visible focus)."""
        there = self.page.evaluate(_FOCUSABLE)
        reached, unseen = set(), []
        for _ in range(there + 6):
            self.page.keyboard.press("Tab")
            focused = self.page.evaluate(_FOCUSED)
            if focused is None:
                continue
            reached.add(focused["key"])
            unseen += [focused["text"]] * (focused["outline"] == "none")
        return there, len(reached), unseen


def coloured(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where the picture is not grey: a mask is drawn there (or the crosshair)."""
    return np.ptp(pixels.astype(int), axis=2) > 40
