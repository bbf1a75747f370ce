"""Verbs that keep running: serve, view."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vesal.errors import UsageError
from vesal.serve.pacs_options import PacsOptions
from vesal.serve.serve_options import ServeOptions
from vesal.workflow.deployment.viewer_bundle import is_page
from vesal.workflow.requests.fields import Argument, Backend, Device, Option


def serve(
    models: Annotated[list[Path], Argument("Model files or run folders; each is asked for by its name.")],
    options: ServeOptions,
    archive: PacsOptions,
    device: Device = "auto",
    backend: Backend = "auto",
) -> None:
    """Segment what browsers, 3D Slicer or a PACS send."""
    settings = options.settings(models, device, backend)
    pacs = archive.settings(list(settings.models))
    try:
        from vesal.serve.server import serve as run_server
    except ImportError as error:
        raise UsageError(f"The server needs {error.name}; run pip install 'vesal[serve]'.") from error
    run_server(settings, pacs, lambda address: typer.echo(f"Vesal listens on {address} (Ctrl-C ends it)"))


def view(
    scan: Annotated[
        Path, Argument("A scan: a file, or a folder of DICOM; or a folder of vesal export --to web.")
    ],
    masks: Annotated[list[Path] | None, Argument("Label maps of it.")] = None,
    truth: Annotated[Path | None, Option("The true label map, to compare with.")] = None,
    uncertainty: Annotated[Path | None, Option("A map of the uncertainty, 0 to 1.")] = None,
    model: Annotated[Path | None, Option("A .vesal file, for the names and colours of the labels.")] = None,
    series: Annotated[
        str, Option("Of a DICOM study: the series, by number, UID or a part of its description.")
    ] = "",
    port: Annotated[int, Option("Port to listen on; 0 takes a free one.", min=0)] = 0,
    no_browser: Annotated[bool, Option("Print the address only.")] = False,
) -> None:
    """Look at a scan and its masks in the browser."""
    try:
        from vesal.serve.view_server import show_page
        from vesal.serve.view_server import view as run_view
        from vesal.serve.viewed_files import Viewed
    except ImportError as error:
        raise UsageError(f"The viewer needs {error.name}; run pip install 'vesal[serve]'.") from error

    def on_ready(address: str) -> None:
        typer.echo(f"Look at {address} (Ctrl-C ends it)")

    if is_page(scan):
        if masks or truth or uncertainty or model or series:
            raise UsageError(f"{scan} is a page, which opens scans by itself; name nothing beside it.")
        show_page(scan, port=port, browser=not no_browser, on_ready=on_ready)
        return
    labels = None
    if model is not None:
        from vesal.infer.model_packages import read_packages

        labels = read_packages(model)[1][0].plan.labels
    viewed = Viewed(scan, tuple(masks or ()), truth, uncertainty, labels, series)
    run_view(viewed, port=port, browser=not no_browser, on_ready=on_ready)
