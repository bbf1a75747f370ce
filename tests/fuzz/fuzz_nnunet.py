"""Files of a model that nnU-Net trained as targets: each goes through the whole import, as `vesal import` runs it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from their_networks import TheirNetwork, dataset_of, kwargs_of, plans_of, write_folder

from vesal.workflow.model_exchange import import_model as import_module
from vesal.workflow.requests.import_request import ImportRequest

PLANS, DATASET, CHECKPOINT = "plans.json", "dataset.json", "fold_0/checkpoint_final.pth"
#: Of a network that is quickly built: two stages in 2D.
_FEATURES = (2, 2)


def imported(folder: Path) -> None:
    """Import the model of a folder."""
    import_module.import_model(ImportRequest(folder, folder / "imported.vesal"))


def imported_quickly(folder: Path) -> None:
    """The same, where the checkpoint is not what is tried: it is read once."""
    with mock.patch.object(import_module, "read_checkpoint", _checkpoint_once):
        imported(folder)


_checkpoint_once = cache(import_module.read_checkpoint)


def plans(folder: Path) -> Sequence[bytes]:
    """`plans.json` as nnU-Net writes it, and as it did before 2.4; the rest lies beside it."""
    new = _model(folder)
    old = json.loads(json.dumps(new))
    found = old["configurations"].pop("2d")
    kwargs = found.pop("architecture")["arch_kwargs"]
    found |= {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": _FEATURES[0],
        "unet_max_num_features": _FEATURES[1],
        "n_conv_per_stage_encoder": kwargs["n_conv_per_stage"],
        "n_conv_per_stage_decoder": kwargs["n_conv_per_stage_decoder"],
        "conv_kernel_sizes": kwargs["kernel_sizes"],
        "pool_op_kernel_sizes": kwargs["strides"],
    }
    old["configurations"] = {"base": found, "2d": {"inherits_from": "base"}}
    return [json.dumps(one).encode() for one in (new, old)]


def dataset(folder: Path) -> Sequence[bytes]:
    """`dataset.json` with labels, and with regions."""
    _model(folder)
    regions = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "inner": [3]}
    found = (dataset_of(), dataset_of(regions, regions_class_order=[1, 2, 3]))
    return [json.dumps(one).encode() for one in found]


def checkpoint(folder: Path) -> Sequence[bytes]:
    """A checkpoint in the format of today's torch, and in that before 1.6."""
    _model(folder)
    data = (folder / CHECKPOINT).read_bytes()
    held = torch.load(io.BytesIO(data), weights_only=False)
    torch.save(held, stream := io.BytesIO(), _use_new_zipfile_serialization=False)
    return [data, stream.getvalue()]


def _model(folder: Path) -> dict[str, Any]:
    """Put a model into a folder; its plans."""
    kwargs = kwargs_of(2, features=_FEATURES)
    found = plans_of("2d")
    found["configurations"]["2d"]["architecture"]["arch_kwargs"] = kwargs
    made = write_folder(folder / "made", found, dataset_of(), {"0": TheirNetwork(kwargs, 1, 3)})
    (folder / "fold_0").mkdir()
    for name in (PLANS, DATASET, CHECKPOINT):
        (folder / name).write_bytes((made / name).read_bytes())
    return found
