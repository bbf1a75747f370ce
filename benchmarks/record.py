"""The record of a bench: machine, versions, command, table, notes."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.results import HEADER, Results, markdown, rows

PACKAGES = ("vesal", "torch", "nnunetv2", "monai", "openvino", "numpy", "scipy")

_READING = """\
Sides take turns, so that a pair of runs sees the same machine. A ratio is the other side's number divided by
Vesal's: of the two medians, and in brackets the least and the most of the pairs of runs. Above 1 Vesal took less.

Peak memory of a whole process is that of its process tree: the proportional set sizes of all its processes together
(shared pages count once), looked at ten times a second, or the high-water mark of a single one where that is more.
Of steps and exports it is the high-water mark of the one process that computes. 1 MB is 10^6 bytes."""


def record(results: Results, command: str) -> str:
    """Markdown, to be kept under records/."""
    notes = [
        f"**{row}**\n\n" + "\n".join(f"- {line}" for line in lines)
        for row, lines in results.notes.items()
        if lines
    ]
    parts = [
        "# Vesal beside nnU-Net and MONAI",
        f"{datetime.date.today().isoformat()}. {machine()}",
        versions(),
        f"```\n{command}\n```",
        markdown(HEADER, rows(results)),
        _READING,
        *notes,
    ]
    return "\n\n".join(parts) + "\n"


def machine() -> str:
    """One line about this computer."""
    described = Path("/proc/cpuinfo").read_text()
    fields = dict(line.split(":", 1) for line in described.splitlines() if ":" in line)
    about = {key.strip(): value.strip() for key, value in fields.items()}
    flags = set(about.get("flags", "").split())
    vectors = " ".join(name for name in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if name in flags)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"Machine: {os.cpu_count()} cores ({about.get('model name', platform.processor())}; {vectors}), "
        f"{memory:.0f} GiB, {platform.system()}{_threads()}."
    )


def _threads() -> str:
    chosen = os.environ.get("OMP_NUM_THREADS")
    return "" if chosen is None else f", OMP_NUM_THREADS={chosen}"


def versions() -> str:
    """Python, the packages that are compared, and the commit of this tree."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} absent")
    return f"Python {platform.python_version()}, {', '.join(found)}; commit {commit()}."


def commit() -> str:
    """Of the tree that this file is in, and whether files differ from it."""
    here = Path(__file__).parent
    try:
        name = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.stdout.strip()
