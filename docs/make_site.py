"""Gather the pages of the site: README and docs, and the reference, which is written from the code.

    python docs/make_site.py build/docs      # then: mkdocs build --strict (make docs does both)

Pages keep the places that they have in the repository, so that their links hold; README.md becomes index.md. A link to
a file that is no page, such as a source file, becomes the text that it stood on.
"""

from __future__ import annotations

import inspect
import re
import shutil
import sys
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
#: What becomes the site: Markdown, and the pictures beside it.
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/**/*", "records/**/*")
_KINDS = {".md", ".png", ".svg", ".jpg"}
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def gather(out: Path, root: Path = ROOT) -> list[Path]:
    """Copy all pages below `out`, which is made anew; the files."""
    shutil.rmtree(out, ignore_errors=True)
    found = sorted({path for pattern in PAGES for path in root.glob(pattern) if path.suffix in _KINDS})
    names = {path.relative_to(root).as_posix() for path in found}
    written = []
    for path in found:
        name = path.relative_to(root).as_posix()
        target = out / ("index.md" if name == "README.md" else name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            target.write_text(with_links(path.read_text(encoding="utf-8"), name, names), encoding="utf-8")
        else:
            shutil.copyfile(path, target)
        written.append(target)
    return written


def with_links(text: str, page: str, names: set[str]) -> str:
    """The text of a page whose links lead to pages; code blocks stay as they are.

    >>> with_links("[a](docs/plan.md#x), [b](src/a.py), [c](https://d)", "README.md", {"docs/plan.md"})
    '[a](docs/plan.md#x), b, [c](https://d)'
    """

    def link(match: re.Match[str]) -> str:
        words, target = match.groups()
        if target.startswith(("#", "http://", "https://", "mailto:")):
            return match.group()
        path, _, anchor = target.partition("#")
        place = _joined(PurePosixPath(page).parent / path)
        if place not in names:
            return words
        if place == "README.md":
            up = "../" * (len(PurePosixPath(page).parts) - 1)
            return f"[{words}]({up}index.md{'#' + anchor if anchor else ''})"
        return match.group()

    parts = re.split(r"(^ *```.*?^ *```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.lstrip().startswith("```") else _LINK.sub(link, part) for part in parts)


def _joined(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def command_line() -> str:
    """The help of every verb, as the program prints it."""
    from typer.main import get_command
    from typer.testing import CliRunner

    from vesal.cli.app import app

    runner, group = CliRunner(), get_command(app)
    parts = [
        "# Command line",
        "Written from the program's own help.",
        _block(runner.invoke(app, ["--help"]).output),
    ]
    for verb in group.commands:  # type: ignore[attr-defined]
        parts += [f"## vesal {verb}", _block(runner.invoke(app, [verb, "--help"]).output)]
    return "\n\n".join(parts) + "\n"


def python() -> str:
    """What `import vesal` gives: signatures, fields and docstrings."""
    import vesal

    parts = [
        "# Python",
        "Written from the code. All names are of the module `vesal`; what is not here may change.",
    ]
    for name in vesal.__all__:
        value = getattr(vesal, name)
        if not callable(value):
            continue
        signature = str(inspect.signature(value)).replace("pathlib._local.", "").replace("pathlib.", "")
        parts += [
            f"## vesal.{name}",
            _block(_wrapped(f"{name}{signature}")),
            _block(inspect.getdoc(value) or ""),
        ]
    return "\n\n".join(parts) + "\n"


def _wrapped(signature: str) -> str:
    """One parameter a line."""
    if len(signature) <= 100 or not (match := re.match(r"(\w+\()(.*)(\)(?: -> .*)?)$", signature, re.DOTALL)):
        return signature
    begin, inner, end = match.groups()
    return f"{begin}\n    {_split(inner)}\n{end}"


def _split(inner: str) -> str:
    depth, text = 0, ""
    for letter in inner:
        depth += (letter in "[({") - (letter in "])}")
        text += ",\n   " if letter == "," and depth == 0 else letter
    return text


def _block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"


def main(out: Path) -> None:
    """Write all pages below `out`."""
    gather(out)
    (out / "reference").mkdir()
    (out / "reference" / "command-line.md").write_text(command_line(), encoding="utf-8")
    (out / "reference" / "python.md").write_text(python(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
