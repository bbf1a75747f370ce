"""What `vesal serve` takes, beside the models."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from vesal.errors import UsageError
from vesal.serve.serve_settings import Limits, ServeSettings, named_models, read_token
from vesal.workflow.requests.fields import Option

_GB = 10**9
#: Of hours, minutes, seconds and GB: a century of hours, and what dates and clocks can count.
_MOST = 1_000_000


@dataclass(frozen=True)
class ServeOptions:
    """Where a server listens, who may ask, and how much of everything.

    Raises:
        UsageError: a number is not above 0 or beyond all measure, or a name holds more than that of a host.
    """

    host: Annotated[str, Option("Address to listen on; others than this machine's own need a token.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Option("Port to listen on; 0 takes a free one.", min=0)] = 8765
    token_file: Annotated[
        Path | None, Option("File with the token that requests must bring; else that of VESAL_TOKEN.")
    ] = None
    name: Annotated[
        tuple[str, ...], Option("Another name of this host, as browsers call it.", many=True)
    ] = ()
    state: Annotated[
        Path | None, Option("Folder for jobs and results; ~/.local/state/vesal/serve when not given.")
    ] = None
    keep_hours: Annotated[float, Option("Results are kept so long.")] = 24.0
    max_upload_gb: Annotated[float, Option("Largest upload.")] = 4.0
    max_silence: Annotated[float, Option("Seconds without a byte until an upload is given up.")] = 30.0
    max_queue: Annotated[int, Option("Jobs that may wait.", min=1)] = 100
    max_minutes: Annotated[float, Option("A job may take so long.")] = 60.0
    max_memory_gb: Annotated[
        float | None,
        Option("Memory of the process that segments; 80 % of what is free when not given."),
    ] = None

    def __post_init__(self) -> None:
        for name in ("keep_hours", "max_upload_gb", "max_silence", "max_minutes", "max_memory_gb"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= _MOST:
                raise UsageError(
                    f"--{name.replace('_', '-')} is a number above 0 and up to {_MOST:,}, not {value:g}."
                )
        for name in self.name:
            if urlsplit(f"//{name}").hostname != name.lower():
                raise UsageError(
                    f"--name takes the name of a host alone, such as pacs.example, not '{name}'; leave out the rest."
                )

    def settings(self, models: list[Path], device: str, backend: str) -> ServeSettings:
        """Of a server with these models.

        Raises:
            UsageError: two models have one name, the token cannot be used, or there is none where one is needed.
        """
        return ServeSettings(
            # Absolute, as in the sentences of what reads a job's files: from these it is taken out.
            state=(default_state() if self.state is None else self.state).absolute(),
            models=named_models(models),
            host=self.host,
            port=self.port,
            token=read_token(self.token_file),
            names=self.name,
            device=device,
            backend=backend,
            limits=self._limits(),
        )

    def _limits(self) -> Limits:
        memory = {} if self.max_memory_gb is None else {"job_bytes": int(self.max_memory_gb * _GB)}
        return Limits(
            upload_bytes=int(self.max_upload_gb * _GB),
            silence_s=self.max_silence,
            queue=self.max_queue,
            job_s=60.0 * self.max_minutes,
            kept=timedelta(hours=self.keep_hours),
            **memory,
        )


def default_state() -> Path:
    """Where a server keeps its jobs: `vesal/serve` in the user's folder of states."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "vesal" / "serve"
