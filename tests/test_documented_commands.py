"""Every command of the documentation is one that the program takes, and the tutorials run from top to bottom."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from vesal.cli.app import app

sys.path.insert(0, str(Path(__file__).parent))
import in_process

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md")),
]


def code_lines(text: str) -> Iterator[str]:
    """Lines within the fences of a page."""
    inside = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
        elif inside:
            yield line.strip()


def commands(page: str) -> list[list[str]]:
    """Words of each line of a page that begins with vesal, without what stands beside it as a comment or in columns."""
    lines = [
        line for line in code_lines((ROOT / page).read_text(encoding="utf-8")) if line.startswith("vesal ")
    ]
    return [shlex.split(re.split(r"\s{2,}|\s#", line)[0]) for line in lines]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_every_command_of_a_page_is_taken_by_the_program(page: str) -> None:
    group = get_command(app)
    for _, verb, *words in commands(page):
        # Names and options are checked; nothing is run.
        group.commands[verb].make_context(verb, list(words))


def test_the_researchers_tutorial_runs_from_top_to_bottom(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On smaller scans than it draws, with a few steps in place of its budgets."""
    monkeypatch.chdir(tmp_path)
    for _, verb, *words in commands("docs/tutorials/researcher.md"):
        if verb == "phantom":
            shutil.copytree(tiny_data, words[0])
            continue
        if "--budget" in words:
            place = words.index("--budget")
            words[place : place + 2] = ["--steps", "3"]
        done = in_process.vesal(verb, *words)
        assert done.returncode == 0, done.stderr
    for name in ("look/inspect.html", "run/report.html", "run/card/README.md", "comparison/comparison.md"):
        assert (tmp_path / name).exists()
