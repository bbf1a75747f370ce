"""Execute the notebooks and store them with small outputs: `make notebooks`, or `python notebooks/store.py tour ...`.

A stored notebook shows what a reader without Python would see: text, tables and small pictures. It holds nothing of the
machine that made it: no path, no time, no memory address, no state of a widget. `complaints` says what is not so.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import platform
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbclient
import nbformat
from PIL import Image

HERE = Path(__file__).resolve().parent

#: Bytes of a stored notebook, outputs and all.
MOST_BYTES = 400_000
#: Pixels of a stored picture from left to right.
MOST_PIXELS = 640
#: Colours of a stored PNG.
COLOURS = 128
#: Seconds that one cell may take.
PATIENCE_S = 1200

#: Widgets have no picture where no kernel runs: the notebooks show some slices instead.
WITHOUT_WIDGETS = "import sys\n\nsys.modules['ipywidgets'] = None"
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
#: What `tempfile.mkdtemp(prefix="vesal-tour-")` adds.
RANDOM = re.compile(r"\b(vesal-[a-z]+)-[a-z0-9_]{8}\b")
ABSOLUTE = re.compile(
    r"(?<![\w.:/<-])/(?:home|root|tmp|usr|var|opt|mnt|work|Users|private)/\S*|\b[A-Z]:\\\S+"
)


def names() -> list[str]:
    """All notebooks of this folder, by name."""
    return sorted(path.stem for path in HERE.glob("*.ipynb"))


def read(name: str) -> Any:
    return nbformat.read(HERE / f"{name}.ipynb", as_version=4)


def execute(
    notebook: Any, folder: Path, *, settings: str = "", widgets: bool = False, patience_s: int = PATIENCE_S
) -> Any:
    """Run all cells of a notebook, in place, with its temporary files in `folder`.

    Args:
        settings: code to run after the cell that is tagged `parameters`, to replace some of its values.
        widgets: with sliders, where they are installed.
        patience_s: that one cell may take.

    Raises:
        ValueError: not exactly one cell is tagged `parameters`.
        nbclient.exceptions.CellTimeoutError: a cell took longer.
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    tagged = [
        number for number, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])
    ]
    if len(tagged) != 1:
        raise ValueError(f"{len(tagged)} cells are tagged 'parameters'; tag the one that holds the settings")
    (parameters,) = tagged
    added = {"settings": settings, "widgets": "" if widgets else WITHOUT_WIDGETS}
    for key, code in added.items():
        notebook.cells.insert(parameters + 1, nbformat.v4.new_code_cell(code, id=f"added-{key}"))
    nbclient.NotebookClient(
        notebook,
        timeout=patience_s,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    ).execute(env=_environment(folder))
    notebook.cells = [cell for cell in notebook.cells if not cell.id.startswith("added-")]
    return notebook


def _environment(folder: Path) -> dict[str, str]:
    """Of the kernel: temporary files in `folder`, and nobody's own startup files and settings."""
    own = {"IPYTHONDIR": "ipython", "JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime"}
    return os.environ | {name: str(folder / place) for name, place in own.items()} | {"TMPDIR": str(folder)}


def shrink(notebook: Any, folder: Path) -> Any:
    """Make the outputs small and free of the machine, in place; `folder` is where the notebook was executed."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "vesal": {"executed": digest(notebook)},
        }
    )
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, start=1):
        cell.execution_count = number
        cell.metadata = {key: cell.metadata[key] for key in ("tags",) if key in cell.metadata}
        cell.outputs = [_without_machine(output, folder) for output in _joined(cell.outputs)]
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
            if "image/png" in output.get("data", {}):
                _shrink_picture(output)
    return notebook


def digest(notebook: Any) -> str:
    """Of the code alone: it tells whether outputs belong to it."""
    code = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def _joined(outputs: list[Any]) -> list[Any]:
    """One output for neighbouring pieces of one stream: how print is cut up depends on the moment."""
    joined: list[Any] = []
    for output in outputs:
        before = joined[-1] if joined else None
        if before and output.output_type == before.output_type == "stream" and output.name == before.name:
            before.text += output.text
        else:
            joined.append(output)
    return joined


def _without_machine(output: Any, folder: Path) -> Any:
    def mend(text: str) -> str:
        text = text.replace(f"{folder}/", "")
        return ADDRESS.sub("", RANDOM.sub(r"\1", text))

    if "text" in output:
        output.text = mend(output.text)
    for kind, value in output.get("data", {}).items():
        if kind.startswith("text/"):
            output.data[kind] = mend(value)
    return output


def _shrink_picture(output: Any) -> None:
    """No wider than it is shown, as PNG of few colours or as JPEG, whichever is smaller: JPEG for scans with noise."""
    width = min(MOST_PIXELS, output.get("metadata", {}).get("image/png", {}).get("width", MOST_PIXELS))
    image = Image.open(io.BytesIO(base64.b64decode(output.data.pop("image/png")))).convert("RGBA")
    page = Image.new("RGBA", image.size, "white")
    page.alpha_composite(image)
    page = page.convert("RGB")
    if page.width > width:
        page = page.resize((width, round(page.height * width / page.width)), Image.Resampling.LANCZOS)
    # By coverage, not by frequency: the coloured lines of a chart are few pixels.
    few = page.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    encoded = {}
    for kind, small in (("png", few), ("jpeg", page)):
        small.save(buffer := io.BytesIO(), kind, optimize=True)
        encoded[f"image/{kind}"] = base64.b64encode(buffer.getvalue()).decode()
    kind = min(encoded, key=lambda kind: len(encoded[kind]))
    output.data[kind] = encoded[kind]
    output.metadata = nbformat.from_dict({kind: {"width": page.width}})


def complaints(notebook: Any) -> list[str]:
    """What a stored notebook should not have, a sentence each."""
    found = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if notebook.metadata.get("vesal", {}).get("executed") != digest(notebook):
        found.append("the code was changed after it was executed: make notebooks")
    if not any(cell.outputs for cell in code):
        found.append("it has no outputs: make notebooks")
    if "widgets" in notebook.metadata:
        found.append("it holds the state of widgets")
    for cell in code:
        found += [
            f"cell {cell.id}: {sentence}" for output in cell.outputs for sentence in _complaints(output)
        ]
    size = len(nbformat.writes(notebook))
    if size > MOST_BYTES:
        found.append(f"it has {size:,} bytes, more than {MOST_BYTES:,}")
    return found


def _complaints(output: Any) -> list[str]:
    found = []
    if output.output_type == "error":
        found.append(f"{output.ename}: {output.evalue}")
    if output.get("name") == "stderr":
        found.append(f"it wrote to stderr: {output.text[:200]}")
    data = output.get("data", {})
    found += [f"it shows {kind}" for kind in data if "widget" in kind or "javascript" in kind]
    texts = [output.get("text", ""), *(data[kind] for kind in data if kind.startswith("text/"))]
    for text in texts:
        found += [f"it names the path {path}" for path in ABSOLUTE.findall(text)]
        found += [f"it names the address{address}" for address in ADDRESS.findall(text)]
        if len(platform.node()) > 3 and platform.node() in text:
            found.append("it names the machine")
    return found


def store(name: str) -> list[str]:
    """Execute a notebook and write it back with small outputs, unless `complaints` finds something."""
    with tempfile.TemporaryDirectory(prefix="notebook-") as made:
        folder = Path(made).resolve()
        try:
            notebook = shrink(execute(read(name), folder), folder)
        except (ValueError, nbclient.exceptions.CellExecutionError) as error:
            return [str(error)]
    found = complaints(notebook)
    if not found:
        nbformat.write(notebook, HERE / f"{name}.ipynb")
    return found


def main() -> int:
    chosen = sys.argv[1:] or names()
    unknown = sorted(set(chosen) - set(names()))
    if unknown:
        print(f"there is no notebook {', '.join(unknown)}; there are {', '.join(names())}", file=sys.stderr)
        return 2
    failed = 0
    for name in chosen:
        found = store(name)
        size = (HERE / f"{name}.ipynb").stat().st_size
        print(f"{name}: not stored" if found else f"{name}: {size / 1000:.0f} kB", *found, sep="\n  ")
        failed += bool(found)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
