"""Requests to an archive: authentication, time limits, repetition, and errors without secrets or names of patients."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from vesal.errors import VesalError
from vesal.serve.pacs.libraries import library
from vesal.serve.pacs.pacs_settings import ArchiveSettings
from vesal.serve.pacs.retries import Passing, tried
from vesal.text import inline, shortened

if TYPE_CHECKING:
    from requests import Response

Result = TypeVar("Result")

#: Answers that may be others later: too many requests, and what begins with 5 but for 501 and 505, which stay.
_LATER = {408, 429, 500, 502, 503, 504, 507}
#: What an archive says of its own failure is shown up to so many characters.
_SHOWN = 160


class NotThere(VesalError):
    """The archive has nothing at an address."""


class Requests:
    """A session with an archive.

    Attributes:
        settings: how it is reached.
        stop: ends the waiting between tries.
    """

    def __init__(self, settings: ArchiveSettings, stop: threading.Event | None = None) -> None:
        """Makes no connection."""
        self.settings = settings
        self.stop = stop or threading.Event()
        requests = library("requests")
        self._failures = (
            requests.exceptions.ConnectionError,
            requests.exceptions.Timeout,
            requests.exceptions.ChunkedEncodingError,
            requests.exceptions.ContentDecodingError,
        )
        self._certificate = requests.exceptions.SSLError
        self._session = requests.Session()
        # The environment's proxies and ~/.netrc would send patients, and a password, elsewhere than was asked for.
        self._session.trust_env = False
        if settings.ca_file is not None:
            self._session.verify = str(settings.ca_file)
        if token := settings.token.get_secret_value():
            self._session.headers["Authorization"] = f"Bearer {token}"
        elif settings.user:
            # As bytes: requests would write them in Latin-1, which has no letters of most languages.
            both = (settings.user, settings.password.get_secret_value())
            self._session.auth = tuple(one.encode() for one in both)

    def close(self) -> None:
        """End the connections."""
        self._session.close()

    def get(self, url: str, headers: Mapping[str, str] | None = None, **_: Any) -> Response:
        """An answer read whole, for dicomweb-client.

        Raises:
            VesalError: the archive refuses it; Unreachable: after all tries.
        """
        # dicomweb-client names the host without its port.
        kept = {key: value for key, value in (headers or {}).items() if key.lower() != "host"}

        # Orthanc 1.10 takes escaped wildcards for letters; in a query they may stand as they are (RFC 3986 3.4).
        plain = url.replace("%2A", "*").replace("%3F", "?").replace("%2C", ",").replace("%3A", ":")

        def once() -> Response:
            with self.answer("GET", plain, kept) as response:
                with self._losses():
                    response.content  # noqa: B018  # reads it
                return response

        return self.again(once)

    def again(self, action: Callable[[], Result]) -> Result:
        """What the action returns, which makes requests by `answer` and is repeated whole where one is lost."""
        settings = self.settings
        return tried(
            action,
            settings.tries,
            (settings.wait_s, settings.most_wait_s),
            self.stop,
            lambda reason: (
                f"{settings.url} {reason}, tried {settings.tries} times; check that the archive runs and its address."
            ),
        )

    @contextlib.contextmanager
    def answer(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Any = None,
        allowed: tuple[int, ...] = (),
    ) -> Iterator[Response]:
        """An answer of which the body has not been read.

        Args:
            method: of HTTP.
            url: below that of the settings.
            headers: beside those of authentication.
            body: bytes, or a stream with a length.
            allowed: statuses of failures that the caller understands.

        Raises:
            VesalError: the archive refuses it.
            Passing: it may succeed later.
        """
        timeout = (self.settings.connect_timeout_s, self.settings.timeout_s)
        with self._losses():
            response = self._session.request(
                method,
                url,
                headers=dict(headers),
                data=body,
                stream=True,
                timeout=timeout,
                # The password would go wherever an answer says.
                allow_redirects=False,
            )
        with response:
            if response.status_code >= 300 and response.status_code not in allowed:
                raise self._refusal(response)
            # A break within the body of the `with` is one of the reading.
            with self._losses():
                yield response

    def pieces(self, response: Response, size: int) -> Iterator[bytes]:
        """The body of an answer, read as it is needed.

        Raises:
            Passing: the connection was lost within it.
        """
        # Guarded here, not around its reader: requests' errors are OSErrors, and would be taken for the disk's.
        with self._losses():
            yield from response.iter_content(size)

    @contextlib.contextmanager
    def _losses(self) -> Iterator[None]:
        """Losses of the connection in any form, as `Passing`."""
        try:
            yield
        except self._certificate as error:
            raise VesalError(
                f"{self.settings.url} has a certificate that is not trusted; give the authority's (--pacs-ca)."
            ) from error
        except self._failures as error:
            # Their own texts hold addresses with identifiers of studies.
            kinds = {"ConnectTimeout": "does not answer", "ReadTimeout": "fell silent"}
            raise Passing(
                kinds.get(type(error).__name__, "cannot be reached or lost the connection")
            ) from error

    def _refusal(self, response: Response) -> Exception:
        status, where = response.status_code, self.settings.url
        if status in _LATER:
            return Passing(f"answers {status}{self._own_words(response)}", _retry_after(response))
        if status in (401, 407):
            return VesalError(
                f"{where} does not accept the user, password or token ({status}); check what was given."
            )
        if status == 403:
            return VesalError(
                f"{where} forbids this ({status}); give the user the right to search, read and store."
            )
        if status < 400:
            return VesalError(
                f"{where} redirects elsewhere ({status}); give the address that it redirects to."
            )
        if status == 404:
            return NotThere(
                f"{where} has no such thing ({status}); check that the address is where DICOMweb begins."
            )
        return VesalError(
            f"{where} refuses the request ({status}{self._own_words(response)}); see the archive's log."
        )

    def _own_words(self, response: Response) -> str:
        """The archive's own words, where they are few and hold no number as long as an identifier."""
        with contextlib.suppress(*self._failures):
            piece = next(response.iter_content(2048), b"")
            words = inline(" ".join(piece.decode("utf-8", "replace").split()))
            if words and "<" not in words and "{" not in words and not any(c.isdigit() for c in words):
                return f", '{shortened(words, _SHOWN)}'"
        return ""


def _retry_after(response: Response) -> float:
    """Seconds that the archive asks for; dates are not understood, and count as none."""
    value = str(response.headers.get("Retry-After", ""))
    return float(value) if value.isdigit() else 0.0
