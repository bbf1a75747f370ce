"""Weights to begin a training with: a model file, or a state dict of another program, fitted to a network by name.

No code in such a file ever runs: pickles are read as tensors and plain containers alone
(`vesal.nn.nnunet.safe_checkpoint`).
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from vesal.errors import UsageError, VesalError
from vesal.nn.model_file import load_package
from vesal.nn.nnunet.safe_checkpoint import read_checkpoint
from vesal.text import listed, times

#: Where programs keep the state dict in what they save: PyTorch's habit, Lightning, nnU-Net, MONAI, Vesal's checkpoint.
_PLACES = (
    *("average", "network", "state_dict", "model_state_dict", "model_state", "network_weights"),
    *("model", "net", "weights", "module", "params"),
)

#: What programs put before every name: DataParallel, Lightning, torch.compile.
_PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.", "_model.")


@dataclass(frozen=True)
class FittedWeights:
    """What of a file goes into a network.

    Attributes:
        tensors: name in the network -> values.
        sentence: how many were taken, and which were not.
    """

    tensors: dict[str, Tensor]
    sentence: str


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU.

    Args:
        path: NAME.vesal, NAME.safetensors, or what torch.save wrote: a state dict, or a checkpoint that holds one.

    Raises:
        UsageError: there is no such file.
        VesalError: it holds no tensors, or something else than tensors and plain values.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise UsageError(f"{path} {what}; name a model file (NAME.vesal) or a state dict.")
    if _is_model(path):
        return load_package(path).weights
    try:
        found = _read(path)
    except VesalError:
        raise
    except Exception as error:
        # What torch and safetensors raise for damaged and hostile bytes is manifold.
        raise VesalError(
            f"{path} cannot be read as weights: it is damaged, or holds more than tensors, which is never opened. "
            "Save the state dict alone: torch.save(network.state_dict(), FILE)."
        ) from error
    tensors = _state_dict(found)
    if not tensors:
        raise VesalError(
            f"{path} holds no tensors by name; save a state dict: torch.save(network.state_dict(), FILE)."
        )
    if bad := [name for name, one in tensors.items() if one.is_floating_point() and not one.isfinite().all()]:
        raise VesalError(
            f"{path} holds values that are not finite ({listed(bad, 3)}); take an earlier checkpoint."
        )
    return tensors


def fit_weights(weights: Mapping[str, Tensor], network: nn.Module, source: Path) -> FittedWeights:
    """Fit tensors to a network: those of the same name and shape, or all in their order where all shapes agree.

    Args:
        weights: name -> values.
        network: only its names and shapes are looked at, so it may lie on the device 'meta'.
        source: for the messages.

    Raises:
        VesalError: nothing fits.
    """
    own = dict(network.state_dict())
    given = _without_prefix(dict(weights), own)
    taken = {name: given[name] for name in own if name in given and given[name].shape == own[name].shape}
    if not taken and [one.shape for one in given.values()] == [one.shape for one in own.values()]:
        return FittedWeights(
            dict(zip(own, given.values(), strict=True)),
            f"Begins with {source}: all {len(own)} tensors, taken in their order, for the names differ.",
        )
    if not _learned(taken):
        raise VesalError(
            f"Nothing of {source} fits this network: it holds {listed(_described(given), 3)}; the network has "
            f"{listed(_described(own), 3)}. Plan the network that it was made for (--set network=..., "
            "--set plan.features=[...])."
        )
    return FittedWeights(taken, _sentence(taken, given, own, source))


def _sentence(
    taken: Mapping[str, Tensor], given: Mapping[str, Tensor], own: Mapping[str, Tensor], source: Path
) -> str:
    size = sum(own[name].numel() for name in taken) / max(1, sum(one.numel() for one in own.values()))
    parts = [f"Begins with {source}: {len(taken)} of {len(own)} tensors taken ({size:.1%} of the weights)"]
    other = [
        f"{name} ({times(given[name].shape) or 'one'} there, {times(own[name].shape) or 'one'} here)"
        for name in own
        if name in given and name not in taken
    ]
    absent = [name for name in own if name not in given]
    unused = [name for name in given if name not in own]
    if other:
        parts.append(f"of another shape, so begun anew: {listed(other, 4)}")
    if absent:
        parts.append(f"not in it, so begun anew: {listed(absent, 4)}")
    if unused:
        parts.append(f"in it, but not in the network: {listed(unused, 4)}")
    return "; ".join(parts) + "."


def _is_model(path: Path) -> bool:
    """A zip with Vesal's description; torch's checkpoints are zips too."""
    if path.suffix == ".vesal":
        return True
    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            return "model.json" in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        # Whoever reads it says that it is damaged.
        return False


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    return read_checkpoint(path)


def _state_dict(found: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, or of the one that a checkpoint holds."""
    if not isinstance(found, Mapping):
        return {}
    tensors = {name: one for name, one in found.items() if isinstance(name, str) and isinstance(one, Tensor)}
    if tensors:
        return tensors
    for place in _PLACES:
        if tensors := _state_dict(found.get(place)):
            return tensors
    return {}


def _without_prefix(given: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without what stands before every name, as long as the network's own names are not so."""
    while given and not set(given) & set(own):
        prefix = next(
            (prefix for prefix in _PREFIXES if all(name.startswith(prefix) for name in given)), None
        )
        if prefix is None:
            break
        given = {name.removeprefix(prefix): one for name, one in given.items()}
    return given


def _learned(tensors: Mapping[str, Tensor]) -> bool:
    """Whether there is more than counters."""
    return any(one.numel() > 1 for one in tensors.values())


def _described(tensors: Mapping[str, Tensor]) -> list[str]:
    return [f"{name} ({times(one.shape) or 'one'})" for name, one in tensors.items()]
