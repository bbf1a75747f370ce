"""What torch.save wrote, read without running any of its code: tensors, numbers, texts and plain containers.

Torch's own restricted reader (`weights_only`) does it. Checkpoints of nnU-Net also hold numbers of numpy's, among what
it logged; numpy's classes can be made to read any memory, so none of them is let in: stand-ins take their places and
keep nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vesal.errors import UsageError, VesalError


class _Ignored:
    """Stands for an object of numpy's."""

    def __init__(self, *_: object) -> None:
        """Whatever it is made of is forgotten."""

    def __setstate__(self, state: object) -> None:
        """Nor is it changed."""


def _ignored(*_: object) -> None:
    """Stands for the function of numpy's that makes a number."""


#: What stands for what, by its name in a checkpoint. Numpy 2 calls its core `_core`.
_STAND_INS: list[Any] = [
    *((_ignored, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((_Ignored, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((_Ignored, f"numpy.dtypes.{kind}DType") for kind in ("Float64", "Float32", "Int64", "Int32", "Bool")),
    (_Ignored, "numpy.dtype"),
    (_Ignored, "numpy.ndarray"),
]


def read_checkpoint(path: Path) -> Any:
    """What a file of torch.save's holds, its tensors on the CPU.

    Raises:
        UsageError: there is no such file.
        VesalError: it is damaged, or holds more than tensors and plain values; nothing of it was run.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise UsageError(f"{path} {what}; name what torch.save wrote.")
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # What torch raises for damaged and hostile bytes is manifold.
        raise VesalError(
            f"{path} cannot be read as weights: it is damaged, or holds more than tensors, which is never opened. "
            "Save the state dict alone: torch.save(network.state_dict(), FILE)."
        ) from error


def tensors_of(found: object, path: Path) -> dict[str, Tensor]:
    """The tensors by name of a mapping that `path` held, none of which says that it is larger than the file.

    Raises:
        VesalError: one is larger, as only a hostile file's is.
    """
    items = found.items() if isinstance(found, dict) else ()
    tensors = {name: one for name, one in items if isinstance(name, str) and isinstance(one, Tensor)}
    size = path.stat().st_size
    if large := [name for name, one in tensors.items() if one.numel() * one.element_size() > size]:
        raise VesalError(
            f"{path} says that {large[0]} is larger than the file itself; get it again from where it was made."
        )
    return tensors
