"""What a result was made with and on: versions and machine, for the report and the model file."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from vesal import __version__
from vesal.parallel import cpu_count

_PACKAGES = ("torch", "numpy", "scipy", "nibabel", "scikit-image", "pydantic")


def versions() -> dict[str, str]:
    """Versions of Vesal, Python and the libraries that compute."""
    found = {"vesal": __version__, "python": platform.python_version()}
    return found | {name: metadata.version(name) for name in _PACKAGES}


def environment(device: str) -> dict[str, Any]:
    """Versions, operating system, processor count, device and the time now (UTC)."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": cpu_count(),
        "device": _device_name(device),
    }


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        import torch

        return f"{device} ({torch.cuda.get_device_name(torch.device(device))})"
    return device
