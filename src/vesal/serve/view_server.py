"""`vesal view`: the viewer's page on files of this disk, for this machine alone."""

from __future__ import annotations

import hmac
import logging
import secrets
import signal
import sys
import webbrowser
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

from vesal.files import scratch_folder, sweep_scratch
from vesal.serve.http.guards import Guard
from vesal.serve.listening import address_of, listen
from vesal.serve.serve_settings import ServeSettings
from vesal.serve.viewed_files import ROUTE, ViewAnswer, Viewed, prepare_view
from vesal.serve.viewer_page import add_viewer
from vesal.version import __version__
from vesal.workflow.deployment.viewer_bundle import BUILD_IT, POLICY, is_built

#: The cookie that shows who opened the printed address. Browsers send it to every port of a host.
_COOKIE = "vesal-view-{}"

_LOG = logging.getLogger(__name__)


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
    if not is_built():
        _LOG.warning("The viewer was not built, so there is nothing to see; %s.", BUILD_IT)
    _end_in_order()
    sweep_scratch()  # what killed processes left
    with scratch_folder() as folder, listen("127.0.0.1", port) as listening:
        answer = prepare_view(viewed, folder)
        key, once = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
        app = view_app(answer, folder, key, once)
        address = f"{address_of(listening)}/open"
        on_ready(f"{address}/{key}")
        if browser:
            webbrowser.open(f"{address}/{once}")
        config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False)
        uvicorn.Server(config).run(sockets=[listening])


def _end_in_order() -> None:
    """SIGTERM, which uvicorn raises once more, and the end of the terminal would leave the scan behind."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # nohup has one ignored.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: sys.exit())


def show_page(
    folder: Path, *, port: int = 0, browser: bool = True, on_ready: Callable[[str], None] = print
) -> None:
    """Show what `vesal export --to web` wrote until SIGINT or SIGTERM.

    Args:
        folder: of the page.
        port, browser, on_ready: as of `view`.

    Raises:
        VesalError: the port is taken.
    """
    with listen("127.0.0.1", port) as listening:
        address = f"{address_of(listening)}/"
        on_ready(address)
        if browser:
            webbrowser.open(address)
        config = uvicorn.Config(page_app(folder), log_config=None, access_log=False, server_header=False)
        uvicorn.Server(config).run(sockets=[listening])


def page_app(folder: Path) -> FastAPI:
    """The files of a page, isolated from other pages: browsers give threads to such a page alone."""
    app = FastAPI(title="Vesal", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def isolate(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        answer = await call_next(request)
        answer.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        answer.headers["Cross-Origin-Embedder-Policy"] = "require-corp"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Content-Security-Policy"] = POLICY
        return answer

    # Another name that leads here is another site's, which would read the folder.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])

    app.mount("/", StaticFiles(directory=folder, html=True), name="page")
    return app


def view_app(answer: ViewAnswer, folder: Path, key: str, once: str = "") -> FastAPI:
    """The page, what it shows, and the files of that.

    Others may be logged in on this machine, and reach its ports: what is shown is for who knows the key, by a cookie
    that `/open/KEY` sets.

    Args:
        answer: what is shown.
        folder: of its files.
        key: opens the page.
        once: opens it a single time, for a program whose arguments all users of the machine can read; '' for none.
    """
    unused = {once} - {""}
    app = FastAPI(title="Vesal", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    # The guard's names of this host are those of a server on loopback.
    app.add_middleware(Guard, settings=ServeSettings(state=folder, models={"none": folder}))

    def cookie(request: Request) -> str:
        return _COOKIE.format(request.url.port or 80)

    @app.middleware("http")
    async def ask_for_key(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        given = request.cookies.get(cookie(request), "").encode()
        if request.scope["path"].startswith("/api/") and not hmac.compare_digest(given, key.encode()):
            return PlainTextResponse("Open the address that vesal view printed.", 401)
        return await call_next(request)

    @app.get("/open/{given}")
    async def open_page(given: str, request: Request) -> Response:
        if given in unused:
            unused.remove(given)
        elif not hmac.compare_digest(given.encode(), key.encode()):
            return PlainTextResponse("Open the address that vesal view printed.", 401)
        # The page asks for what is shown, not for models.
        answer = RedirectResponse("/#view=1", 303)
        answer.set_cookie(cookie(request), key, httponly=True, samesite="strict")
        return answer

    @app.get("/api/view")
    def shown() -> ViewAnswer:
        return answer

    app.mount(ROUTE, StaticFiles(directory=folder), name="files")
    add_viewer(app)
    return app
