"""Builds the browser viewer into the wheel, where npm is: `viewer/` -> `src/vesal/serve/viewer_files/`.

A bundle that is there and newer than its sources is taken as it is. Without npm, or where npm fails, the wheel is built
without the viewer, with one line that says so: `vesal serve` then shows a page that tells how to build it. An editable
install builds nothing; `make viewer` does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUNDLE = Path("src/vesal/serve/viewer_files")
#: Nothing below these is a source of the bundle.
_MADE = {"node_modules", "test"}
#: A machine without a network shall say so within seconds.
_QUICK = {"npm_config_fetch_retries": "1", "npm_config_fetch_retry_mintimeout": "1000"}
_SECONDS = 600


class ViewerHook(BuildHookInterface):
    """Hatchling calls this before it gathers the files of a wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            build_viewer(Path(self.root), self.app.display_warning)


def build_viewer(root: Path, tell: Callable[[str], None]) -> None:
    """Bring the bundle up to date as far as this machine can; never raises for what npm does."""
    viewer, index = root / "viewer", root / BUNDLE / "index.html"
    if not (viewer / "package.json").is_file() or is_current(viewer, index):
        return
    left = "the viewer is built from older sources" if index.is_file() else "the wheel has no viewer"
    npm = shutil.which("npm")
    if npm is None:
        tell(f"npm is not installed: {left}. Install Node.js 20 or newer, or take a wheel that has it.")
        return
    for command in commands(viewer):
        try:
            run = subprocess.run(
                [npm, *command], cwd=viewer, env={**_QUICK, **os.environ}, timeout=_SECONDS,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, errors="replace",
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            tell(f"npm {' '.join(command)} failed ({type(error).__name__}): {left}.")
            return
        if run.returncode:
            tell(f"npm {' '.join(command)} failed ({reason(run.stdout)}): {left}.")
            return


def reason(output: str) -> str:
    """The first line of an error that is a sentence; npm begins with codes."""
    lines = [
        line.removeprefix("npm error").strip() for line in output.splitlines() if "error" in line.lower()
    ]
    sentences = [line for line in lines if line.count(" ") > 2]
    return next(iter([*sentences, *filter(None, lines)]), "it gave no reason").rstrip(".")


def commands(viewer: Path) -> list[list[str]]:
    """What to run: npm ci only where the packages are not those of the lock file."""
    lock, installed = viewer / "package-lock.json", viewer / "node_modules" / ".package-lock.json"
    fresh = installed.is_file() and installed.stat().st_mtime >= lock.stat().st_mtime
    return [["run", "build"]] if fresh else [["ci"], ["run", "build"]]


def is_current(viewer: Path, index: Path) -> bool:
    """Whether the bundle is there and no source is newer."""
    if not index.is_file():
        return False
    sources = (Path(at) / name for at, _, names in _walk(viewer) for name in names)
    return index.stat().st_mtime >= max(path.stat().st_mtime for path in sources)


def _walk(viewer: Path) -> Any:
    for at, folders, names in os.walk(viewer):
        folders[:] = [folder for folder in folders if folder not in _MADE]
        yield at, folders, names
