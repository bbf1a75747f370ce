"""What a server may do, and how much of everything."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from vesal.errors import UsageError
from vesal.parallel import available_memory
from vesal.serve.listening import is_loopback

#: Where the token is looked for when no file of it is named: an argument would stand in the list of processes.
TOKEN_VARIABLE = "VESAL_TOKEN"
#: The same of the archive's secrets.
PACS_TOKEN_VARIABLE, PACS_PASSWORD_VARIABLE = "VESAL_PACS_TOKEN", "VESAL_PACS_PASSWORD"
_SHORTEST_TOKEN = 16
#: Of the memory that is free when the server starts, for a job's process; the rest is the server's and the system's.
_JOB_SHARE = 0.8


@dataclass(frozen=True)
class Limits:
    """What a request and a job may use up.

    Attributes:
        upload_bytes: of one upload.
        upload_files: in one upload.
        uploads: at the same time.
        silence_s: without a byte of an upload until it is given up.
        upload_s: an upload may take.
        queue: jobs that wait.
        job_s: a job may take.
        job_bytes: memory of a job's process.
        kept: how long what a job made is kept after its end.
        room_bytes: that must stay free on the disk.
    """

    upload_bytes: int = 4 << 30
    upload_files: int = 20_000
    uploads: int = 32
    silence_s: float = 30.0
    upload_s: float = 3600.0
    queue: int = 100
    job_s: float = 3600.0
    job_bytes: int = field(default_factory=lambda: int(_JOB_SHARE * available_memory()))
    kept: timedelta = timedelta(hours=24)
    room_bytes: int = 1 << 30


@dataclass(frozen=True)
class ServeSettings:
    """How a server runs.

    Attributes:
        state: folder of its jobs; one server at a time.
        models: name -> file or run folder.
        host, port: where it listens.
        token: that every request must bring; '' asks for none.
        names: of this host, as a browser may call it, beside localhost and its addresses.
        device, backend: as of `vesal predict`.
        limits: of requests and jobs.
    """

    state: Path
    models: dict[str, Path]
    host: str = "127.0.0.1"
    port: int = 8765
    token: str = ""
    names: tuple[str, ...] = ()
    device: str = "auto"
    backend: str = "auto"
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.models:
            raise UsageError("There is no model to serve; name one or several.")
        if not 0 <= self.port < 1 << 16:
            raise UsageError(f"A port is a number from 0 to 65535, not {self.port}.")
        if self.token and len(self.token) < _SHORTEST_TOKEN:
            raise UsageError(
                f"The token has {len(self.token)} characters; take at least {_SHORTEST_TOKEN}, such as those of "
                "`openssl rand -hex 16`."
            )
        if not (self.token.isascii() and self.token.isprintable()):
            raise UsageError(
                "The token holds characters that a request cannot bring; take letters and digits, such as those of "
                "`openssl rand -hex 16`."
            )
        if not self.token and not is_loopback(self.host):
            raise UsageError(
                f"On {self.host} others can reach the server: give it a token, in the variable {TOKEN_VARIABLE} or by "
                "--token-file FILE, or listen on 127.0.0.1."
            )


def read_token(file: Path | None) -> str:
    """The token of a file, or of the environment; '' where there is none.

    Raises:
        UsageError: the file cannot be read, is empty, or others may read it.
    """
    if file is None:
        return os.environ.get(TOKEN_VARIABLE, "").strip()
    try:
        text, mode = file.read_text(encoding="utf-8").strip(), file.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The token's file {file} cannot be read ({error}); check the path.") from error
    if not text:
        raise UsageError(
            f"The token's file {file} is empty; write a token of at least {_SHORTEST_TOKEN} characters."
        )
    if os.name == "posix" and mode & 0o077:
        raise UsageError(f"Others may read the token's file {file}; run chmod 600 {file}.")
    return text


def named_models(paths: list[Path]) -> dict[str, Path]:
    """Model files and run folders by the names that requests use.

    >>> list(named_models([Path("heart.vesal"), Path("runs/brats")]))
    ['heart', 'brats']

    Raises:
        UsageError: one is not there, or two have one name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        name = path.resolve().name.removesuffix(".vesal")
        if name in found:
            raise UsageError(f"{found[name]} and {path} would both be the model {name}; rename one of them.")
        found[name] = path
    return found
