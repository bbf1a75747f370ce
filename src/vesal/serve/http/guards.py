"""Who may ask: the token, the host that was called, the page that a browser comes from; and what every answer says."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vesal.serve.listening import is_loopback
from vesal.serve.serve_settings import ServeSettings
from vesal.serve.viewer_page import BESIDE

#: What anybody may ask: nothing of a patient is in it.
_OPEN = ("/health", "/ready", "/auth/", "/auth/token", "/", *(f"/{name}" for name in BESIDE))
#: The viewer's own files.
_OPEN_BELOW = ("/assets/",)
#: A page of the viewer loads nothing from elsewhere and is shown in no frame of another's.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Answers what may not be asked, before anything of it is read.

    - Another's name for this host (a page elsewhere whose name was made to lead here): 421.
    - Something changed or asked by another site's page: 403.
    - No token, or a wrong one: 401.

    Args:
        app: is asked what may be.
        settings: of the server.
        count: is called with the status of each refusal.
    """

    def __init__(
        self, app: ASGIApp, settings: ServeSettings, count: Callable[[int], None] = lambda _: None
    ) -> None:
        self._app, self._token, self._count = app, settings.token.encode(), count
        self._names = {name.lower() for name in settings.names} | {"localhost", settings.host.lower()}
        self._any_address = not is_loopback(settings.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if refused := self._refused(scope, headers):
            self._count(refused.status_code)
            await refused(scope, receive, _with_headers(send))
            return
        # Routes of FastAPI answer GET alone, and some supervisors ask by HEAD (RFC 9110, 9.3.2); uvicorn, which has a
        # scope of its own, leaves out the body.
        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        await self._app(asked, receive, _with_headers(send))

    def _refused(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return _answer(421, f"This server is not called {host}; name that host with --name to allow it.")
        path: str = scope["path"]
        if _is_elsewhere(headers, host) and not _is_followed_link(scope, headers):
            return _answer(403, "Pages of other sites may not ask this server.")
        is_open = path in _OPEN or path.startswith(_OPEN_BELOW)
        if is_open or not self._token or self._is_right(headers.get("authorization", "")):
            return None
        refusal = _answer(401, "The token is missing or wrong; send it as 'Authorization: Bearer TOKEN'.")
        refusal.headers["www-authenticate"] = "Bearer"
        return refusal

    def _is_ours(self, host: str) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname or "", parts.port
        except ValueError:
            return False
        # A name and a port alone: libraries make addresses of this header, whose paths it would change.
        if parts.netloc != host or parts.username is not None:
            return False
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self._any_address

    def _is_right(self, header: str) -> bool:
        scheme, _, token = header.partition(" ")
        # Compared in a time that tells nothing.
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._token)


def _is_elsewhere(headers: Headers, host: str) -> bool:
    """Whether another site's page asks."""
    origin = headers.get("origin", "")
    # Browsers send scheme, host and port alone, or null.
    return headers.get("sec-fetch-site") == "cross-site" or (
        bool(origin) and origin.partition("://")[2].lower() != host.lower()
    )


def _is_followed_link(scope: Scope, headers: Headers) -> bool:
    """Whether somebody follows a link to the viewer's page, as from a mail: the page alone tells nothing."""
    return (scope["method"], scope["path"], headers.get("sec-fetch-mode"), headers.get("origin")) == (
        "GET",
        "/",
        "navigate",
        None,
    )


def _answer(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            _add(MutableHeaders(scope=message), _HEADERS.items())
        await send(message)

    return sending


def _add(headers: MutableHeaders, more: Iterable[tuple[str, str]]) -> None:
    for name, value in more:
        headers.setdefault(name, value)
