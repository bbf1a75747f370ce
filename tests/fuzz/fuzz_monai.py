"""Files of a MONAI bundle as targets: each goes through the whole import, as `vesal import` runs it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from unittest import mock

import torch
from their_bundle import BRATS, SPLEEN, changed, metadata_of, network_of, write_bundle

from vesal.workflow.model_exchange import import_bundle as import_module
from vesal.workflow.requests.import_request import ImportRequest

CONFIG, METADATA, WEIGHTS = (
    "bundle/configs/inference.json",
    "bundle/configs/metadata.json",
    "bundle/models/model.pt",
)
#: With references and expressions, as bundles have them.
_SPLEEN = {
    **changed(
        SPLEEN,
        inferer__roi_size="@window",
        preprocessing__transforms__3__pixdim="$@spacing if @fine else [3, 3, 3]",
    ),
    "window": [16, 16, 16],
    "spacing": [1.5, 1.5, 2.0],
    "fine": True,
}


def imported(file: Path) -> None:
    """Import the bundle that a file is of."""
    bundle = file.parent.parent
    import_module.import_bundle(ImportRequest(bundle, bundle.parent / "imported.vesal"))


def imported_quickly(file: Path) -> None:
    """The same, where the weights are not what is tried: they are read once."""
    with mock.patch.object(import_module, "read_checkpoint", _weights_once):
        imported(file)


_weights_once = cache(import_module.read_checkpoint)


def config(folder: Path) -> Sequence[bytes]:
    """`inference.json` of one that makes labels; the rest lies beside it."""
    _bundle(folder)
    return [json.dumps(_SPLEEN).encode()]


def regions(folder: Path) -> Sequence[bytes]:
    """The same of one that paints regions."""
    names = ["Tumor core", "Whole tumor", "Enhancing tumor"]
    write_bundle(
        folder / "bundle", BRATS, network_of(BRATS), metadata_of(["T1c", "T1", "T2", "FLAIR"], names)
    )
    return [json.dumps(BRATS).encode()]


def metadata(folder: Path) -> Sequence[bytes]:
    """`metadata.json`."""
    _bundle(folder)
    return [(folder / METADATA).read_bytes()]


def weights(folder: Path) -> Sequence[bytes]:
    """A state dict, and one within a checkpoint of a program that spreads a training."""
    _bundle(folder)
    data = (folder / WEIGHTS).read_bytes()
    held = torch.load(folder / WEIGHTS, weights_only=True)
    torch.save({"model": {f"module.{name}": one for name, one in held.items()}}, folder / "other.pt")
    return [data, (folder / "other.pt").read_bytes()]


def _bundle(folder: Path) -> None:
    write_bundle(
        folder / "bundle", _SPLEEN, network_of(SPLEEN), metadata_of(["image"], ["background", "spleen"])
    )
