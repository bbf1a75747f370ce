"""The viewer's files, as they were built; without them a page that says how to build them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from vesal.workflow.deployment.viewer_bundle import FILES, is_built

#: Its icon, and the licences of what it is built of.
BESIDE = ("icon.svg", "THIRD_PARTY.txt")

_ABSENT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Vesal</title>
<h1>The viewer was not built</h1>
<p>This server works all the same: its interface is described in <a href="/api/openapi.json">/api/openapi.json</a>.</p>
<p>To build the viewer, install npm and run <code>make viewer</code> in Vesal's repository, or install a wheel that
holds it.</p></html>"""


def add_viewer(app: FastAPI, files: Path = FILES) -> None:
    """Serve the viewer at /, its files below /assets, and beside it BESIDE."""
    page, assets = files / "index.html", files / "assets"

    @app.get("/", include_in_schema=False)
    def viewer() -> Response:
        return FileResponse(page) if is_built(files) else HTMLResponse(_ABSENT)

    for name in BESIDE:
        if (files / name).is_file():
            app.add_api_route(f"/{name}", _answer(files / name), include_in_schema=False)
    if assets.is_dir():
        app.mount("/assets", StaticFiles(directory=assets), name="assets")


def _answer(file: Path) -> Callable[[], Response]:
    def answer() -> Response:
        return FileResponse(file)

    return answer
