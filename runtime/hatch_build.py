"""Gathers vesal-runtime: just those modules of ../src/vesal that prediction without torch imports.

They are called vesal_runtime there, in their imports too, so that Vesal itself may be installed beside it and neither
owns a file of the other. The source archive holds them as they were gathered, so that the wheel that is built of it is
the same.
"""

from __future__ import annotations

import ast
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FROM, NAME = "vesal", "vesal_runtime"
#: What is imported by the command and by whoever uses the package.
ROOTS = ("vesal.infer.runtime.program", "vesal.infer.runtime.__main__")
_INIT, _LICENSE = "package_init.py", "LICENSE"
_IMPORT = re.compile(rf"^(\s*(?:from|import) ){FROM}\b", re.MULTILINE)


class RuntimeHook(BuildHookInterface):
    """Hatchling calls this before it gathers the files of a wheel or a source archive."""

    PLUGIN_NAME = "custom"
    _folder: str | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if (root / NAME).is_dir():
            # An unpacked source archive, where ../src is not; Hatchling takes the package by itself.
            return
        self._folder = tempfile.mkdtemp()
        made = gather(root.parent / "src", root / _INIT, Path(self._folder))
        shutil.copy(root.parent / _LICENSE, made)
        build_data["force_include"][str(made)] = NAME

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def gather(source: Path, init: Path, to: Path) -> Path:
    """Write the package below `to`.

    Args:
        source: the folder that holds the package vesal.
        init: what the package's own __init__ becomes.
        to: a folder.

    Returns:
        The package's folder.
    """
    package = to / NAME
    texts = {_file(module, source): None for module in needed(source)}
    for file in texts:
        target = package / file.relative_to(source / FROM)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = (init if target == package / "__init__.py" else file).read_text(encoding="utf-8")
        target.write_text(_IMPORT.sub(rf"\1{NAME}", text), encoding="utf-8")
    return package


def needed(source: Path) -> list[str]:
    """The modules that ROOTS import, directly or not, without those that need torch."""
    found: dict[str, None] = {}
    waiting = [*ROOTS, f"{FROM}.version", f"{FROM}.volume.io"]
    while waiting:
        module = waiting.pop()
        if module in found or (file := _file(module, source)) is None:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        if any(_is_torch(node) for node in tree.body):
            continue
        found[module] = None
        parents = module.split(".")[:-1]
        waiting += [".".join(parents[:count]) for count in range(1, len(parents) + 1)]
        if module != FROM:
            waiting += _imported(tree)
    return sorted(found)


def _file(module: str, source: Path) -> Path | None:
    path = source.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


def _is_torch(node: ast.stmt) -> bool:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    return any(name.split(".")[0] == "torch" for name in names)


def _imported(tree: ast.AST) -> Iterator[str]:
    """What a module imports of Vesal, at its start or later, but for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == FROM:
            yield node.module or ""
            # A name may be a module.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from _imported(node)
