"""The build of the viewer into the wheel, with an npm that the test writes."""

from __future__ import annotations

import os
import runpy
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
OLD, NEW = 1_000_000_000, 2_000_000_000


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The functions of hatch_build.py; hatchling itself is only there while a wheel is built."""
    name = "hatchling.builders.hooks.plugin.interface"
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    sys.modules[name].BuildHookInterface = object  # type: ignore[attr-defined]
    return runpy.run_path(str(ROOT / "hatch_build.py"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("package.json", "package-lock.json", "src/main.ts"):
        path = tmp_path / "project" / "viewer" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        os.utime(path, (OLD, OLD))
    return tmp_path / "project"


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts an npm of these lines on the path; it notes what it was asked in the file that comes back."""

    def install(lines: str) -> Path:
        tools, log = tmp_path / "tools", tmp_path / "asked"
        tools.mkdir(exist_ok=True)
        (tools / "npm").write_text(f'#!/bin/sh\necho "$@" >> {log}\n{lines}\n')
        (tools / "npm").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
        return log

    return install


OUT = "../src/vesal/serve/viewer_files"
BUILD = f'[ "$1" = ci ] || {{ mkdir -p {OUT}; echo > {OUT}/index.html; }}'


def test_a_missing_bundle_is_built_and_then_left_alone(hook: dict[str, Any], project: Path, npm: Any) -> None:
    log = npm(BUILD)
    messages: list[str] = []
    for _ in range(2):
        hook["build_viewer"](project, messages.append)
    assert log.read_text().split("\n") == ["ci", "run build", ""]
    assert messages == []


def test_a_bundle_older_than_its_sources_is_built_again(
    hook: dict[str, Any], project: Path, npm: Any
) -> None:
    log = npm(BUILD)
    hook["build_viewer"](project, print)
    (project / "viewer/node_modules/big").mkdir(parents=True)
    (project / "viewer/node_modules/.package-lock.json").write_text("{}")
    os.utime(project / "viewer/src/main.ts", (NEW * 2, NEW * 2))
    hook["build_viewer"](project, print)
    assert log.read_text().split("\n") == ["ci", "run build", "run build", ""]


def test_packages_are_no_sources(hook: dict[str, Any], project: Path, npm: Any) -> None:
    log = npm(BUILD)
    hook["build_viewer"](project, print)
    package = project / "viewer/node_modules/big/index.js"
    package.parent.mkdir(parents=True)
    package.write_text("x")
    os.utime(package, (NEW * 2, NEW * 2))
    hook["build_viewer"](project, print)
    assert log.read_text().split("\n") == ["ci", "run build", ""]


def test_without_npm_the_build_goes_on_and_says_so(
    hook: dict[str, Any], project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    messages: list[str] = []
    hook["build_viewer"](project, messages.append)
    assert len(messages) == 1
    assert messages[0].startswith("npm is not installed: the wheel has no viewer.")


def test_an_npm_that_fails_is_told_in_one_line(hook: dict[str, Any], project: Path, npm: Any) -> None:
    log = npm(
        'echo "npm notice x"; echo "npm error code ENOTFOUND"; echo "npm error the host was not found."; exit 1'
    )
    messages: list[str] = []
    hook["build_viewer"](project, messages.append)
    assert messages == ["npm ci failed (the host was not found): the wheel has no viewer."]
    assert log.read_text() == "ci\n"


def test_a_source_tree_without_the_viewer_builds_none(hook: dict[str, Any], tmp_path: Path, npm: Any) -> None:
    log = npm(BUILD)
    hook["build_viewer"](tmp_path, print)
    assert not log.exists()


def test_the_lock_file_names_no_registry() -> None:
    assert "resolved" not in (ROOT / "viewer" / "package-lock.json").read_text()
