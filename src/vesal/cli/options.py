"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[Path, typer.Argument(help="Folder of scans; its layout is recognised.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines instead of text.")]
Layout = Annotated[
    str, typer.Option("--layout", help="Layout of the data: auto, msd, nnunet, acdc, brats, png, ...")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
Backend = Annotated[str, typer.Option("--backend", help="Computes the network: auto, torch, openvino (CPU).")]
Tta = Annotated[bool, typer.Option("--tta", help="Average over mirrored copies: slower, a little better.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Replace a field of the recipe: key=value.")
]
Recipe = Annotated[
    str, typer.Option("--recipe", help="Recipe by name, or a YAML file; vesal networks lists them.")
]
