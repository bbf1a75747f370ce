"""The libraries of DICOM, which `vesal[dicom]` brings: loaded when a DICOM object is read."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from vesal.errors import UsageError


def needed(module: str) -> ModuleType:
    """A library of the extra `dicom`.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise UsageError(
            f"DICOM needs {module.partition('.')[0]}; pip install 'vesal[dicom]' brings it."
        ) from error
