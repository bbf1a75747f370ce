"""`vesal view`: the viewer's page on files of this disk, for this machine alone."""

from __future__ import annotations

import tempfile
import webbrowser
from collections.abc import Callable
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from vesal.serve.http.guards import Guard
from vesal.serve.listening import address_of, listen
from vesal.serve.serve_settings import ServeSettings
from vesal.serve.viewed_files import ROUTE, ViewAnswer, Viewed, prepare_view
from vesal.serve.viewer_page import add_viewer
from vesal.version import __version__


def view(
    viewed: Viewed, *, port: int = 0, browser: bool = True, on_ready: Callable[[str], None] = print
) -> None:
    """Show files until SIGINT or SIGTERM.

    Args:
        viewed: what to show.
        port: of this machine; 0 takes a free one.
        browser: open the page.
        on_ready: is called with the address, once it listens.

    Raises:
        VesalError: a file cannot be shown, or the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="vesal-view-") as name, listen("127.0.0.1", port) as listening:
        answer = prepare_view(viewed, Path(name))
        app = view_app(answer, Path(name))
        # The page asks for what is shown, not for models.
        address = f"{address_of(listening)}/#view=1"
        on_ready(address)
        if browser:
            webbrowser.open(address)
        config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False)
        uvicorn.Server(config).run(sockets=[listening])


def view_app(answer: ViewAnswer, folder: Path) -> FastAPI:
    """The page, what it shows, and the files of that."""
    app = FastAPI(title="Vesal", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    # The guard's names of this host are those of a server on loopback.
    app.add_middleware(Guard, settings=ServeSettings(state=folder, models={"none": folder}))

    @app.get("/api/view")
    def shown() -> ViewAnswer:
        return answer

    app.mount(ROUTE, StaticFiles(directory=folder), name="files")
    add_viewer(app)
    return app
