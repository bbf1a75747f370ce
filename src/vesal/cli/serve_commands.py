"""Verbs that keep running: serve."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from vesal.errors import UsageError
from vesal.workflow.requests.fields import Argument, Backend, Device, Option

_GB = 10**9


def serve(
    models: Annotated[list[Path], Argument("Model files or run folders; each is asked for by its name.")],
    host: Annotated[
        str, Option("Address to listen on; others than this machine's own need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, Option("Port to listen on; 0 takes a free one.", min=0)] = 8765,
    token_file: Annotated[
        Path | None, Option("File with the token that requests must bring; else that of VESAL_TOKEN.")
    ] = None,
    name: Annotated[
        tuple[str, ...], Option("Another name of this host, as browsers call it.", many=True)
    ] = (),
    state: Annotated[
        Path | None, Option("Folder for jobs and results; ~/.local/state/vesal/serve when not given.")
    ] = None,
    keep_hours: Annotated[float, Option("Results are kept so long.")] = 24.0,
    max_upload_gb: Annotated[float, Option("Largest upload.")] = 4.0,
    max_silence: Annotated[float, Option("Seconds without a byte until an upload is given up.")] = 30.0,
    max_queue: Annotated[int, Option("Jobs that may wait.", min=1)] = 100,
    max_minutes: Annotated[float, Option("A job may take so long.")] = 60.0,
    max_memory_gb: Annotated[
        float | None, Option("Memory of the process that segments; 80 % of what is free when not given.")
    ] = None,
    device: Device = "auto",
    backend: Backend = "auto",
) -> None:
    """Segment what is sent by HTTP, from a browser, from 3D Slicer."""
    try:
        from vesal.serve.serve_settings import Limits, ServeSettings, named_models, read_token
        from vesal.serve.server import default_state
        from vesal.serve.server import serve as run_server
    except ImportError as error:
        raise UsageError(f"The server needs {error.name}; run pip install 'vesal[serve]'.") from error
    above_0 = {
        "--keep-hours": keep_hours,
        "--max-upload-gb": max_upload_gb,
        "--max-silence": max_silence,
        "--max-minutes": max_minutes,
        "--max-memory-gb": 1.0 if max_memory_gb is None else max_memory_gb,
    }
    for option, value in above_0.items():
        if not value > 0:
            raise UsageError(f"{option} is a number above 0, not {value:g}.")
    memory = {} if max_memory_gb is None else {"job_bytes": int(max_memory_gb * _GB)}
    limits = Limits(
        upload_bytes=int(max_upload_gb * _GB),
        silence_s=max_silence,
        queue=max_queue,
        job_s=60.0 * max_minutes,
        kept=timedelta(hours=keep_hours),
        **memory,
    )
    settings = ServeSettings(
        state=default_state() if state is None else state,
        models=named_models(models),
        host=host,
        port=port,
        token=read_token(token_file),
        names=name,
        device=device,
        backend=backend,
        limits=limits,
    )
    run_server(settings, lambda address: typer.echo(f"Vesal listens on {address} (Ctrl-C ends it)"))
