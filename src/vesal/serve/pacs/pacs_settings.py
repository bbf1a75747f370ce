"""How archives and nodes are reached, and what is allowed to them. Each field's description is also its help."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from vesal.errors import UsageError, reason_of
from vesal.serve.listening import is_loopback

Seconds = Annotated[float, Field(gt=0)]
Bytes = Annotated[int, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]

_MB, _GB = 1 << 20, 1 << 30


class _Settings(BaseModel):
    # A password must not stand in the text of an error either.
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )

    @classmethod
    def of(cls, **values: Any) -> Self:
        """The settings with these values.

        Raises:
            UsageError: a value is none of its kind, or two contradict each other.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise UsageError(f"{f'{where}: ' if where else ''}{reason_of(error)}.") from error


class ArchiveSettings(_Settings):
    """A DICOMweb archive, and what may be taken from it.

    >>> one = ArchiveSettings.of(url="https://vesal:secret@pacs:8443/dicom-web/")
    >>> one.url, one.user, one.password
    ('https://pacs:8443/dicom-web', 'vesal', SecretStr('**********'))
    """

    url: str
    """Where DICOMweb begins, such as https://pacs:8443/dicom-web; a user and password in it are taken out of it."""
    user: str = ""
    """For basic authentication."""
    password: SecretStr = SecretStr("")
    """Of the user."""
    token: SecretStr = SecretStr("")
    """A bearer token, in place of user and password."""
    plain_http: bool = False
    """Send a password or token over http, readable for everybody in between, to another machine."""
    ca_file: Path | None = None
    """Certificates (PEM) that the archive's own is checked against, in place of those of the well-known authorities."""
    timeout_s: Seconds = 60.0
    """The archive may be silent for so long."""
    connect_timeout_s: Seconds = 10.0
    """A connection may take so long."""
    tries: Annotated[int, Field(ge=1)] = 5
    """A request that is refused for now (5xx, 429) or whose connection is lost is made so many times."""
    wait_s: Annotated[float, Field(ge=0)] = 0.5
    """Before the second time, twice as long before each further one."""
    most_wait_s: Seconds = 30.0
    """At most so long."""
    store_bytes: Bytes = 64 * _MB
    """Objects are stored by requests of so many bytes; a larger object has a request of its own."""
    most_bytes: Bytes = 20 * _GB
    """A study of more is refused."""
    modalities: tuple[str, ...] = ("CT", "MR", "PT")
    """Modalities of series that may be segmented."""

    @model_validator(mode="before")
    @classmethod
    def _apart(cls, values: Any) -> Any:
        """Takes the user and password out of the address."""
        url = values.get("url") if isinstance(values, dict) else None
        if not isinstance(url, str) or "@" not in url:
            return values
        parts = urlsplit(url)
        own, _, host = parts.netloc.rpartition("@")
        user, _, password = own.partition(":")
        taken = {"user": unquote(user), "password": SecretStr(unquote(password))}
        if own and values.keys() & taken.keys():
            raise ValueError(
                "the address of the archive holds a user and they are given apart; leave one out"
            )
        return {**values, **taken, "url": urlunsplit(parts._replace(netloc=host))}

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise ValueError("this is no address of an archive; give one such as https://pacs:8443/dicom-web")
        if parts.query or parts.fragment:
            raise ValueError("the address of an archive has neither ? nor #; give where DICOMweb begins")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        secret = bool(self.password.get_secret_value() or self.token.get_secret_value())
        if self.token.get_secret_value() and self.user:
            raise ValueError("a token and a user are given; leave one out")
        if self.password.get_secret_value() and not self.user:
            raise ValueError("a password is given without its user; give both")
        if self.ca_file is not None and not self.ca_file.is_file():
            raise ValueError(f"there is no {self.ca_file} with certificates; check the path")
        parts = urlsplit(self.url)
        if parts.scheme == "http" and self.ca_file is not None:
            raise ValueError("certificates are given for an archive without https; give its https address")
        if (
            secret
            and parts.scheme == "http"
            and not self.plain_http
            and not is_loopback(parts.hostname or "")
        ):
            raise ValueError(
                "a password or token would go readable over http to another machine; use https, or allow it "
                "(--pacs-plain-http)"
            )
        return self


class WatchSettings(_Settings):
    """Which studies are taken as they arrive."""

    query: Annotated[str, Field(min_length=1)]
    """A part of the study's or series' description, or conditions such as 'Modality=CT StudyDescription=*thorax*'."""
    every_s: Seconds = 30.0
    """The archive is asked so often."""
    stable_s: Annotated[float, Field(ge=0)] = 60.0
    """A study is taken when its series have had the same number of instances for so long."""
    days: Annotated[int, Field(ge=0)] = 0
    """Only studies of the last so many days are asked for, unless the query names StudyDate; 0 asks for all."""
    take_existing: bool = False
    """Take studies, too, that are there when the archive is asked for the first time."""


class NodeSettings(_Settings):
    """A DICOM node of our own, to which modalities and archives send."""

    ae_title: str = "VESAL"
    """Its name; who calls another is refused."""
    host: str = "127.0.0.1"
    """The address it listens on; 0.0.0.0 is every one of this machine."""
    port: Port = 11112
    """0 takes one that is free."""
    calling: tuple[str, ...] = ()
    """AE titles that may send; () lets any."""
    addresses: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks or addresses that may send, such as 10.0.3.0/24; () lets any."""
    associations: Annotated[int, Field(ge=1, le=100)] = 10
    """So many may send at once."""
    quiet_s: Annotated[float, Field(ge=0)] = 30.0
    """A study is whole when nobody has sent to it for so long."""
    timeout_s: Seconds = 60.0
    """A sender that is silent for so long is cut off."""
    most_object_bytes: Bytes = 4 * _GB
    """A larger object is refused."""
    most_bytes: Bytes = 100 * _GB
    """Objects are refused when so much lies here."""
    keep_s: Annotated[float, Field(ge=0)] = 24 * 3600.0
    """What was received is deleted when its results are stored and nobody has sent to the study for so long."""

    @field_validator("ae_title", "calling")
    @classmethod
    def _titles(cls, value: Any) -> Any:
        for title in (value,) if isinstance(value, str) else value:
            _title(title)
        return value

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.most_object_bytes > self.most_bytes:
            raise ValueError(
                "an object may be larger than all together (most_object_bytes, most_bytes); lower it"
            )
        return self


class SendSettings(_Settings):
    """A DICOM node that results are sent to.

    >>> SendSettings.of(ae_title="ARCHIVE", host="pacs", port=104).calling
    'VESAL'
    """

    ae_title: str
    """Its name."""
    host: Annotated[str, Field(min_length=1)]
    """Its address."""
    port: Annotated[int, Field(ge=1, le=65535)] = 104
    """Where it listens."""
    calling: str = "VESAL"
    """Our name towards it."""
    timeout_s: Seconds = 60.0
    """It may be silent for so long."""
    tries: Annotated[int, Field(ge=1)] = 5
    """Connections are tried so many times."""
    wait_s: Annotated[float, Field(ge=0)] = 1.0
    """Before the second time, twice as long before each further one."""
    most_wait_s: Seconds = 30.0
    """At most so long."""

    @field_validator("ae_title", "calling")
    @classmethod
    def _titles(cls, value: str) -> str:
        return _title(value)


class JourneySettings(_Settings):
    """How a study's failures are met."""

    tries: Annotated[int, Field(ge=1)] = 5
    """A study that failed so many times is set aside."""
    wait_s: Annotated[float, Field(ge=0)] = 30.0
    """Before the second time, twice as long before each further one."""
    most_wait_s: Seconds = 3600.0
    """At most so long."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.wait_s > self.most_wait_s:
            raise ValueError("the first wait is longer than the longest (wait_s, most_wait_s); lower it")
        return self


def _title(title: str) -> str:
    # PS3.5 6.2: 16 characters of the default repertoire, without backslash and control characters.
    plain = title.isascii() and title.isprintable() and "\\" not in title
    if not (plain and 1 <= len(title) <= 16 and title.strip() == title):
        raise ValueError(
            f"'{title}' is no AE title; give up to 16 letters and digits, without blanks at its ends or a backslash"
        )
    return title
