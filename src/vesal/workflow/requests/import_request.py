"""What `vesal import` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from vesal.run_files import MODEL
from vesal.workflow.requests.fields import Argument, Option, Request


@dataclass(frozen=True)
class ImportRequest(Request):
    """A trained model of another program, and what is to be known of it.

    Attributes:
        folder: of nnU-Net v2: TRAINER__PLANS__CONFIGURATION, or DatasetXXX_NAME above it; or of a MONAI bundle.
        out: the model file.
        configuration: of several in a data set's folder.
        folds: by their names; all that have the checkpoint when none is given.
        checkpoint: final, best, or a name in between checkpoint_ and .pth.
        custom_trainer: the trainer is none of nnU-Net's own, and its network computes as plans.json says all the same.
        licence: of the weights.
        origin: who made them, where they are from.
    """

    folder: Annotated[
        Path,
        Argument("A trained nnU-Net v2 (the folder with plans.json, or the one above), or a MONAI bundle."),
    ]
    out: Annotated[Path, Option("The model file, NAME.vesal.", ("-o", "--out"))] = Path(MODEL)
    configuration: Annotated[str | None, Option("Of several: 2d, 3d_fullres, 3d_lowres ...")] = None
    folds: Annotated[
        tuple[str, ...],
        Option("This fold alone (may be repeated); all vote when not given.", ("--fold",), many=True),
    ] = ()
    checkpoint: Annotated[str | None, Option("final or best; final where it is there, when not given.")] = (
        None
    )
    custom_trainer: Annotated[
        bool,
        Option("Import what a trainer of one's own has trained: its network computes as plans.json says."),
    ] = False
    licence: Annotated[
        str | None, Option("Licence of the weights, such as 'CC BY 4.0'; 'unknown' where nobody knows it.")
    ] = None
    origin: Annotated[str | None, Option("Who made the weights, or where they are from.")] = None
