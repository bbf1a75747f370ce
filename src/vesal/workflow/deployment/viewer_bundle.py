"""Where the viewer's files lie, as they were built."""

from __future__ import annotations

from pathlib import Path

#: Where `make viewer` and the build of a wheel put them.
FILES = Path(__file__).parents[2] / "serve" / "viewer_files"

#: Where there are none.
BUILD_IT = "run make viewer in Vesal's folder (it needs npm), or install a wheel that holds it"

#: Of an exported page: its description, and the page, which has another name among the files that were built.
MODEL, PAGE, BUILT_PAGE = "model.json", "index.html", "web.html"

#: What the page may ask for: its own files. A worker takes the policy of its own file, so it goes with every answer.
POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self' blob: data:; "
    "form-action 'none'; base-uri 'none'"
)


def is_page(folder: Path) -> bool:
    """Whether a folder is what `vesal export --to web` wrote."""
    return (folder / PAGE).is_file() and (folder / MODEL).is_file()


def is_built(files: Path = FILES) -> bool:
    """Whether the viewer is there."""
    return (files / "index.html").is_file()
