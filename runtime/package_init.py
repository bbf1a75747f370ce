"""Vesal's runtime: predict with exported models, without torch. What it offers is loaded when it is first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vesal.version import __version__

if TYPE_CHECKING:
    from vesal.infer.runtime.load_exported import load_exported as load_model
    from vesal.volume.io import read_volume, write_label

_PUBLIC = {
    "load_model": ("infer.runtime.load_exported", "load_exported"),
    "read_volume": ("volume.io", "read_volume"),
    "write_label": ("volume.io", "write_label"),
}

__all__ = ["__version__", "load_model", "read_volume", "write_label"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    module, attribute = _PUBLIC[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)
