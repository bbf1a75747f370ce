"""Every command of the documentation is one that the program takes, and the tutorials run from top to bottom."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
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


def run_commands(page: str, data: Path, leave_out: Sequence[str] = ()) -> list[str]:
    """Run a page's commands here from top to bottom, on `data` in place of what it draws, with a few steps in place of
    budgets.

    Args:
        page: of the documentation.
        data: a data set in place of the phantoms.
        leave_out: commands that begin so are not run.

    Returns:
        What each printed.
    """
    printed = []
    for _, verb, *words in commands(page):
        if f"{verb} {shlex.join(words)}".startswith(tuple(leave_out)):
            continue
        if verb == "phantom":
            shutil.copytree(data, words[0])
            continue
        for length in ("--budget", "--steps"):
            if length in words:
                place = words.index(length)
                words[place : place + 2] = ["--steps", "3"]
        done = in_process.vesal(verb, *words)
        assert done.returncode == 0, f"vesal {verb} {shlex.join(words)}: {done.stderr}"
        printed.append(done.stdout)
    return printed


def test_the_researchers_tutorial_runs_from_top_to_bottom(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On smaller scans than it draws."""
    monkeypatch.chdir(tmp_path)
    run_commands("docs/tutorials/researcher.md", tiny_data)
    for name in ("look/inspect.html", "run/report.html", "run/card/README.md", "comparison/comparison.md"):
        assert (tmp_path / name).exists()


def python_blocks(page: str) -> list[str]:
    """What stands in the fences of Python of a page."""
    return re.findall(
        r"^```python\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def test_what_the_readme_does_with_a_trained_run_works(
    tiny_data: Path, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And pages whose commands take no training and come to an end by themselves."""
    monkeypatch.chdir(tmp_path)
    for name, there in {
        "DATA": tiny_data,
        "NEW_SCANS": tiny_data / "imagesTr",
        "TRUTH": tiny_data / "labelsTr",
        "scan.nii.gz": tiny_data / "imagesTr" / "tiny_01.nii.gz",
        "run": trained_run,
        "RUN": trained_run,
    }.items():
        Path(name).symlink_to(there)
    run_commands("README.md", tiny_data, leave_out=["train"])
    (block,) = python_blocks("README.md")
    exec(compile(block, "README.md", "exec"), {})
    assert Path("mask.nii.gz").read_bytes() == Path("masks/tiny_01.nii.gz").read_bytes()
    run_commands("docs/tutorials/student.md", tiny_data, leave_out=["overfit", "train", "compare"])
    shutil.copy(trained_run / "fold_0" / "model.vesal", "model.vesal")
    run_commands("docs/card.md", tiny_data)
    Path("model.vesal").unlink()
    run_commands("docs/deploy.md", tiny_data, leave_out=["view", "export run --to web"])
    assert {"model.vesal", "model.xml", "model.bin", "card", "scores"} <= {
        path.name for path in tmp_path.iterdir()
    }
