"""What a result was made with and on: versions and machine, for the report and the model file."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from vesal.cpus import cpu_count
from vesal.text import plural
from vesal.version import __version__

#: Where Vesal may run: what `platform_name` returns -> as it is shown.
PLATFORMS = {"local": "Local", "kaggle": "Kaggle", "colab": "Colab", "slurm": "SLURM"}

_PACKAGES = ("torch", "numpy", "scipy", "nibabel", "scikit-image", "pydantic")


def versions() -> dict[str, str]:
    """Versions of Vesal, Python and the libraries that compute."""
    found = {"vesal": __version__, "python": platform.python_version()}
    return found | {name: metadata.version(name) for name in _PACKAGES}


def platform_name(kaggle_working: Path = Path("/kaggle/working")) -> str:
    """Where this process runs: a key of PLATFORMS.

    Kaggle sets KAGGLE_KERNEL_RUN_TYPE, Colab COLAB_RELEASE_TAG, SLURM SLURM_JOB_ID. Kaggle's image is built on
    Colab's, and Colab mounts Kaggle's data below /kaggle, so Kaggle's variable is asked before Colab's and its
    folder after.
    """
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        return "kaggle"
    if "COLAB_RELEASE_TAG" in os.environ or "google.colab" in sys.modules:
        return "colab"
    if kaggle_working.is_dir():
        return "kaggle"
    return "slurm" if "SLURM_JOB_ID" in os.environ else "local"


def environment_line(device: str) -> str:
    """One line for people, such as 'Kaggle, Linux x86_64, 4 CPUs, cuda (Tesla T4)'."""
    found = environment(device)
    cpus = plural(found["cpus"], "CPU")
    return f"{PLATFORMS[found['platform']]}, {found['system']}, {cpus}, {found['device']}"


def environment(device: str) -> dict[str, Any]:
    """Versions, platform, operating system, processor count, device and the time now (UTC)."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "platform": platform_name(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": cpu_count(),
        "device": _device_name(device),
    }


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        import torch

        return f"{device} ({torch.cuda.get_device_name(torch.device(device))})"
    return device
