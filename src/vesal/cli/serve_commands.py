"""Verbs that keep running: serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vesal.errors import UsageError
from vesal.serve.serve_options import ServeOptions
from vesal.workflow.requests.fields import Argument, Backend, Device


def serve(
    models: Annotated[list[Path], Argument("Model files or run folders; each is asked for by its name.")],
    options: ServeOptions,
    device: Device = "auto",
    backend: Backend = "auto",
) -> None:
    """Segment what is sent by HTTP, from a browser, from 3D Slicer."""
    settings = options.settings(models, device, backend)
    try:
        from vesal.serve.server import serve as run_server
    except ImportError as error:
        raise UsageError(f"The server needs {error.name}; run pip install 'vesal[serve]'.") from error
    run_server(settings, lambda address: typer.echo(f"Vesal listens on {address} (Ctrl-C ends it)"))
